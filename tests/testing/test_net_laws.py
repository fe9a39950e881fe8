"""`check_causal_net` names the law that a network breaks: every law has a network that breaks it."""

import copy

import pytest
import torch
from torch.nn import functional as F

from pyro_exact.autoregressive import CausalNet
from pyro_exact.likelihoods import BernoulliLikelihood, GaussianLikelihood
from pyro_exact.nn.step_state import StepState
from pyro_exact.testing import NetTrial, check_causal_net, net_laws

SITES = 4


class Chain(CausalNet):
    """A network that obeys every law: bits, each of which depends on the bit before and on a context."""

    def __init__(self, context_shape=None, likelihood=None):
        super().__init__(SITES, likelihood or BernoulliLikelihood(), context_shape)
        self.weight = torch.nn.Parameter(torch.ones(self.likelihood.num_params))
        self.context_weight = torch.nn.Parameter(torch.ones(context_shape or 0))

    @property
    def orders(self):
        return torch.arange(self.sites)[None]

    def forward(self, x, context=None, member=0):
        x = self.check_input(x)
        before = F.pad(x[..., :-1].tanh(), (1, 0))
        theta = self.weight * before.unsqueeze(-1)
        context = self.flatten_context(context, x.shape[:-1])
        return theta if context is None else theta + self.shift(context).view(*x.shape[:-1], 1, 1)

    def shift(self, context):
        return context @ self.context_weight

    def init_state(self, batch_shape, context=None, member=0):
        context = self.flatten_context(context, batch_shape)
        shift = 0 if context is None else self.shift(context).view(*batch_shape, 1, 1)
        return StepState(member, 0, (self.weight.new_zeros(*batch_shape, 1, 1), shift))

    def step(self, state, previous=None):
        before, shift = state.cache
        if previous is not None:
            before = previous.tanh().unsqueeze(-1)
        return self.weight * before + shift, state.next((before, shift))


class RepeatsASite(Chain):
    orders = property(lambda self: torch.zeros(1, self.sites, dtype=torch.long))


class LeavesAGap(Chain):
    def group(self, index):
        return slice(index + (index > 1), index + 1 + (index > 1))


class FlattensTheta(Chain):
    def forward(self, x, context=None, member=0):
        return super().forward(x, context, member).squeeze(-1)


class SeesItself(Chain):
    def forward(self, x, context=None, member=0):
        return super().forward(x, context, member) + x.to(self.weight.dtype).unsqueeze(-1)


class StepsAreOff(Chain):
    def step(self, state, previous=None):
        theta, state = super().step(state, previous)
        return theta + 1e-6, state


class KeepsTheState(Chain):
    def step(self, state, previous=None):
        self.kept = getattr(self, "kept", None) if previous is None else previous.clone()
        return super().step(state, self.kept if previous is not None else None)

    def init_state(self, batch_shape, context=None, member=0):
        self.scale = 1.0 if getattr(self, "scale", 2.0) == 2.0 else 2.0
        before, shift = super().init_state(batch_shape, context, member).cache
        return StepState(member, 0, (before + self.scale - 1, shift))


class KeepsThePreviousValues(Chain):
    def step(self, state, previous=None):
        (before, shift), earlier = state.cache[:2], state.cache[2:]
        theta, state = super().step(StepState(0, state.done, (before, shift)), previous)
        theta = theta + sum(0 * value.unsqueeze(-1) for value in earlier)
        return theta, state._replace(
            cache=(*state.cache, *earlier, *([] if previous is None else [previous]))
        )


class MixesRows(Chain):
    def forward(self, x, context=None, member=0):
        theta = super().forward(x, context, member)
        return theta + theta.mean()


class Overflows(Chain):
    def forward(self, x, context=None, member=0):
        return super().forward(x, context, member) - torch.inf


class LooksAhead(Chain):
    def forward(self, x, context=None, member=0):
        theta = super().forward(x, context, member)
        return theta + x.to(theta.dtype).roll(1, -1).unsqueeze(-1)


class OutOfTheSupport(BernoulliLikelihood):
    def draw(self, theta, noise):
        return super().draw(theta, noise) + 1


class DrawsAnotherValue(BernoulliLikelihood):
    def draw(self, theta, noise):
        return (torch.rand_like(noise) < 0.5).to(noise.dtype).squeeze(-1)


class CopiesAreOff(Chain):
    def __deepcopy__(self, memo):
        other = Chain.__new__(CopiesAreOff)
        other.__dict__ = {k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()}
        other.copied = getattr(self, "copied", 0) + 1
        return other

    def forward(self, x, context=None, member=0):
        return super().forward(x, context, member) * getattr(self, "copied", 0)


class IgnoresTheContext(Chain):
    def shift(self, context):
        return 0 * super().shift(context)


class TakesNoContext(Chain):
    def flatten_context(self, context, batch_shape):
        if context is None:
            context = self.weight.new_zeros(*batch_shape, *self.context_shape)
        return super().flatten_context(context, batch_shape)


class TakesAnyShape(Chain):
    def check_input(self, x):
        return x.to(self.weight.dtype)


BREAKERS = {
    "orders_are_permutations": RepeatsASite,
    "groups_cover_the_order": LeavesAGap,
    "theta_has_the_shape_of_the_grid": FlattensTheta,
    "theta_is_causal": SeesItself,
    "steps_equal_the_pass": StepsAreOff,
    "states_are_independent": KeepsTheState,
    "values_may_be_overwritten": KeepsThePreviousValues,
    "rows_do_not_mix": MixesRows,
    "log_prob_is_finite": Overflows,
    "mass_is_one": LooksAhead,
    "samples_are_fixed_points_of_a_pass": lambda: Chain(None, DrawsAnotherValue()),
    "samples_are_in_the_support": lambda: Chain(None, OutOfTheSupport()),
    "copies_are_equal": CopiesAreOff,
    "context_matters": lambda: IgnoresTheContext(2),
    "missing_context_is_refused": lambda: TakesNoContext(2),
    "wrong_shapes_are_refused": TakesAnyShape,
}


@pytest.mark.parametrize("context_shape", [None, 3], ids=["plain", "conditional"])
@pytest.mark.parametrize("likelihood", [BernoulliLikelihood, GaussianLikelihood])
def test_right_network_passes(context_shape, likelihood):
    check_causal_net(Chain(context_shape, likelihood()))


def test_every_net_law_has_a_breaker():
    names = {law.name for law in net_laws(NetTrial.of(Chain(2)))}
    assert names == set(BREAKERS)


@pytest.mark.parametrize("name", BREAKERS)
def test_check_causal_net_names_the_broken_law(name):
    with pytest.raises(AssertionError, match=rf"- {name}: "):
        check_causal_net(BREAKERS[name]())


def test_check_causal_net_refuses_what_is_no_network():
    with pytest.raises(TypeError, match="expects a CausalNet; got Linear"):
        check_causal_net(torch.nn.Linear(2, 2))
