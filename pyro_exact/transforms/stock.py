"""A stock transform of torch or Pyro as a layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Transform
from torch.distributions.constraints import Constraint

from pyro_exact.checks import check_shape, shown
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import of_event
from pyro_exact.transforms.parts import sum_event


class Stock(Bijection):
    r"""A stock transform :math:`t` of torch or Pyro as a layer.

    Use it in a `Compose`, for example.

    .. math:: y = t(x), \qquad \log|\det \partial y/\partial x| = \log|\det t'(x)|

    The layer has the domain and the codomain of the transform, so that a distribution that ends
    with it has the support that Pyro expects. `pyro_exact.flows.constrained` uses it.

    The size of an event may change, for example from the real line to a simplex; then the
    log-determinant is that of the transform, with respect to the free elements.

    Args:
        transform: The transform, for example ``StickBreakingTransform()``. A module becomes a part
            of the layer; tensors of other transforms stay on their device.
        shape: Shape of an event of ``x``; an integer n means (n,).
        codomain: The constraint of ``y``; `None` for that which the transform declares. Some
            declare the real line, although they map to less.

    Cost:
        - forward: that of the transform.
        - inverse: that of the transform.

    Shape:
        - x: (\*batch, \*shape); y: (\*batch, \*output shape); ladj: (\*batch).

    Raises:
        TypeError: If it is not of type `torch.distributions.Transform`.
        ValueError: If the transform is not bijective, or takes events of more dimensions.

    Example:
        >>> from torch.distributions.transforms import StickBreakingTransform
        >>> Stock(StickBreakingTransform(), 2)(torch.zeros(2))
        tensor([0.3333, 0.3333, 0.3333])
    """

    def __init__(
        self,
        transform: Transform,
        shape: int | Sequence[int],
        codomain: Constraint | None = None,
    ) -> None:
        event = check_shape("Stock", "shape", shape)
        _check_transform(transform, event)
        output = tuple(transform.forward_shape(torch.Size(event)))
        super().__init__(event, output)
        self.stock = transform

        # Dimensions of an event over which the transform does not sum itself.
        self.extra = len(event) - transform.domain.event_dim
        self.domain = of_event(transform.domain, self.extra)
        codomain = transform.codomain if codomain is None else codomain
        self.codomain = of_event(codomain, len(output) - codomain.event_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        y = self.stock(x)
        return y, self._ladj(x, y)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        x = self.stock.inv(y)
        return x, -self._ladj(x, y)

    def _ladj(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log-determinant; the sums of stock transforms do not take an empty batch."""
        if not x.numel():
            return x.new_zeros(x.shape[: x.dim() - len(self.event)])

        return sum_event(self.stock.log_abs_det_jacobian(x, y), self.extra)

    @property
    def sign(self) -> int:
        return int(self.stock.sign)

    def extra_repr(self) -> str:
        return f"{self.stock}, {self.event}"


def _check_transform(transform: object, event: tuple[int, ...]) -> None:
    if not isinstance(transform, Transform):
        raise TypeError(
            f"Stock expects a transform of torch.distributions; got {shown(transform)}. Pass an "
            f"instance, such as SigmoidTransform()."
        )

    if not transform.bijective:
        raise ValueError(
            f"Stock expects a bijective transform; got {transform}. For simplices, use "
            f"StickBreakingTransform."
        )

    if transform.domain.event_dim > len(event):
        raise ValueError(
            f"Stock expects a shape of at least {transform.domain.event_dim} dimensions for "
            f"{transform}; got {event}. Pass the shape of a whole event."
        )
