"""The contract of every flow layer, `Bijection`, and the only machinery behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from pyro.distributions.conditional import ConditionalTransformModule
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor
from torch.distributions import constraints
from torch.utils.weak import WeakTensorKeyDictionary

Shape = Sequence[int]
Direction = Callable[[Tensor], tuple[Tensor, Tensor]]


class Bijection(TransformModule, ConditionalTransformModule):  # type: ignore[misc]
    r"""Base class of every flow layer: an invertible map :math:`y = f(x)`, plain or conditional.

    A layer writes two pure methods, `forward_and_ladj` and `inverse_and_ladj`. From them it is a stock
    `torch.distributions.Transform` (``y = layer(x)``, ``layer.inv(y)``, ``layer.log_abs_det_jacobian(x, y)``) and,
    when it has a ``context_shape``, a stock Pyro conditional transform (``layer.condition(context)``).

    The log-determinant is computed together with the value, and remembered by the *output* tensor until that tensor
    dies; so scoring or sampling evaluates each network once. `Ledger` says what is never answered from memory.

    Args:
        event_dim: Number of dimensions of one event of ``x``: 1 for vectors, 3 for images (C, H, W).
        context_shape: Shape of one context, `None` for a plain layer.
        output_event_dim: Number of dimensions of one event of ``y``, where it differs.

    Shape:
        - x: (\*batch, \*event), floating point.
        - context: (\*batch, \*context_shape); its batch shape broadcasts with that of ``x``.
        - ladj: (\*batch).
    """

    bijective = True

    def __init__(
        self, event_dim: int, context_shape: Shape | None = None, output_event_dim: int | None = None
    ) -> None:
        super().__init__()
        self.context_shape = None if context_shape is None else tuple(context_shape)
        self.domain = _reals(event_dim)
        self.codomain = _reals(event_dim if output_event_dim is None else output_event_dim)
        self._ledger = Ledger()

    # What a layer writes ---------------------------------------------------------------------------------------------

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`. Pure: nothing is remembered."""
        raise NotImplementedError

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x / \partial y|`. Pure."""
        raise NotImplementedError

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data from the batch ``x``, without gradient, and return the output.

        Only an explicit call initialises: sampling, scoring and loading never do.
        """
        with torch.no_grad():
            return self.forward_and_ladj(x, context)[0]

    def forward_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``y`` for an ``x`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return self._fitting(shape, self.domain.event_dim)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``x`` for a ``y`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return self._fitting(shape, self.codomain.event_dim)

    # What a layer gets -----------------------------------------------------------------------------------------------

    @property
    def inv(self) -> Bijection:
        """The inverse map, itself a `Bijection` with the same parameters."""
        return Inverse(self)

    def condition(self, context: Tensor) -> Bijection:
        """Bind a context. A plain layer returns itself."""
        return self if self.context_shape is None else Conditioned(self, context)

    def with_cache(self, cache_size: int = 1) -> Bijection:
        """Return the layer itself: its ledger serves where torch would cache."""
        return self

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`\log|\det \partial y / \partial x|`, of shape (\*batch)."""
        stamp = self._stamp()
        for output, source, sign in ((y, x, 1), (x, y, -1)):
            record = self._ledger.find(output, sign, stamp)
            if record is not None and record.source is source:
                return record.ladj
        return self.forward_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        self.forward_shape(_floating(x).shape)
        return self._once(x, self.forward_and_ladj, 1)

    def _inverse(self, y: Tensor) -> Tensor:
        self.inverse_shape(_floating(y).shape)
        return self._once(y, self.inverse_and_ladj, -1)

    def _once(self, source: Tensor, direction: Direction, sign: int) -> Tensor:
        record = self._ledger.find(source, -sign, self._stamp())
        if record is not None:
            return record.source  # the opposite direction made `source`: an exact round trip
        output, ladj = direction(source)
        # The key must be a tensor that the graph of `ladj` does not hold, or the record would keep itself alive.
        output = output.view_as(output)
        self._ledger.write(output, Record(source, sign * ladj, sign, torch.is_grad_enabled(), self._stamp()))
        return output

    def _stamp(self) -> tuple[object, ...]:
        """Return what a remembered value depends on beside its source: weights, buffers and the mode."""
        tensors = chain(self.parameters(), self.buffers())
        return (self.training, *((id(t), 0 if t.is_inference() else t._version) for t in tensors))

    def _fitting(self, shape: Shape, event_dim: int) -> torch.Size:
        if len(shape) < event_dim:
            raise ValueError(
                f"{type(self).__name__} expects at least {event_dim} dimensions in an event; got shape {tuple(shape)}. "
                f"Add the missing dimensions."
            )
        return torch.Size(shape)


class Record(NamedTuple):
    """What an output tensor was computed from; ``ladj`` is that of the forward direction."""

    source: Tensor
    ladj: Tensor
    sign: int
    with_grad: bool
    stamp: tuple[object, ...]


class Ledger:
    """A weak map from an output tensor to its `Record`.

    A record dies with its output tensor, and is left behind by ``pickle`` and ``deepcopy``. It is not found

    - in the direction that made it, so ``t(t(x))`` is not undone;
    - by a query with gradient, when it was made without;
    - after a weight, a buffer or the training mode has changed.
    """

    def __init__(self) -> None:
        self._records = WeakTensorKeyDictionary()

    def find(self, output: Tensor, sign: int, stamp: tuple[object, ...]) -> Record | None:
        """Return the record of an output made in direction ``sign``, if it may be used now."""
        record: Record | None = self._records.get(output)
        if record is None or record.sign != sign or record.stamp != stamp:
            return None
        return record if record.with_grad or not torch.is_grad_enabled() else None

    def write(self, output: Tensor, record: Record) -> None:
        """Remember ``record`` for as long as ``output`` lives."""
        self._records[output] = record

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[type[Ledger], tuple[()]]:
        return Ledger, ()


class Inverse(Bijection):
    """The inverse of a bijection; it shares parameters and ledger with the original."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__(bijection.codomain.event_dim, bijection.context_shape, bijection.domain.event_dim)
        self.bijection = bijection
        self.domain, self.codomain = bijection.codomain, bijection.domain
        self.train(bijection.training)

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.inverse_and_ladj(x, context)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.forward_and_ladj(y, context)

    def forward_shape(self, shape: Shape) -> torch.Size:  # noqa: D102
        return self.bijection.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:  # noqa: D102
        return self.bijection.forward_shape(shape)

    @property
    def inv(self) -> Bijection:  # noqa: D102
        return self.bijection

    def condition(self, context: Tensor) -> Bijection:  # noqa: D102
        return self.bijection.condition(context).inv

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: D102
        return -self.bijection.log_abs_det_jacobian(y, x)

    def _call(self, x: Tensor) -> Tensor:
        return self.bijection._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijection._call(y)


class Conditioned(Bijection):
    """A conditional bijection with its context bound: what `Bijection.condition` returns.

    Args:
        bijection: A layer with a ``context_shape``.
        context: Of shape (*batch, *context_shape).

    Raises:
        ValueError: If the context does not have the shape that the layer was built for.
    """

    def __init__(self, bijection: Bijection, context: Tensor) -> None:
        super().__init__(bijection.domain.event_dim, None, bijection.codomain.event_dim)
        self.bijection = bijection
        self.domain, self.codomain = bijection.domain, bijection.codomain
        self.context = context
        self.context_batch = context_batch_shape(bijection, context)
        self.train(bijection.training)

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.forward_and_ladj(self._broadcast(x, self.domain.event_dim), self.context)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.inverse_and_ladj(self._broadcast(y, self.codomain.event_dim), self.context)

    def forward_shape(self, shape: Shape) -> torch.Size:  # noqa: D102
        return self.bijection.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:  # noqa: D102
        return self.bijection.inverse_shape(shape)

    def _broadcast(self, x: Tensor, event_dim: int) -> Tensor:
        batch, event = x.shape[: x.dim() - event_dim], x.shape[x.dim() - event_dim :]
        return x.expand(torch.broadcast_shapes(batch, self.context_batch) + event)

    def _stamp(self) -> tuple[object, ...]:
        return (*super()._stamp(), 0 if self.context.is_inference() else self.context._version)


def context_batch_shape(bijection: Bijection, context: Tensor) -> torch.Size:
    """Return the batch shape of a context, or say how it does not fit."""
    expected = bijection.context_shape
    name = type(bijection).__name__
    if expected is None:
        raise ValueError(f"{name} takes no context; got one of shape {tuple(context.shape)}. Build it with a context.")
    cut = context.dim() - len(expected)
    if cut < 0 or tuple(context.shape[cut:]) != expected:
        raise ValueError(
            f"{name} expects a context of shape (*batch, {', '.join(map(str, expected))}); got {tuple(context.shape)}. "
            f"Pass a context of that size, or build the layer for yours."
        )
    return context.shape[:cut]


def _reals(event_dim: int) -> constraints.Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real


def _floating(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise TypeError(f"A flow layer expects a floating-point tensor; got {x.dtype}. Convert it, e.g. with x.float().")
    return x
