"""Two bijections side by side, for the two parts of an event."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.partition import Partition
from pyro_exact.transforms.parts import common_context_shape, context_for


class Parallel(Bijection):
    r"""Transform both parts of an event, by two bijections. It is used by Flow++ to mix channels.

    .. math::
        y_\mathrm{fixed} = f(x_\mathrm{fixed}), \qquad y_\mathrm{free} = g(x_\mathrm{free}), \qquad
        \log|\det \partial y/\partial x| = \log|\det f'| + \log|\det g'|

    Args:
        partition: The split of an event, for example ``Columns(3)``.
        fixed: The bijection of the fixed part; it must keep the shape.
        free: The bijection of the free part; it must keep the shape.

    Cost:
        - forward: the sum of both.
        - inverse: the sum of both inverses.

    Shape:
        - x, y: (\*batch, \*event) as the partition says; ladj: (\*batch).

    Raises:
        ValueError: If an event has another size, or the two expect contexts of different shapes.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, official code (`Pointwise` on a tuple).

    Example:
        >>> layer = Parallel(Columns(3), Conv1x1(3), Conv1x1(3))
        >>> layer(torch.zeros(5, 3, 4, 4)).shape
        torch.Size([5, 3, 4, 4])
    """

    def __init__(self, partition: Partition, fixed: Bijection, free: Bijection) -> None:
        super().__init__(
            partition.event,
            context_dim=common_context_shape("Parallel", (fixed.context_shape, free.context_shape)),
        )
        self.partition = partition
        self.fixed = fixed
        self.free = free

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(x)
        fixed, ladj_fixed = self.fixed.transform(fixed, context_for(self.fixed, context))
        free, ladj_free = self.free.transform(free, context_for(self.free, context))
        return self.partition.join(fixed, free), ladj_fixed + ladj_free

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(y)
        fixed, ladj_fixed = self.fixed.invert(fixed, context_for(self.fixed, context))
        free, ladj_free = self.free.invert(free, context_for(self.free, context))
        return self.partition.join(fixed, free), ladj_fixed + ladj_free

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        fixed, free = self.partition.split(x)
        fixed = self.fixed.data_init(fixed, context_for(self.fixed, context))
        free = self.free.data_init(free, context_for(self.free, context))
        return self.partition.join(fixed, free)

    def extra_repr(self) -> str:
        return repr(self.partition)
