"""Flows over bounded, positive and other constrained data."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.constraints import Constraint

from pyro_exact.checks import check_shape
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.interval import Interval
from pyro_exact.transforms.stock import Stock


def bounded(
    flow: Bijection,
    low: float | Tensor,
    high: float | Tensor,
    shape: int | Sequence[int] | None = None,
) -> Compose:
    r"""Let a flow, from data to noise, take data in intervals.

    The inverse of an `Interval` precedes the flow. Use this for bounded data.

    A distribution with the inverse of the whole has the intervals as support, so automatic guides,
    NUTS and `biject_to` work on a Pyro site with it. Data at an end have infinite noise; such data
    should be moved inside, or the interval widened.

    Args:
        flow: A flow on the real line, from data to noise, for example ``maf(3)``.
        low: Lower end: a float, or a tensor with an end for each element.
        high: Upper end, of the same type.
        shape: Shape of an event; `None` for that of the flow.

    Raises:
        ValueError: If ``low`` is not below ``high``, or the flow has events of any size and no
            shape was given.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.flows import maf
        >>> share = Flow(StandardNormal(2), bounded(maf(2), 0.0, 1.0).inv)()
        >>> share.support.check(share.sample())
        tensor(True)
    """
    return Compose([Interval(low, high, _shape("bounded", flow, shape)).inv, flow])


def constrained(
    flow: Bijection, constraint: Constraint, shape: int | Sequence[int] | None = None
) -> Compose:
    r"""Let a flow, from data to noise, take data that satisfy a stock constraint.

    This uses the map to the real line of `torch.distributions.biject_to`, via a `Stock` layer. Use
    ``constraints.positive`` for positive data, ``constraints.simplex`` for shares that sum to 1,
    whose flow must have a dimension less, and ``constraints.cat`` for columns of different kinds.
    See `bounded` for intervals that move with the flow to another device.

    Args:
        flow: A flow on the real line, from data to noise, for example ``maf(3)``.
        constraint: The constraint of the data.
        shape: Shape of an event of the flow; `None` for that of the flow.

    Raises:
        ValueError: If the flow has events of any size and no shape was given.
        NotImplementedError: If torch knows no map to that constraint.

    Example:
        >>> from torch.distributions import constraints
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> from pyro_exact.flows import maf
        >>> shares = Flow(StandardNormal(2), constrained(maf(2), constraints.simplex).inv)()
        >>> shares.event_shape, shares.support.check(shares.sample())
        (torch.Size([3]), tensor(True))
    """
    free = _shape("constrained", flow, shape)
    to_constraint = Stock(biject_to(constraint), free, constraint)
    return Compose([to_constraint.inv, flow])


def _shape(builder: str, flow: Bijection, shape: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of an event, given or that of the flow."""
    if shape is not None:
        return check_shape(builder, "shape", shape)
    known = tuple(size for size in flow.event if size is not None)
    if len(known) != len(flow.event):
        raise ValueError(
            f"{builder} expects a shape for a flow of events of any size; got none for events "
            f"{flow.event}. Pass the shape of an event."
        )
    return known
