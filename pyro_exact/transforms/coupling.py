"""The coupling layer: a part of the input is transformed using the other part."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.nn.conditioner import Conditioner
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.partition import Partition
from pyro_exact.transforms.parts import check_conditioner, sum_event


class Coupling(Bijection):
    r"""Transform the free part of an event, with parameters computed from the fixed part.

    Use this layer for flows that are fast in both directions.

    .. math::
        y_\mathrm{fixed} = x_\mathrm{fixed}, \qquad
        y_\mathrm{free} = f(x_\mathrm{free};\, g(x_\mathrm{fixed}, \mathrm{context})), \qquad
        \log|\det \partial y/\partial x| = \sum \log|f'|

    Both directions cost an evaluation of :math:`g`.

    Args:
        partition: The split of an event, for example ``Channels(12)`` or ``Halves(5)``.
        elementwise: The formula :math:`f`, for example ``Affine()``.
        conditioner: A network ``theta = g(fixed, context)`` with theta of shape (\*batch, \*free
            event, num_params), for example `pyro_exact.nn.ConvConditioner`,
            `pyro_exact.nn.DenseConditioner`, or a `pyro_exact.nn.Conditioner` of your own. This
            layer uses the same ``context_shape``.

    Cost:
        - forward: an evaluation of :math:`g` and of the formula.
        - inverse: an evaluation of :math:`g`, and the inverse of the formula.

    Shape:
        - x, y: (\*batch, \*event) as the partition says; ladj: (\*batch).

    Raises:
        TypeError: If the conditioner is not of type `pyro_exact.nn.Conditioner`.
        ValueError: If an event, or the input or output of the conditioner, does not have the
            required shape.

    Reference:
        Dinh, Krueger and Bengio (2015), NICE, section 3.2; Dinh, Sohl-Dickstein and Bengio (2017),
        Real NVP, section 3.

    Example:
        >>> from pyro_exact.nn import DenseConditioner
        >>> net = DenseConditioner(2, 2, Affine.num_params, hidden_dims=(16,))
        >>> layer = Coupling(Halves(4), Affine(), net)
        >>> layer(torch.zeros(3, 4)).shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        partition: Partition,
        elementwise: Elementwise,
        conditioner: Conditioner,
    ) -> None:
        check_conditioner("Coupling", conditioner, Conditioner)
        super().__init__(partition.event, context_dim=conditioner.context_shape)
        self.partition = partition
        self.elementwise = elementwise
        self.conditioner = conditioner

        if conditioner.in_size not in (None, partition.fixed_size):
            raise ValueError(
                f"Coupling expects a conditioner that takes the fixed part of {partition}, of "
                f"size {partition.fixed_size}; got a conditioner of size {conditioner.in_size}. "
                "Build it for this size."
            )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(x)
        theta = self.elementwise.theta_from(self.conditioner, fixed, context, free)
        free, ladj = self.elementwise.forward_and_ladj(free, *theta)
        return self.partition.join(fixed, free), sum_event(ladj, self.partition.event_dim)

    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        fixed, free = self.partition.split(y)
        theta = self.elementwise.theta_from(self.conditioner, fixed, context, free)
        free, ladj = self.elementwise.inverse_and_ladj(free, *theta)
        return self.partition.join(fixed, free), sum_event(ladj, self.partition.event_dim)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.conditioner.initialize(self.partition.split(x)[0], context)
        return self.transform(x, context)[0]

    def extra_repr(self) -> str:
        return repr(self.partition)
