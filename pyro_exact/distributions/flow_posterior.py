"""The posterior of a VAE: a diagonal normal, and an optional flow."""

from __future__ import annotations

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_exact.checks import check_event, check_floating, check_size
from pyro_exact.distributions.flow import FlowDistribution
from pyro_exact.distributions.normal import softplus_normal
from pyro_exact.nn.precision import cast
from pyro_exact.transforms.bijection import Bijection


class FlowPosterior(nn.Module):
    r"""The posterior q(z | x) of a VAE: a diagonal normal given features, and an optional flow.

    .. math::
        z_0 \sim N(\mu(h), \sigma(h)^2), \quad z = f(z_0; h), \qquad
        \log q(z \mid x) = \log N(z_0; \mu, \sigma^2) - \log|\det \partial f / \partial z_0|

    :math:`\mu` and :math:`\log(e^\sigma - 1)` are linear in the features :math:`h`.

    Args:
        features: Size of :math:`h`, the features computed by an encoder.
        dim: Dimension of the latent.
        flow: Optional bijection from noise to latent, for example `pyro_exact.flows.planar`. When
            ``context_dim=features``, this flow is amortised, using :math:`h` as context. Without a
            context the same flow is used for all data. The default is the normal alone.

    Shape:
        - h: (\*batch, features); the distribution has that batch shape and events (dim,).

    Raises:
        TypeError: If the flow is not a `Bijection`.
        ValueError: If a size is not positive, or the flow or the features have another dimension.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, section 4.2,
        equations 13-15 and algorithm 1.

    Example:
        >>> from pyro_exact.flows import planar
        >>> posterior = FlowPosterior(features=6, dim=2, flow=planar(2, layers=8, context_dim=6))
        >>> posterior(torch.randn(5, 6)).rsample().shape
        torch.Size([5, 2])
    """

    def __init__(self, features: int, dim: int, flow: Bijection | None = None) -> None:
        super().__init__()
        self.features = features = check_size("FlowPosterior", "features", features)
        self.dim = dim = check_size("FlowPosterior", "dim", dim)
        self.flow = flow

        if flow is not None:
            if not isinstance(flow, Bijection):
                raise TypeError(
                    "FlowPosterior expects a Bijection, for example from pyro_exact.flows; got "
                    f"{type(flow).__name__}."
                )
            if flow.context_shape not in (None, (features,)):
                raise ValueError(
                    f"FlowPosterior expects a flow with a context of {features} features; got a "
                    f"context of shape {flow.context_shape}. Build the flow with "
                    f"context_dim={features}, or without context."
                )
            if tuple(flow.forward_shape((dim,))) != (dim,):
                raise ValueError(
                    f"FlowPosterior expects a flow that maps {dim} elements to {dim} elements; "
                    f"got {flow}. Build it for this dimension."
                )

        self.normal = nn.Linear(features, 2 * dim)

    def forward(self, h: Tensor) -> TorchDistribution:
        """Return q(z | x)."""
        check_event(
            "FlowPosterior",
            "features",
            check_floating("FlowPosterior", "features", h),
            (self.features,),
        )
        h = cast(h, self.normal.weight)
        base: TorchDistribution = softplus_normal(*self.normal(h).chunk(2, dim=-1)).to_event(1)

        return (
            base
            if self.flow is None
            else FlowDistribution(base, self.flow, h if self.flow.context_shape else None)
        )
