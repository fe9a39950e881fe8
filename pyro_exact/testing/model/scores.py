"""Laws of the scores of a model."""

from __future__ import annotations

import math

import torch
from pyro.infer import Trace_ELBO

from pyro_exact.testing.law import agree, always, has_shape, law
from pyro_exact.testing.model.trial import (
    ModelTrial,
    declares_its_event,
    exact,
    learns,
    takes_integers,
)

SAMPLES = 64


@law(declares_its_event)
def event_shape_is_that_of_the_data(trial: ModelTrial) -> None:
    """`event_shape` is the shape of a datum."""
    found = trial.model.event_shape
    expected = trial.x.shape[1:]
    if found != expected:
        raise AssertionError(f"event_shape: expected {tuple(expected)}; got {found}.")


@law(always)
def log_weights_have_the_shape_of_the_batch(trial: ModelTrial) -> None:
    """`log_weight` returns a finite score for each datum, or for each sample and datum."""
    for samples, shape in ((None, trial.x.shape[:1]), (3, (3, len(trial.x)))):
        found = trial.log_weights(samples=samples)
        has_shape(f"log_weight(x, samples={samples})", found, shape)
        if not found.isfinite().all():
            raise AssertionError(f"log_weight(x): expected finite scores; got {found}.")


@law(always)
def log_weights_sum_to_the_elbo(trial: ModelTrial) -> None:
    """The sum of the log-weights is the ELBO of stock Pyro, for the same random numbers."""
    total = trial.log_weights().sum()

    torch.manual_seed(0)
    elbo = -Trace_ELBO().loss(
        trial.model.model,
        trial.model.guide,
        trial.x,
    )
    agree("the sum of log_weight(x)", total, torch.full_like(total, elbo))


@law(learns)
def gradients_are_those_of_the_elbo(trial: ModelTrial) -> None:
    """The gradient of the log-weights in every parameter is that of the ELBO of stock Pyro."""
    weights = trial.weights()

    def gradients(value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(
            value, list(weights.values()), allow_unused=True, materialize_grads=True
        )

    found = gradients(trial.log_weights().sum())

    torch.manual_seed(0)
    loss = Trace_ELBO().differentiable_loss(
        trial.model.model,
        trial.model.guide,
        trial.x,
    )
    expected = gradients(-loss)

    for name, ours, stock in zip(weights, found, expected, strict=True):
        agree(f"the gradient in {name}", ours, stock)


@law(exact)
def exact_scores_are_not_random(trial: ModelTrial) -> None:
    """If `exact` is true, `log_weight` does not depend on random numbers or on ``samples``."""
    first = trial.log_weights(seed=0)
    other = trial.log_weights(seed=1)
    agree("log_weight(x)", other, first)
    agree("log_weight(x, samples=2)", trial.log_weights(samples=2), first.expand(2, -1))


@law(always)
def the_importance_weighted_bound_is_above_the_elbo(trial: ModelTrial) -> None:
    """On average the importance-weighted bound of several samples is not below the ELBO."""
    with torch.no_grad():
        single = torch.stack([trial.log_weights(seed=i) for i in range(SAMPLES)])
        several = trial.log_weights(samples=SAMPLES)
        bound = several.logsumexp(0) - math.log(SAMPLES)

    elbo = single.mean(0)
    error = single.std(0) / SAMPLES**0.5
    if (bound < elbo - 6 * error - 1e-8).any():
        raise AssertionError(
            f"the importance-weighted bound of {SAMPLES} samples: expected at least the ELBO "
            f"{elbo}; got {bound}."
        )


@law(always)
def a_batch_is_scored_like_its_items(trial: ModelTrial) -> None:
    """Given the latents, the score of a batch is the score of each item."""
    latents = trial.latents()
    whole = trial.log_weights_given(trial.x, latents)

    for i in range(len(trial.x)):
        row = slice(i, i + 1)
        item = trial.log_weights_given(
            trial.x[row],
            {k: v[row] for k, v in latents.items()},
        )
        agree(f"the score of item {i}", item, whole[row])


@law(always)
def the_order_of_the_data_does_not_matter(trial: ModelTrial) -> None:
    """Given the latents, the scores of reordered data are the reordered scores."""
    latents = trial.latents()
    whole = trial.log_weights_given(trial.x, latents)

    order = torch.arange(len(trial.x)).flip(0)
    found = trial.log_weights_given(
        trial.x[order],
        {k: v[order] for k, v in latents.items()},
    )
    agree("the scores of reordered data", found, whole[order])


@law(takes_integers)
def the_type_of_integers_does_not_matter(trial: ModelTrial) -> None:
    """Integer data have the same score in any type that holds them."""
    expected = trial.log_weights()
    for dtype in (torch.int32, torch.int64, torch.float64):
        agree(
            f"the score of {dtype}",
            trial.log_weights(trial.x.to(dtype)),
            expected,
        )


@law(always)
def scoring_changes_nothing(trial: ModelTrial) -> None:
    """`log_weight` changes neither the data nor the state of the model."""
    x = trial.x.clone()
    state = {name: value.clone() for name, value in trial.model.state_dict().items()}
    trial.log_weights()

    agree("the data after log_weight(x)", trial.x.double(), x.double(), 0)
    for name, value in trial.model.state_dict().items():
        agree(
            f"{name} after log_weight(x)",
            value.double(),
            state[name].double(),
            0,
        )
