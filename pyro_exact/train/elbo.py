"""Training losses of a VAE that end as the ELBO: annealed ones, and one with free bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from pyro import poutine
from pyro.distributions import Independent
from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_exact.recipes import Elbo

Program = Callable[..., Any]


class AnnealedELBO(Trace_ELBO):
    r"""A `Trace_ELBO` whose training loss has a weight that rises from near zero to one.

    .. math::
        \beta_t = \min(1, \mathrm{start} + t / \mathrm{steps}), \qquad
        \begin{cases}
        \mathbb{E}_q[\log q(z \mid x) - \beta_t \log p(x, z)] & \text{"energy"} \\
        \mathbb{E}_q[\beta_t (\log q(z \mid x) - \log p(z)) - \log p(x \mid z)] & \text{"kl"}
        \end{cases}

    The first is the annealed free energy of Rezende and Mohamed: the posterior starts near its entropy's maximum, and
    finds the modes as they rise. The second holds the latent back from being ignored while the decoder is still poor.
    At :math:`\beta_t = 1` both are the negative ELBO exactly. `loss`, with which `SVI.evaluate_loss` evaluates, is the
    negative ELBO at all times.

    Args:
        anneal: What the weight is of.
        start: :math:`\beta_0`.
        steps: Steps in which the weight would rise by one.
        num_particles: As in `Trace_ELBO`.
        vectorize_particles: As in `Trace_ELBO`.
        max_plate_nesting: As in `Trace_ELBO`.

    Attributes:
        step: :math:`t`. Each training loss that is computed raises it by one; set it to resume a run.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 20; Bowman et al. (2016),
        Generating Sentences from a Continuous Space, section 3.1, for "kl".

    Example:
        >>> AnnealedELBO("energy", start=0.01, steps=10_000).beta
        0.01
    """

    def __init__(
        self,
        anneal: Literal["energy", "kl"],
        start: float = 0.01,
        steps: int = 10_000,
        num_particles: int = 1,
        vectorize_particles: bool = False,
        max_plate_nesting: float = float("inf"),
    ) -> None:
        super().__init__(num_particles, max_plate_nesting, vectorize_particles=vectorize_particles)
        if anneal not in ("energy", "kl") or not 0 <= start <= 1 or steps < 1:
            raise ValueError(
                f"AnnealedELBO expects anneal 'energy' or 'kl', start in [0, 1] and positive steps; got {anneal!r}, "
                f"{start} and {steps}."
            )
        self.anneal, self.start, self.steps, self.step = anneal, start, steps, 0

    @property
    def beta(self) -> float:
        """The weight of the next training loss."""
        return min(1.0, self.start + self.step / self.steps)

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Return the annealed loss, to be differentiated."""
        return super().differentiable_loss(*self._annealed(model, guide), *args, **kwargs)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return the annealed loss, and add its gradient to that of the parameters."""
        return super().loss_and_grads(*self._annealed(model, guide), *args, **kwargs)

    def _annealed(self, model: Program, guide: Program) -> tuple[Program, Program]:
        beta, self.step = self.beta, self.step + 1
        if self.anneal == "energy":
            return Weight(beta)(model), guide
        return Weight(beta, latents_only=True)(model), Weight(beta)(guide)


class FreeBitsELBO(Trace_ELBO):
    r"""A `Trace_ELBO` whose training loss gives each latent some information for free.

    .. math::
        -\mathbb{E}_q \log p(x \mid z) + \sum_j \max\left(\lambda, \overline{\mathrm{KL}}_j\right), \qquad
        \overline{\mathrm{KL}}_j = \frac1N \sum_{n=1}^N \log \frac{q(z_{n j} \mid x_n)}{p(z_{n j})}

    Below :math:`\lambda` nats a latent has nothing to gain from telling less. A latent is a sample site, or a channel
    of one: an entry of the first dimension of its event, as in latent maps (C, H, W), or in a vector. The mean is over
    all that a site's plates hold. At :math:`\lambda = 0` nothing is free, and the loss is the negative ELBO exactly.
    `loss` is the negative ELBO for any :math:`\lambda`. Latents have to be reparametrised.

    Args:
        free_nats: :math:`\lambda`.
        per: What a latent is, ``"site"`` or ``"channel"``. Of channels, model and guide have to know the densities: the
            distributions of their sites are made by ``to_event``.
        num_particles: As in `Trace_ELBO`.
        vectorize_particles: As in `Trace_ELBO`.
        max_plate_nesting: As in `Trace_ELBO`.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational Inference with Inverse
        Autoregressive Flow, appendix C.8, equation 15.

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
        if not 0 <= free_nats < math.inf:
            raise ValueError(f"FreeBitsELBO expects finite free_nats of at least 0; got {free_nats}.")
        if per not in ("site", "channel"):
            raise ValueError(f"FreeBitsELBO expects per 'site' or 'channel'; got {per!r}.")
        self.free_nats, self.per = free_nats, per

    def _differentiable_loss_particle(self, model_trace: poutine.Trace, guide_trace: poutine.Trace) -> tuple[Any, Any]:
        loss, surrogate = super()._differentiable_loss_particle(model_trace, guide_trace)
        for name, q in guide_trace.nodes.items():
            if q["type"] == "sample" and name in model_trace.nodes and self.free_nats:  # the guide's own have no prior
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


class Weight(Messenger):
    """Multiply the log-probability of sites by a number, which unlike that of `poutine.scale` may be zero."""

    def __init__(self, weight: float, latents_only: bool = False) -> None:
        super().__init__()
        self.weight, self.latents_only = weight, latents_only

    def _pyro_sample(self, msg: Any) -> None:
        if not (self.latents_only and msg["is_observed"]):
            msg["scale"] = self.weight * msg["scale"]


def training_elbo(settings: Elbo) -> Trace_ELBO:
    """Return the loss that a recipe asks for."""
    if settings.anneal is not None:
        return AnnealedELBO(settings.anneal, settings.start, settings.steps)
    return FreeBitsELBO(settings.free_nats, settings.per) if settings.free_nats else Trace_ELBO()
