"""A training loss of a VAE that gives each latent some information for free."""

from __future__ import annotations

from typing import Any, Literal

from pyro import poutine
from pyro.distributions import Independent
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_exact.checks import check_number, shown


class FreeBitsELBO(Trace_ELBO):
    r"""A `Trace_ELBO` whose training loss gives each latent some information for free.

    .. math::
        -\mathbb{E}_q \log p(x \mid z) + \sum_j \max\left(\lambda, \overline{\mathrm{KL}}_j\right),
        \qquad \overline{\mathrm{KL}}_j = \frac1N \sum_{n=1}^N \log \frac{q(z_{n j} \mid
        x_n)}{p(z_{n j})}

    Below :math:`\lambda` nats a latent has nothing to gain from telling less. A latent is a sample
    site, or a channel of one: an entry of the first dimension of its event, as in latent maps (C,
    H, W), or in a vector. The mean is over all that a site's plates hold. At :math:`\lambda = 0`
    nothing is free, and the loss is the negative ELBO exactly. `loss` is the negative ELBO for any
    :math:`\lambda`. Latents have to be reparametrised.

    Args:
        free_nats: :math:`\lambda`.
        per: What a latent is, ``"site"`` or ``"channel"``. Of channels, model and guide have to
            know the densities: the distributions of their sites are made by ``to_event``.
        num_particles: As in `Trace_ELBO`.
        vectorize_particles: As in `Trace_ELBO`.
        max_plate_nesting: As in `Trace_ELBO`.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, appendix C.8, equation 15.

    Example:
        >>> FreeBitsELBO(free_nats=2.0).free_nats
        2.0
    """

    def __init__(
        self,
        free_nats: float,
        per: Literal["site", "channel"] = "site",
        num_particles: int = 1,
        vectorize_particles: bool = False,
        max_plate_nesting: float = float("inf"),
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, vectorize_particles=vectorize_particles)
        if per not in ("site", "channel"):
            raise ValueError(
                f"FreeBitsELBO expects per 'site' or 'channel'; got {shown(per)}. Choose one."
            )
        self.free_nats, self.per = (
            check_number("FreeBitsELBO", "free_nats", free_nats, least=0),
            per,
        )

    def _differentiable_loss_particle(
        self, model_trace: poutine.Trace, guide_trace: poutine.Trace
    ) -> tuple[Any, Any]:
        loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
        for name, q in guide_trace.nodes.items():
            if (
                q["type"] == "sample" and name in model_trace.nodes and self.free_nats
            ):  # the guide's own have no prior
                kl = self._log_prob(q) - self._log_prob(model_trace.nodes[name])
                mean = kl.flatten(0, -2).mean(0)
                rows = q["scale"] * q["unscaled_log_prob"].numel()
                lacking = (rows * (self.free_nats - mean).clamp_min(0)).sum()
                loss, surrogate = loss + lacking.item(), surrogate + lacking
        return loss, surrogate

    def _log_prob(self, site: Any) -> Tensor:
        """Return the log-probabilities of the latents of a site, (*batch, latents)."""
        if self.per == "site":
            return site["unscaled_log_prob"].unsqueeze(-1)
        return by_channel(site["fn"], site["value"])


def by_channel(distribution: Any, value: Tensor) -> Tensor:
    """Return the part of each channel in a log-probability, (*batch, channels).

    Raises:
        ValueError: If the distribution does not tell the parts of its sum.
    """
    if not (isinstance(distribution, Independent) and distribution.event_shape):
        raise ValueError(
            f"Free bits of channels expect distributions that were made by to_event, such as "
            f"Normal(mean, std).to_event(3); got {distribution}. Use per='site'."
        )
    parts = distribution.base_dist.log_prob(value)
    channels = parts.dim() - distribution.reinterpreted_batch_ndims
    return parts.flatten(channels).unflatten(-1, (parts.shape[channels], -1)).sum(-1)
