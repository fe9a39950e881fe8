"""The laws of a likelihood."""

from __future__ import annotations

import torch

from pyro_exact.testing.law import agree, always, has_shape, law
from pyro_exact.testing.likelihood_trial import SITES, LikelihoodTrial
from pyro_exact.testing.net_trial import can_be_enumerated, every_value

DRAWS = 20_000


def enumerable(trial: LikelihoodTrial) -> bool:
    """A likelihood with so few values that a sum over all values is possible."""
    return can_be_enumerated(trial.likelihood, trial.likelihood.site_shape)


def discrete(trial: LikelihoodTrial) -> bool:
    """A likelihood of discrete elements."""
    return trial.likelihood.levels is not None


def continuous(trial: LikelihoodTrial) -> bool:
    """A likelihood of single real values, drawn using one noise element."""
    likelihood = trial.likelihood
    return likelihood.levels is None and not likelihood.site_shape and likelihood.num_noise == 1


@law(always)
def log_prob_has_the_shape_of_the_sites(trial: LikelihoodTrial) -> None:
    """There is one log-probability for each site, whatever the shape of the sites."""
    likelihood = trial.likelihood
    theta = trial.theta
    x = trial.x
    has_shape("log_prob", likelihood.log_prob(theta, x), (SITES,))
    has_shape(
        "log_prob of a single site",
        likelihood.log_prob(theta[0], x[0]),
        (),
    )

    thetas = theta.expand(2, 3, *theta.shape)
    xs = x.expand(2, 3, *x.shape)
    grid = likelihood.log_prob(thetas, xs)
    has_shape("log_prob of a grid", grid, (2, 3, SITES))


@law(always)
def sites_do_not_mix(trial: LikelihoodTrial) -> None:
    """The log-probability of a site depends on this site alone."""
    together = trial.likelihood.log_prob(trial.theta, trial.x)
    for i in range(SITES):
        alone = trial.likelihood.log_prob(trial.theta[i], trial.x[i])
        agree(f"log_prob of site {i} alone", alone, together[i], 1e-12)


@law(enumerable)
def mass_is_one(trial: LikelihoodTrial) -> None:
    """The probabilities of all values of a site sum to 1."""
    every = every_value(trial.likelihood, trial.likelihood.site_shape)
    for theta in trial.theta:
        log_p = trial.likelihood.log_prob(theta.expand(len(every), -1), every)
        mass = log_p.exp().sum()
        agree("the mass", mass, torch.ones_like(mass), 1e-10)


@law(discrete)
def tables_multiply_to_log_prob(trial: LikelihoodTrial) -> None:
    """The tables of the channels, each given earlier channels, multiply to the probability."""
    likelihood = trial.likelihood
    channels = trial.x.reshape(SITES, -1)

    log_p = torch.zeros(SITES, dtype=trial.x.dtype)
    for c in range(channels.shape[-1]):
        table = likelihood.level_probs(trial.theta, channels[:, :c])
        has_shape("a table of levels", table, (SITES, likelihood.levels or 0))
        agree("the mass of a table", table.sum(-1), torch.ones_like(log_p), 1e-12)

        p = table.gather(-1, channels[:, c : c + 1].long()).squeeze(-1)
        log_p = log_p + p.log()

    agree("the product of the tables", log_p, likelihood.log_prob(trial.theta, trial.x), 1e-9)


@law(enumerable)
def draws_have_the_probabilities(trial: LikelihoodTrial) -> None:
    """Draws are as frequent as their probabilities."""
    likelihood = trial.likelihood
    theta = trial.theta[0]
    every = every_value(likelihood, likelihood.site_shape)
    log_p = likelihood.log_prob(theta.expand(len(every), -1), every)
    p = log_p.exp()

    noise = trial.noise(DRAWS)
    drawn = likelihood.draw(theta.expand(DRAWS, -1), noise)
    drawn = drawn.reshape(DRAWS, -1)
    weights = (likelihood.levels or 1) ** torch.arange(drawn.shape[1])
    counts = torch.bincount(
        (drawn.long() * weights).sum(-1),
        minlength=len(every),
    )

    # Six standard deviations of a count, and one count for values that are very rare.
    error = (counts - DRAWS * p).abs()
    allowed = 6 * (DRAWS * p).sqrt() + 1
    if (error > allowed).any():
        worst = int((error - allowed).argmax())
        raise AssertionError(
            f"draws of {every[worst].tolist()}: expected {DRAWS * p[worst]:.0f} of {DRAWS}; got "
            f"{int(counts[worst])}."
        )


