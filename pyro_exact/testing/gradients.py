"""Laws of the derivatives of a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor
from torch.autograd import gradcheck

from pyro_exact.testing.law import agree, always, law, learns, learns_from_context
from pyro_exact.testing.trial import ROWS, Direction, Trial

Tensors = dict[str, Tensor]


@law(always)
def derivatives_are_those_of_finite_differences(trial: Trial) -> None:
    """The derivatives of both directions, in their arguments, are those of finite differences."""
    y = trial.bound.forward_and_ladj(trial.x)[0].detach()
    context: tuple[Tensor, ...] = ()
    if trial.context is not None:
        context = (trial.context[:1].clone().requires_grad_(),)

    for direction, source in (
        (trial.layer.forward_and_ladj, trial.x),
        (trial.layer.inverse_and_ladj, y),
    ):
        arguments = (source[:1].clone().requires_grad_(), *context)
        gradcheck(partial(_attached, direction), arguments, fast_mode=True)


def _attached(direction: Callable[..., tuple[Tensor, Tensor]], *arguments: Tensor) -> list[Tensor]:
    """Return outputs that always have a graph: `gradcheck` would skip outputs without a graph."""
    zeros = [0 * argument.sum() for argument in arguments]
    nothing = torch.stack(zeros).sum()
    return [output + nothing for output in direction(*arguments)]


@law(learns)
def every_parameter_gets_a_gradient(trial: Trial) -> None:
    """Both directions give every parameter a gradient that is finite and not zero."""
    # With many inputs, each unit of a network is active for at least one input.
    many = replace(
        trial,
        x=trial.inputs(20),
        context=trial.contexts(20),
    )

    for name, direction, source in many.directions():
        gradients = trial.gradients(_random_sum(*direction(source)))
        for weight, gradient in gradients.items():
            if not (gradient.isfinite().all() and gradient.any()):
                raise AssertionError(
                    f"the gradient of {weight} in {name}: expected numbers; got {gradient}."
                )


@law(learns)
def weight_gradients_are_those_of_finite_differences(trial: Trial) -> None:
    """The gradients of both directions and their ladj, in each weight, are finite differences."""
    y = trial.bound.forward_and_ladj(trial.x)[0].detach()
    for name, direction, source in (
        ("forward_and_ladj", trial.bound.forward_and_ladj, trial.x),
        ("inverse_and_ladj", trial.bound.inverse_and_ladj, y),
    ):
        sums = _random_sums(direction, source)
        gradients = [trial.gradients(value) for value in sums()]
        moves = {}
        for weight, p in trial.weights().items():
            moves[weight] = torch.randn_like(p) / _length(gradients, weight)

        # All weights are moved together first: if the derivatives agree, all derivatives are right.
        if _difference(trial, moves, gradients, sums) is None:
            continue
        for weight, move in moves.items():
            difference = _difference(trial, {weight: move}, gradients, sums)
            if difference is not None:
                raise AssertionError(
                    f"the gradient of {weight} in {name}, along a random move: {difference}"
                )


def _random_sums(direction: Direction, source: Tensor) -> Callable[[], list[Tensor]]:
    """Return a function that returns random sums of the output and of the ladj."""
    factors = [torch.randn_like(value) for value in direction(source)]

    def sums() -> list[Tensor]:
        pairs = zip(direction(source), factors, strict=True)
        return [(value * factor).sum() for value, factor in pairs]

    return sums


def _length(gradients: list[Tensors], weight: str) -> float:
    """Return the norm of the gradients of a weight.

    A weight is moved by the inverse of this norm, so that all weights have about the same effect.
    """
    return max(0.1, *(gradient[weight].norm().item() for gradient in gradients))


def _difference(
    trial: Trial,
    moves: Tensors,
    gradients: list[Tensors],
    sums: Callable[[], list[Tensor]],
) -> str | None:
    """Compare derivatives with central differences; return the difference as text, or `None`."""
    step = 1e-7  # so small that a kink of a network is hardly ever within it
    weights = trial.weights()
    values = []
    with torch.no_grad():
        # Evaluate at weights + step * moves, then at weights - step * moves, and go back.
        for factor in (1, -2):
            _move(weights, moves, factor * step)
            values.append(sums())
        _move(weights, moves, step)

    for name, gradient, ahead, behind in zip(("output", "ladj"), gradients, *values, strict=True):
        # The derivative along the moves: the sum over weights of gradient * move.
        terms = [(gradient[weight] * move).sum() for weight, move in moves.items()]
        parts = torch.stack(terms)
        found = parts.sum().item()
        expected = ((ahead - behind) / (2 * step)).item()

        scale = 1 + parts.abs().sum().item()
        if not abs(found - expected) <= 1e-4 * scale:
            return f"expected {expected:.6g} for the {name}; got {found:.6g}."
    return None


def _move(weights: Tensors, moves: Tensors, step: float) -> None:
    for name, move in moves.items():
        weights[name].add_(move, alpha=step)


@law(learns_from_context)
def the_context_gets_a_gradient(trial: Trial) -> None:
    """Both directions give every element of the context a gradient that is finite and not zero."""
    context = cast(Tensor, trial.contexts(ROWS)).requires_grad_()

    for name, direction, source in replace(trial, context=context).directions():
        (gradient,) = torch.autograd.grad(_random_sum(*direction(source)), context)
        if not (gradient.isfinite().all() and gradient.all()):
            raise AssertionError(
                f"the gradient of the context in {name}: expected numbers; got {gradient}."
            )


@law(learns)
def a_round_trip_has_no_gradient(trial: Trial) -> None:
    """f(f⁻¹(y)) = y for any weights, so the gradients of a round trip in the weights vanish."""
    y = trial.outputs(ROWS)
    x, ladj_back = trial.bound.inverse_and_ladj(y)
    image, ladj = trial.bound.forward_and_ladj(x)

    for value in (_random_sum(image), (ladj + ladj_back).sum()):
        for weight, gradient in trial.gradients(value).items():
            agree(f"the gradient of {weight}", gradient, torch.zeros_like(gradient))


@law(learns)
def a_sample_without_gradient_is_scored_with_one(trial: Trial) -> None:
    """The gradient of the score of a sample is that of the score of a copy of the sample."""
    d = trial.distribution()
    x = d.sample((4,))
    found = d.log_prob(x).sum()
    expected = d.log_prob(x.clone()).sum()
    _same_gradients(trial, found, expected)


@law(learns)
def a_sample_with_gradient_is_scored_through_it(trial: Trial) -> None:
    """The score of a reparametrised sample has the gradient of the formula at the same noise."""
    d = trial.distribution()
    torch.manual_seed(1)
    x = d.rsample((4,))
    torch.manual_seed(1)
    z = d.base_dist.sample((4,))

    # log p(x) = log p(z) - log |det dx/dz|
    expected = trial.base().log_prob(z) - trial.bound.inverse_and_ladj(z)[1]
    for found in (d.log_prob(x), d.log_prob(x.clone())):
        agree("log_prob", found, expected)
        _same_gradients(trial, found.sum(), expected.sum())


@law(learns)
def two_steps_on_the_same_batch(trial: Trial) -> None:
    """Full-batch training works: a second step on the same tensors finds a lower loss."""
    d = trial.distribution()
    losses = []
    weights = list(trial.weights().values())
    optimizer = torch.optim.SGD(weights, lr=1e-6)

    for _ in range(2):
        loss = -d.log_prob(trial.x).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        losses.append(loss.item())

    if not losses[1] < losses[0]:
        raise AssertionError(
            f"the loss after a step: expected less than {losses[0]}; got {losses[1]}."
        )


def _random_sum(*tensors: Tensor) -> Tensor:
    """Return a random sum of all elements of some tensors."""
    sums = [(t * torch.randn_like(t)).sum() for t in tensors]
    return torch.stack(sums).sum()


def _same_gradients(trial: Trial, found: Tensor, expected: Tensor) -> None:
    gradients = trial.gradients(found)
    for weight, gradient in trial.gradients(expected).items():
        agree(f"the gradient of {weight}", gradients[weight], gradient)
