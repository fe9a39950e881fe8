"""Likelihoods by name, for settings that are written down, for example in recipes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.categorical import CategoricalLikelihood
from pyro_exact.likelihoods.circular_logistic_mixture import CircularLogisticMixture
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.gaussian import GaussianLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood

Parameters = Mapping[str, inspect.Parameter]
AnyLikelihood = Likelihood | str | Mapping[str, Any]  # a likelihood, its name, or its settings

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "categorical": CategoricalLikelihood,
    "circular_logistic_mixture": CircularLogisticMixture,
    "discretized_logistic_mixture": DiscretizedLogisticMixture,
    "gaussian": GaussianLikelihood,
}


def make_likelihood(
    settings: AnyLikelihood,
    channels: int | None = None,
    levels: int | None = None,
) -> Likelihood:
    """Return the likelihood with a name, and with settings if there are any.

    Every network uses this for the argument ``likelihood``.

    Args:
        settings: A name in `LIKELIHOODS`, or ``{"name": ..., argument: value, ...}``. A likelihood
            is returned as it is.
        channels: Value of the argument ``channels``, used when this is required by the likelihood
            and missing in the settings.
        levels: The same for ``levels``, the levels of the data.

    Raises:
        ValueError: If the name or an argument is unknown, an argument is missing, or the levels of
            the likelihood differ from the data.

    Example:
        >>> make_likelihood("bernoulli").levels
        2
        >>> mixture = {"name": "discretized_logistic_mixture", "components": 5}
        >>> make_likelihood(mixture, channels=3, levels=256).num_params
        50
    """
    if not isinstance(settings, (str, Mapping)):
        return settings

    given: dict[str, Any] = {"name": settings} if isinstance(settings, str) else dict(settings)
    name = given.pop("name", None)
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise ValueError(
            f"A likelihood expects a name, one of {', '.join(LIKELIHOODS)}; got {name!r}. Choose "
            "one."
        )

    parameters = _parameters(LIKELIHOODS[name])
    _check_known(name, given, parameters)

    # With `channels=None` a Gaussian has single elements, unless the settings have channels.
    defaults = {"channels": channels, "levels": levels}
    for argument, value in defaults.items():
        optional = argument not in parameters or parameters[argument].default is None
        if value is not None and not optional:
            given.setdefault(argument, value)

    _check_complete(name, given, parameters)

    likelihood = LIKELIHOODS[name](**given)
    if levels is not None and likelihood.levels is not None and likelihood.levels != levels:
        raise ValueError(
            f"The likelihood {name} expects data of {likelihood.levels} levels; got {levels}. "
            "Choose another likelihood."
        )
    return likelihood


def _parameters(kind: type[Likelihood]) -> Parameters:
    """Return the parameters of a likelihood that can be settings, by name."""
    return {
        argument: parameter
        for argument, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    }


def _check_known(name: str, given: Mapping[str, Any], parameters: Parameters) -> None:
    """Raise ValueError if a setting is not a parameter of the likelihood."""
    unknown = [argument for argument in given if argument not in parameters]
    if unknown:
        known = ", ".join(parameters) or "none"
        raise ValueError(
            f"The likelihood {name} expects the arguments {known}; got {unknown[0]!r}. Leave it "
            "out."
        )


def _check_complete(name: str, given: Mapping[str, Any], parameters: Parameters) -> None:
    """Raise ValueError if a required parameter has no value."""
    missing = [
        argument
        for argument, parameter in parameters.items()
        if parameter.default is parameter.empty and argument not in given
    ]
    if missing:
        raise ValueError(f"The likelihood {name} expects {missing[0]}; got none. Give it a value.")
