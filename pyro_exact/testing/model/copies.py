"""Laws of copies of a model."""

from __future__ import annotations

import copy
import pickle

import torch
from pyro.infer import Trace_ELBO

from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.testing.law import agree, always, law
from pyro_exact.testing.model.trial import ModelTrial, learns


@law(learns)
def state_dict_holds_everything_that_is_learned(trial: ModelTrial) -> None:
    """A model with other weights that loads the ``state_dict`` has the same scores."""
    other = copy.deepcopy(trial.model)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(torch.randn_like(p))
    trial.with_model(other).log_weights()  # reveals a value that is kept from the old weights

    other.load_state_dict(trial.model.state_dict())
    _has_the_same_scores("a model that loaded the state_dict", other, trial)


@law(always)
def copies_after_a_step_are_equal(trial: ModelTrial) -> None:
    """After a step of an ELBO a model can be copied and pickled; copies have the same scores."""
    Trace_ELBO().differentiable_loss(
        trial.model.model,
        trial.model.guide,
        trial.x,
    )

    _has_the_same_scores("a deepcopy", copy.deepcopy(trial.model), trial)
    _has_the_same_scores("a pickled copy", pickle.loads(pickle.dumps(trial.model)), trial)


def _has_the_same_scores(
    subject: str,
    other: GenerativeModel,
    trial: ModelTrial,
) -> None:
    parameters = zip(other.parameters(), trial.model.parameters(), strict=True)
    if any(p is q for p, q in parameters):
        raise AssertionError(f"{subject}: expected separate parameters; got shared parameters.")

    found = trial.with_model(other).log_weights()
    agree(f"the scores of {subject}", found, trial.log_weights(), 0)
