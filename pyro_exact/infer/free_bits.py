"""An ELBO with free bits: a training loss that does not penalise the first nats of each latent."""

from __future__ import annotations

from typing import Any, Literal

from pyro import poutine
from pyro.distributions import Independent
from pyro.infer import Trace_ELBO
from torch import Tensor

from pyro_exact.checks import check_choice, check_number


class FreeBitsELBO(Trace_ELBO):
    r"""An ELBO that gives each latent some nats for free. Use it with stock `SVI`.

    .. math::
        -\mathbb{E}_q \log p(x \mid z) + \sum_j \max\left(\lambda, \overline{\mathrm{KL}}_j\right),
        \qquad \overline{\mathrm{KL}}_j = \frac1N \sum_{n=1}^N \log \frac{q(z_{n j} \mid
        x_n)}{p(z_{n j})}

    The loss does not decrease when the divergence of a latent falls below :math:`\lambda` nats, so
    the posterior has no reason to collapse to the prior. A latent is a sample site, or a channel of
    a site: an index of the first dimension of an event, which is a vector or a map (C, H, W). The
    mean is over the batch. At :math:`\lambda = 0` the loss is exactly the negative ELBO; the method
    `loss`, which `SVI.evaluate_loss` uses, is the negative ELBO for any :math:`\lambda`. Latents
    must be reparametrised.

    Args:
        free_nats: :math:`\lambda`, at least 0.
        per: ``"site"`` or ``"channel"``. For channels, the distributions of the sites in model and
            guide must be made by ``to_event``, so that the density of each channel is known.
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

        self.free_nats = check_number("FreeBitsELBO", "free_nats", free_nats, least=0)
        self.per = check_choice("FreeBitsELBO", "per", per, ("site", "channel"))

    def _differentiable_loss_particle(
        self, model_trace: poutine.Trace, guide_trace: poutine.Trace
    ) -> tuple[Any, Any]:
        loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
        if self.free_nats == 0:
            return loss, surrogate

        for name, q in guide_trace.nodes.items():
            # Auxiliary sites of the guide have no prior.
            if q["type"] != "sample" or name not in model_trace.nodes:
                continue

            # KL_j = mean over the batch of log q(z_nj | x_n) - log p(z_nj)
            kl = self._log_prob(q) - self._log_prob(model_trace.nodes[name])
            mean_kl = kl.flatten(0, -2).mean(0)

            # The ELBO has N KL_j already; add N (lambda - KL_j) where KL_j < lambda.
            rows = q["scale"] * q["unscaled_log_prob"].numel()
            penalty = (rows * (self.free_nats - mean_kl).clamp_min(0)).sum()
            loss, surrogate = loss + penalty.item(), surrogate + penalty

        return loss, surrogate

    def _log_prob(self, site: Any) -> Tensor:
        """Return the log-probabilities of the latents of a site, (*batch, latents)."""
        if self.per == "site":
            return site["unscaled_log_prob"].unsqueeze(-1)
        return by_channel(site["fn"], site["value"])


def by_channel(distribution: Any, value: Tensor) -> Tensor:
    """Return the log-density of each channel, (*batch, channels).

    Raises:
        ValueError: If the distribution was not made by ``to_event``.
    """
    if not (isinstance(distribution, Independent) and distribution.event_shape):
        raise ValueError(
            "Free bits of channels expect distributions that are made using to_event, such as "
            f"Normal(mean, std).to_event(3); got {distribution}. Use per='site'."
        )

    # (*batch, channels, *rest), summed over the rest
    elements = distribution.base_dist.log_prob(value)
    channel_dim = elements.dim() - distribution.reinterpreted_batch_ndims
    channels = elements.shape[channel_dim]
    return elements.flatten(channel_dim).unflatten(-1, (channels, -1)).sum(-1)
