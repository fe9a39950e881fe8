"""Laws of a layer in stock distributions of torch and Pyro."""

from __future__ import annotations

from typing import cast

import torch
from pyro.distributions import ConditionalTransformedDistribution
from torch import Tensor

from pyro_exact.testing.law import (
    agree,
    always,
    conditional,
    fresh,
    has_shape,
    keeps_shape,
    law,
    plain,
)
from pyro_exact.testing.trial import ROWS, Trial


@law(always)
def stock_calls_agree_with_the_pure_methods(trial: Trial) -> None:
    """The layer, the ``inv`` and the ``log_abs_det_jacobian`` agree with the pure methods."""
    y, ladj = trial.bound.forward_and_ladj(trial.x)
    for t in (trial.bound, trial.bound.with_cache(1), trial.bound.inv.inv):
        found = t(trial.x)
        agree("layer(x)", found, y, 0)
        agree("log_abs_det_jacobian", t.log_abs_det_jacobian(trial.x, found), ladj, 0)
        agree(
            "inv.log_abs_det_jacobian",
            t.inv.log_abs_det_jacobian(found, trial.x),
            -ladj,
            0,
        )

    x, _ = trial.bound.inverse_and_ladj(y)
    agree("inv(y)", trial.bound.inv(y.clone()), x, 0)


@law(keeps_shape)
def a_second_call_is_not_undone(trial: Trial) -> None:
    """A cached result of a call is not used for a call in the same direction."""
    t = trial.bound
    y = t(trial.x)
    expected, _ = t.forward_and_ladj(fresh(y))
    agree("layer(layer(x))", t(y), expected, 0)

    x = t.inv(y)
    expected, _ = t.inverse_and_ladj(fresh(x))
    agree("inv(inv(y))", t.inv(x), expected, 0)


@law(plain)
def in_a_transformed_distribution(trial: Trial) -> None:
    """A stock ``TransformedDistribution`` has the density of the change of variables."""
    d = trial.distribution()
    for x in (trial.x, d.sample((2, ROWS))):
        z, ladj = trial.layer.forward_and_ladj(x)
        # log p(x) = log p(z) + log |det dz/dx|, z = layer(x)
        expected = trial.base().log_prob(z) + ladj
        agree("log_prob", d.log_prob(x), expected)

    sample = d.expand((2,)).sample((4,))
    has_shape("a sample", sample, (4, 2, *trial.event_shape))


@law(conditional)
def in_a_conditional_transformed_distribution(trial: Trial) -> None:
    """A stock ``ConditionalTransformedDistribution`` has the density of each context."""
    conditional_d = ConditionalTransformedDistribution(trial.base(), [trial.layer.inv])
    d = conditional_d.condition(trial.context)

    for x in (trial.x, d.sample()):
        z, ladj = trial.bound.forward_and_ladj(x)
        expected = trial.base().log_prob(z) + ladj
        agree("log_prob", d.log_prob(x), expected)

    sample = d.sample((4, 2))
    has_shape("a sample", sample, (4, 2, ROWS, *trial.event_shape))


@law(conditional)
def equal_contexts_get_noise_of_their_own(trial: Trial) -> None:
    """A stock distribution with a batch of equal contexts has independent samples."""
    context = cast(Tensor, trial.contexts(1))
    context = context.expand(2, -1)
    conditional_d = ConditionalTransformedDistribution(trial.base(), [trial.layer.inv])
    first, second = conditional_d.condition(context).sample()

    if torch.equal(first, second):
        raise AssertionError(
            "samples for two equal contexts: expected different samples; got equal samples."
        )


@law(plain)
def a_plain_layer_conditions_to_itself(trial: Trial) -> None:
    """A plain layer returns itself from ``condition``, for use among conditional layers."""
    if trial.layer.condition(torch.zeros(2)) is not trial.layer:
        raise AssertionError("layer.condition(context): expected the layer itself; got another.")
