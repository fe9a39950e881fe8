"""Laws of training a model by stock Pyro."""

from __future__ import annotations

import math

import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim.optim import PyroOptim
from torch import Tensor

from pyro_exact.testing.law import always, law
from pyro_exact.testing.model.trial import ModelTrial, learns

STEPS = 3


@law(learns)
def every_parameter_has_a_gradient(trial: ModelTrial) -> None:
    """Every parameter that requires a gradient is part of the loss in training mode."""
    unused = [name for name, gradient in _gradients(trial).items() if gradient is None]
    if unused:
        raise AssertionError(f"the loss: expected to use every parameter; got no use of {unused}.")


@law(learns)
def stock_svi_trains_the_parameters(trial: ModelTrial) -> None:
    """Steps of stock `SVI` have finite losses, and change every parameter with a gradient."""
    gradients = _gradients(trial)
    before = {name: p.detach().clone() for name, p in trial.weights().items()}

    svi = SVI(
        trial.model.model,
        trial.model.guide,
        PyroOptim(torch.optim.Adam, {"lr": 0.01}),
        Trace_ELBO(),
    )
    losses = [svi.step(trial.x) for _ in range(STEPS)]
    if not all(math.isfinite(loss) for loss in losses):
        raise AssertionError(f"SVI.step: expected finite losses; got {losses}.")

    unchanged = [
        name
        for name, p in trial.weights().items()
        if torch.equal(p, before[name]) and _is_not_zero(gradients[name])
    ]
    if unchanged:
        raise AssertionError(
            f"after {STEPS} steps of SVI: expected other parameters than before; got the same "
            f"{unchanged}."
        )


@law(learns)
def parameters_are_contiguous(trial: ModelTrial) -> None:
    """Every parameter is contiguous, because stock `SVI` trains a copy of any other."""
    for name, p in trial.model.named_parameters():
        if not p.is_contiguous():
            raise AssertionError(
                f"{name}: expected a contiguous parameter; got {tuple(p.shape)} with {p.stride()}."
            )


@law(always)
def initialization_leaves_finite_scores(trial: ModelTrial) -> None:
    """After `initialize` all weights and scores are finite, and the mode has not changed."""
    trial.model.train()
    trial.model.initialize(trial.x)
    if not all(module.training for module in trial.model.modules()):
        raise AssertionError("initialize(x): expected training mode as before; got another mode.")

    trial.model.eval()
    for name, value in trial.model.state_dict().items():
        if not value.isfinite().all():
            raise AssertionError(
                f"{name} after initialize(x): expected finite elements; got other values."
            )

    scores = trial.log_weights()
    if not scores.isfinite().all():
        raise AssertionError(f"log_weight(x) after initialize(x): expected finite; got {scores}.")


def _gradients(trial: ModelTrial) -> dict[str, Tensor | None]:
    """Return the gradient of the loss for each parameter; `None` if it is not used."""
    trial.model.train()
    weights = trial.weights()
    loss = Trace_ELBO().differentiable_loss(
        trial.model.model,
        trial.model.guide,
        trial.x,
    )
    gradients = torch.autograd.grad(
        loss,
        list(weights.values()),
        allow_unused=True,
    )
    return dict(zip(weights, gradients, strict=True))


def _is_not_zero(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())
