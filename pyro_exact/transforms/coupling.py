"""The coupling layer: one part of the input decides what happens to the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pyro_exact.transforms.act_norm import channels_fit
from pyro_exact.transforms.bijection import Bijection, Shape
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.partition import Partition


class Coupling(Bijection):
    r"""Transform the free part of an event by a formula whose parameters are a function of the fixed part.

    .. math::
        y_\mathrm{fixed} = x_\mathrm{fixed}, \qquad
        y_\mathrm{free} = f(x_\mathrm{free};\, g(x_\mathrm{fixed}, \mathrm{context})), \qquad
        \log|\det \partial y/\partial x| = \sum \log|f'|

    Both directions cost one evaluation of :math:`g`.

    Args:
        partition: How the event is split, e.g. ``Channels(12)`` or ``Halves(5)``.
        elementwise: The formula :math:`f`, e.g. ``Affine()``.
        conditioner: Any module ``theta = g(fixed, context)`` with theta of shape (\*batch, \*free event, num_params),
            e.g. `pyro_exact.nn.ConvConditioner` or `pyro_exact.nn.DenseConditioner`. Its ``context_shape``, if it has
            one, becomes that of the layer; its ``fixed_size``, if it has one, must be that of the partition;
            `initialize` calls its ``initialize(fixed, context)``, if it has one.

    Cost:
        - forward: one evaluation of :math:`g` and of the formula.
        - inverse: one evaluation of :math:`g`, and the formula's inverse.

    Shape:
        - x, y: (\*batch, \*event) as the partition says; ladj: (\*batch).

    Raises:
        ValueError: If an event, or what the conditioner takes or returns, has another shape.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE, section 3.2; Dinh, Sohl-Dickstein and Bengio (2017), Real NVP, section 3.

    Example:
        >>> from pyro_exact.nn import DenseConditioner
        >>> layer = Coupling(Halves(4), Affine(), DenseConditioner(2, 2, Affine.num_params, hidden_dims=(16,)))
        >>> layer(torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """

    def __init__(self, partition: Partition, elementwise: Elementwise, conditioner: nn.Module) -> None:
        super().__init__(partition.event_dim, getattr(conditioner, "context_shape", None))
        self.partition, self.elementwise, self.conditioner = partition, elementwise, conditioner
        found = getattr(conditioner, "fixed_size", partition.fixed_size)
        if found != partition.fixed_size:
            raise ValueError(
                f"Coupling expects a conditioner that takes the fixed part of {partition}, of size "
                f"{partition.fixed_size}; got one that takes {found}. Build it for that size."
            )

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(x)
        free, ladj = self.elementwise.forward_and_ladj(free, self._theta(fixed, free, context))
        return self.partition.join(fixed, free), self._sum(ladj)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(y)
        free, ladj = self.elementwise.inverse_and_ladj(free, self._theta(fixed, free, context))
        return self.partition.join(fixed, free), self._sum(ladj)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            initialize: Callable[..., object] | None = getattr(self.conditioner, "initialize", None)
            if initialize is not None:
                initialize(self.partition.split(x)[0], context)
            return self.forward_and_ladj(x, context)[0]

    def _theta(self, fixed: Tensor, free: Tensor, context: Tensor | None) -> Tensor:
        return self.elementwise.fitting(self.conditioner(fixed, context), free)

    def _sum(self, ladj: Tensor) -> Tensor:
        return ladj.sum(list(range(-self.domain.event_dim, 0)))

    def _fitting(self, shape: Shape, event_dim: int) -> torch.Size:
        return channels_fit(self, super()._fitting(shape, event_dim), self.partition.size, event_dim)

    def extra_repr(self) -> str:
        return repr(self.partition)
