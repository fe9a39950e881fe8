"""The volume-preserving coupling of GIN."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.checks import check_number
from pyro_exact.nn.conditioner import Conditioner
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import tanh_bounded
from pyro_exact.transforms.numerics import LARGEST_LOG_SCALE, at_least_float32
from pyro_exact.transforms.partition import Partition
from pyro_exact.transforms.parts import check_conditioner


class GIN(Bijection):
    r"""Scale and shift the free part of an event using the fixed part, and keep the volume.

    Use this layer when the volume must not change, for example for independent component analysis.

    .. math::
        y_\mathrm{fixed} = x_\mathrm{fixed}, \qquad
        y_\mathrm{free} = x_\mathrm{free} \odot e^{s - \bar s} + t, \qquad
        \log|\det \partial y/\partial x| = 0

    with :math:`t` and :math:`s = b \tanh(r / b)` from the network, and :math:`\bar s` the mean of
    :math:`s` over the free elements.

    Args:
        partition: The split of an event, for example ``Channels(12)`` or ``Halves(4)``.
        conditioner: A network ``theta = g(fixed, context)`` with theta of shape (\*batch, \*free
            event, 2), as for `Coupling` with `Affine`. The layer takes
            the same context.
        bound: :math:`b`, at most 32: a scale may reach :math:`e^{2 b}`.

    Cost:
        - forward: an evaluation of :math:`g`, and an exponential for each free element.
        - inverse: the same.

    Shape:
        - x, y: (\*batch, \*event) as the partition says; ladj: (\*batch).

    Raises:
        TypeError: If the conditioner is not of type `pyro_exact.nn.Conditioner`.
        ValueError: If an event, or the input or output of the conditioner, does not have the
            required shape.

    Reference:
        Sorrenson, Rother and Köthe (2020), Disentanglement by Nonlinear ICA with General
        Incompressible-flow Networks (GIN), section 3.3.

    Example:
        >>> from pyro_exact.nn import DenseConditioner
        >>> from pyro_exact.transforms import Halves
        >>> layer = GIN(Halves(4), DenseConditioner(2, 2, 2, hidden_dims=(16,)))
        >>> layer.log_abs_det_jacobian(x := torch.randn(5, 4), layer(x))
        tensor([0., 0., 0., 0., 0.])
    """

    def __init__(
        self,
        partition: Partition,
        conditioner: Conditioner,
        bound: float = 3.0,
    ) -> None:
        check_conditioner("GIN", conditioner, Conditioner)
        super().__init__(partition.event, context_dim=conditioner.context_shape)
        self.partition = partition
        self.conditioner = conditioner
        self.bound = check_number("GIN", "bound", bound, 1e-6, LARGEST_LOG_SCALE / 2)

        if conditioner.in_size not in (None, partition.fixed_size):
            raise ValueError(
                f"GIN expects a conditioner that takes the fixed part of {partition}, of size "
                f"{partition.fixed_size}; got one that takes {conditioner.in_size}. Build it for "
                f"that size."
            )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        fixed, free, shift, log_scale = self._parts(x, context)
        free = free * log_scale.exp() + shift
        return self.partition.join(fixed, free), self._no_change(x, free)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        fixed, free, shift, log_scale = self._parts(y, context)
        free = (free - shift) * (-log_scale).exp()
        return self.partition.join(fixed, free), self._no_change(y, free)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.conditioner.initialize(self.partition.split(x)[0], context)
        return self.transform(x, context)[0]

    def _parts(
        self,
        x: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fixed and the free part, the shift, and the log-scale, whose mean is zero."""
        fixed, free = self.partition.split(x)
        theta = self.conditioner(fixed, context)
        if theta.shape != (*free.shape, 2):
            raise ValueError(
                f"GIN expects its conditioner to return parameters of shape {(*free.shape, 2)}; "
                f"got "
                f"{tuple(theta.shape)}. Build the conditioner with 2 parameters for each free "
                f"element."
            )

        fixed, free, theta = at_least_float32(fixed, free, theta.to(x.dtype))
        shift, raw = theta.unbind(-1)
        log_scale = tanh_bounded(raw, self.bound)
        event = tuple(range(-self.partition.event_dim, 0))

        log_scale = log_scale - log_scale.mean(event, keepdim=True)

        return fixed, free, shift, log_scale

    def _no_change(self, x: Tensor, free: Tensor) -> Tensor:
        return free.new_zeros(x.shape[: x.dim() - self.partition.event_dim])

    def extra_repr(self) -> str:
        return f"{self.partition!r}, bound={self.bound}"