@law(continuous)
def draws_have_the_density(trial: LikelihoodTrial) -> None:
    """Draws are the quantiles of the density: between two of them lies the mass of their noise."""
    noise = torch.linspace(0.01, 0.99, 10_001, dtype=torch.float64)
    for theta in trial.theta:
        theta = theta.expand(len(noise), -1)
        x = trial.likelihood.draw(theta, noise.unsqueeze(-1))
        middle = (x[1:] + x[:-1]) / 2
        density = trial.likelihood.log_prob(theta[1:], middle).exp()
        mass = density * x.diff()
        agree("the mass between draws", mass, noise.diff(), 1e-7)


@law(always)
def draws_are_in_the_support(trial: LikelihoodTrial) -> None:
    """Draws have the shape of a value, and lie in the support, even for extreme noise."""
    likelihood = trial.likelihood
    for size in (1, 100):
        for noise in (
            trial.noise(SITES),
            0 * trial.noise(SITES),
            0 * trial.noise(SITES) + 1 - 2**-24,
        ):
            drawn = likelihood.draw(size * trial.theta, noise)
            has_shape("a draw", drawn, (SITES, *likelihood.site_shape))
            likelihood.check_values(drawn)


@law(always)
def draws_are_functions_of_the_noise(trial: LikelihoodTrial) -> None:
    """The same noise gives the same draw: nothing else is random."""
    noise = trial.noise(100, SITES)
    theta = trial.theta.expand(100, *trial.theta.shape)

    first = trial.likelihood.draw(theta, noise)
    second = trial.likelihood.draw(theta, noise)
    agree("a second draw from the same noise", second, first, 0)


@law(always)
def nan_stays_nan(trial: LikelihoodTrial) -> None:
    """A draw from parameters that are NaN has a NaN, so that samplers can report it."""
    theta = torch.full_like(trial.theta, torch.nan)
    drawn = trial.likelihood.draw(theta, trial.noise(SITES))
    drawn = drawn.reshape(SITES, -1)
    if not drawn.isnan().any(-1).all():
        raise AssertionError(f"a draw from NaN: expected NaN; got {drawn.tolist()}.")


@law(always)
def gradient_is_that_of_finite_differences(trial: LikelihoodTrial) -> None:
    """The gradient of the log-probabilities by theta is that of finite differences."""
    theta = trial.theta.clone().requires_grad_()
    torch.autograd.gradcheck(
        lambda theta: trial.likelihood.log_prob(theta, trial.x),
        theta,
    )


@law(always)
def marginal_fits_data(trial: LikelihoodTrial) -> None:
    """The parameters of `marginal` are finite, and fit data better than random parameters."""
    likelihood = trial.likelihood
    n = 200
    thetas = trial.theta.expand(n, SITES, -1)
    data = likelihood.draw(thetas, trial.noise(n, SITES))
    theta = likelihood.marginal(data)
    has_shape("marginal", theta, (SITES, likelihood.num_params))
    if not theta.isfinite().all():
        raise AssertionError(f"marginal: expected finite parameters; got {theta.tolist()}.")

    fitted = likelihood.log_prob(
        theta.expand(n, *theta.shape),
        data,
    ).mean()
    random = torch.randn(n, *theta.shape, dtype=torch.float64)
    worse = likelihood.log_prob(random, data).mean()
    if not fitted > worse:
        raise AssertionError(f"marginal: expected a better fit than {worse:.4f}; got {fitted:.4f}.")


@law(always)
def values_outside_the_support_are_refused(trial: LikelihoodTrial) -> None:
    """`check_values` refuses NaN, infinity and, for discrete elements, other numbers."""
    wrong = [torch.nan, torch.inf]
    if trial.likelihood.levels is not None:
        wrong += [0.5, -1.0, float(trial.likelihood.levels)]
    for value in wrong:
        try:
            trial.likelihood.check_values(torch.full_like(trial.x, value))
        except ValueError:
            continue
        raise AssertionError(f"check_values of {value}: expected a ValueError; got none.")


@law(discrete)
def levels_are_those_of_the_support(trial: LikelihoodTrial) -> None:
    """The support holds 0, ..., levels - 1."""
    levels = torch.arange(trial.likelihood.levels or 1, dtype=torch.float64)
    trial.likelihood.check_values(levels)
