"""An annealed ELBO: a training loss with a weight that rises to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_exact.checks import check_choice, check_number, check_size

MOST_STEPS = 10**12
Program = Callable[..., Any]


class AnnealedELBO(Trace_ELBO):
    r"""An ELBO with a weight that rises to 1. Use it with stock `SVI` instead of `Trace_ELBO`.

    .. math::
        \beta_t = \min(1, \mathrm{start} + t / \mathrm{steps}), \qquad
        \begin{cases}
        \mathbb{E}_q[\log q(z \mid x) - \beta_t \log p(x, z)] & \text{"energy"} \\
        \mathbb{E}_q[\beta_t (\log q(z \mid x) - \log p(z)) - \log p(x \mid z)] & \text{"kl"}
        \end{cases}

    "energy" is the annealed free energy of Rezende and Mohamed: the posterior starts near the
    maximum entropy, and follows the modes as they rise. "kl" keeps the model from ignoring the
    latent while the decoder is still poor. At :math:`\beta_t = 1` both are exactly the negative
    ELBO. The method `loss`, which `SVI.evaluate_loss` uses, is always the negative ELBO.

    Args:
        anneal: Type of annealing, the term that is weighted: ``"energy"`` or ``"kl"``.
        start: :math:`\beta_0`, from 0 to 1.
        steps: Steps in which the weight would rise by 1.
        num_particles: As in `Trace_ELBO`.
        vectorize_particles: As in `Trace_ELBO`.
        max_plate_nesting: As in `Trace_ELBO`.

    Attributes:
        step: :math:`t`. Each training loss increases this counter by 1. It must be set when a run
            is resumed.

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

        self.anneal = check_choice("AnnealedELBO", "anneal", anneal, ("energy", "kl"))
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
        """Return the annealed loss as a differentiable tensor."""
        return super().differentiable_loss(*self._annealed(model, guide), *args, **kwargs)

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return the annealed loss, and add the gradient to the gradients of the parameters."""
        return super().loss_and_grads(*self._annealed(model, guide), *args, **kwargs)

    def _annealed(self, model: Program, guide: Program) -> tuple[Program, Program]:
        """Return model and guide with weighted log-probabilities, and count the step."""
        beta = self.beta
        self.step += 1

        # "energy": E_q[log q(z | x) - beta log p(x, z)]
        if self.anneal == "energy":
            return Weight(beta)(model), guide

        # "kl": E_q[beta (log q(z | x) - log p(z)) - log p(x | z)]
        return Weight(beta, latents_only=True)(model), Weight(beta)(guide)


class Weight(Messenger):
    """Multiply log-probabilities by a weight, which may be zero, unlike in `poutine.scale`."""

    def __init__(self, weight: float, latents_only: bool = False) -> None:
        super().__init__()
        self.weight = weight
        self.latents_only = latents_only

    def _pyro_sample(self, msg: Any) -> None:
        if not (self.latents_only and msg["is_observed"]):
            msg["scale"] = self.weight * msg["scale"]
