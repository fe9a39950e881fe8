"""`check_model` names the law that a model breaks: every law has a model that breaks it."""

import random

import pyro
import pytest
import torch
from pyro.distributions import Normal
from registry import MODELS
from torch import nn

from pyro_exact.models import GenerativeModel
from pyro_exact.testing import ModelTrial, check_model, model_laws

DIM = 3


class Linear(GenerativeModel):
    """A model that obeys every law: a normal latent, and normal data around a linear function of it."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(DIM, 2), nn.Linear(2, DIM)

    @property
    def event_shape(self):
        return torch.Size((DIM,))

    def generate(self, x=None):
        z = pyro.sample("z", Normal(torch.zeros(2), 1.0).to_event(1))
        return pyro.sample("x", self.noise(self.decoder(z)), obs=x)

    def infer(self, x):
        pyro.sample("z", Normal(self.encoder(x), 1.0).to_event(1))

    def noise(self, mean):
        return Normal(mean, 1.0).to_event(1)

    @torch.no_grad()
    def sample(self, n, temperature=None):
        return self.noise(self.decoder(torch.randn(n, 2))).sample()


class Integers(Linear):
    """The same for integer data."""

    def infer(self, x):
        super().infer(x.to(self.encoder.weight.dtype))

    def generate(self, x=None):
        return super().generate(None if x is None else x.to(self.encoder.weight.dtype))


class OtherEventShape(Linear):
    @property
    def event_shape(self):
        return torch.Size((DIM, 1))

    def check(self, x):
        if x.shape[1:] != (DIM,) or len(x) == 0 or not x.isfinite().all():
            raise ValueError


class ScoresThatSum(Linear):
    def log_weight(self, x, samples=None):
        return super().log_weight(x, samples).sum(-1)


class ScoresOfTheModelAlone(Linear):
    def log_weight(self, x, samples=None):
        _, model = self.traces(x, samples)
        return model.nodes["x"]["log_prob"]


class ScoresWithoutGradient(Linear):
    def log_weight(self, x, samples=None):
        value = super().log_weight(x, samples)
        return value.detach() + 0 * value


class NotExact(Linear):
    @property
    def exact(self):
        return True


class WorseInSamples(Linear):
    def log_weight(self, x, samples=None):
        return super().log_weight(x, samples) - (0 if samples is None else 10.0)


class MixesRows(Linear):
    def infer(self, x):
        super().infer(x + x.mean(0))


class NumbersRows(Linear):
    def noise(self, mean):
        place = torch.arange(mean.shape[-2]) if mean.dim() > 1 else torch.zeros(())
        return super().noise(mean + place[:, None] if mean.dim() > 1 else mean)


class ReadsTheType(Integers):
    def infer(self, x):
        super().infer(x + (0 if x.is_floating_point() else 1))


class WritesIntoTheData(Linear):
    def infer(self, x):
        super().infer(x)
        with torch.no_grad():
            x.mul_(2)


class CountsCalls(Linear):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def infer(self, x):
        self.calls += 1
        super().infer(x)


class SamplesOfAnotherShape(Linear):
    def sample(self, n, temperature=None):
        return super().sample(n)[..., None]


class OtherRandomNumbers(Linear):
    def sample(self, n, temperature=None):
        return super().sample(n) + random.random()


class OneSample(Linear):
    def sample(self, n, temperature=None):
        return super().sample(1).expand(n, -1).clone()


class Unused(Linear):
    def __init__(self):
        super().__init__()
        self.spare = nn.Parameter(torch.zeros(2))


class Unregistered(Linear):
    """The model observes the data with other parameters than those in the store."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            return self.generate(x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            self.infer(x)


class NotContiguous(Linear):
    def __init__(self):
        super().__init__()
        self.encoder.weight = nn.Parameter(torch.randn(DIM, 2).T)


class InitializesToInfinity(Linear):
    def initialize(self, x):
        super().initialize(x)
        with torch.no_grad():
            self.decoder.bias.fill_(torch.inf)


