"""A training loss of a VAE with a weight that rises, until it is the ELBO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_exact.checks import check_number, check_size, shown

MOST_STEPS = 10**12
Program = Callable[..., Any]


class AnnealedELBO(Trace_ELBO):
    r"""A `Trace_ELBO` whose training loss has a weight that rises from near zero to one.

    .. math::
        \beta_t = \min(1, \mathrm{start} + t / \mathrm{steps}), \qquad
        \begin{cases}
        \mathbb{E}_q[\log q(z \mid x) - \beta_t \log p(x, z)] & \text{"energy"} \\
        \mathbb{E}_q[\beta_t (\log q(z \mid x) - \log p(z)) - \log p(x \mid z)] & \text{"kl"}
        \end{cases}

    The first is the annealed free energy of Rezende and Mohamed: the posterior starts near its
    entropy's maximum, and finds the modes as they rise. The second holds the latent back from being
    ignored while the decoder is still poor. At :math:`\beta_t = 1` both are the negative ELBO
    exactly. `loss`, with which `SVI.evaluate_loss` evaluates, is the negative ELBO at all times.

    Args:
        anneal: What the weight is of.
        start: :math:`\beta_0`.
        steps: Steps in which the weight would rise by one.
        num_particles: As in `Trace_ELBO`.
        vectorize_particles: As in `Trace_ELBO`.
        max_plate_nesting: As in `Trace_ELBO`.

    Attributes:
        step: :math:`t`. Each training loss that is computed raises it by one; set it to resume a
            run.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 20;
        Bowman et al. (2016), Generating Sentences from a Continuous Space, section 3.1, for "kl".

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
        if anneal not in ("energy", "kl"):
            raise ValueError(
                f"AnnealedELBO expects anneal 'energy' or 'kl'; got {shown(anneal)}. Choose one."
            )
        self.anneal = anneal
        self.start = check_number("AnnealedELBO", "start", start, 0, 1)
        self.steps = check_size("AnnealedELBO", "steps", steps, most=MOST_STEPS)
        self.step = 0

    @property
    def beta(self) -> float:
        """The weight of the next training loss."""
        return min(1.0, self.start + self.step / self.steps)

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
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


class Weight(Messenger):
    """Multiply the log-probability of sites by a number, which unlike that of `poutine.scale` may be zero."""

    def __init__(self, weight: float, latents_only: bool = False) -> None:
        super().__init__()
        self.weight, self.latents_only = weight, latents_only

    def _pyro_sample(self, msg: Any) -> None:
        if not (self.latents_only and msg["is_observed"]):
            msg["scale"] = self.weight * msg["scale"]