class KeepsOldWeights(Linear):
    """A model that computes a value from its weights at the first call only."""

    def noise(self, mean):
        if not hasattr(self, "shift"):
            self.shift = self.decoder.bias.detach().clone()
        return super().noise(mean + self.shift)


class CannotBeCopied(Linear):
    def infer(self, x):
        self.last = lambda: x
        super().infer(x)


class TakesAnything(Linear):
    def check(self, x):
        pass


BREAKERS = {
    "event_shape_is_that_of_the_data": OtherEventShape,
    "log_weights_have_the_shape_of_the_batch": ScoresThatSum,
    "log_weights_sum_to_the_elbo": ScoresOfTheModelAlone,
    "gradients_are_those_of_the_elbo": ScoresWithoutGradient,
    "exact_scores_are_not_random": NotExact,
    "the_importance_weighted_bound_is_above_the_elbo": WorseInSamples,
    "a_batch_is_scored_like_its_items": MixesRows,
    "the_order_of_the_data_does_not_matter": NumbersRows,
    "the_type_of_integers_does_not_matter": ReadsTheType,
    "scoring_changes_nothing": CountsCalls,
    "samples_are_like_the_data": SamplesOfAnotherShape,
    "samples_repeat_with_the_seed": OtherRandomNumbers,
    "samples_differ": OneSample,
    "every_parameter_has_a_gradient": Unused,
    "stock_svi_trains_the_parameters": Unregistered,
    "parameters_are_contiguous": NotContiguous,
    "initialization_leaves_finite_scores": InitializesToInfinity,
    "state_dict_holds_everything_that_is_learned": KeepsOldWeights,
    "copies_after_a_step_are_equal": CannotBeCopied,
    "other_shapes_are_refused": TakesAnything,
    "elements_that_are_not_finite_are_refused": TakesAnything,
}


def data(kind):
    return torch.randint(3, (5, DIM)) if issubclass(kind, Integers) else torch.randn(5, DIM)


@pytest.mark.parametrize("name", MODELS)
def test_check_model_passes_every_model_of_the_registry(name, double):
    check_model(MODELS[name].make(), MODELS[name].data())


@pytest.mark.parametrize("kind", [Linear, Integers])
def test_check_model_passes_a_model_of_a_user(kind):
    check_model(kind(), data(kind))


@pytest.mark.parametrize(("law", "kind"), BREAKERS.items())
def test_check_model_names_the_law_that_is_broken(law, kind):
    with pytest.raises(AssertionError) as caught:
        check_model(kind(), data(kind))
    assert f"- {law}: " in str(caught.value)


def test_check_model_has_a_breaker_for_each_law():
    exact = MODELS["Density"]
    trials = [
        ModelTrial.of(Linear(), data(Linear)),
        ModelTrial.of(Integers(), data(Integers)),
        ModelTrial.of(exact.make(), exact.data()),
    ]
    assert {law.name for trial in trials for law in model_laws(trial)} == set(BREAKERS)


def test_check_model_sees_data_that_are_written_to():
    with pytest.raises(AssertionError, match="scoring_changes_nothing"):
        check_model(WritesIntoTheData(), data(Linear))


def test_check_model_changes_nothing():
    model, x = Linear(), data(Linear)
    before = [p.clone() for p in model.parameters()]
    kept, state, store = x.clone(), torch.get_rng_state(), dict(pyro.get_param_store())
    check_model(model, x)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)
    assert dict(pyro.get_param_store()) == store
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("model", "x", "error", "message"),
    [
        (nn.Linear(2, 2), torch.zeros(5, 2), TypeError, "expects a GenerativeModel; got Linear"),
        (Linear(), [1.0], TypeError, "expects data as a tensor; got list"),
        (Linear(), torch.zeros(3, DIM), ValueError, r"at least 4 data, \(N, ...\); got shape"),
    ],
)
def test_check_model_refuses_other_arguments(model, x, error, message):
    with pytest.raises(error, match=message):
        check_model(model, x)
