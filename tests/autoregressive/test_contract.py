"""Networks of other kinds fit the contract: a transformer with a key/value cache, and steps of several sites."""

import torch
from torch import nn
from torch.nn import functional as F

from pyro_exact.autoregressive import Autoregressive, CausalNet
from pyro_exact.likelihoods import BernoulliLikelihood, CategoricalLikelihood
from pyro_exact.nn.step_state import StepState
from pyro_exact.testing import check_causal_net

WIDTH = 6


class Transformer(CausalNet):
    """A layer of causal attention. Its cache holds the keys and values of earlier sites."""

    def __init__(self, dim, levels):
        super().__init__(dim, CategoricalLikelihood(levels))
        self.embedding = nn.Embedding(levels + 1, WIDTH)  # the last row stands for the start
        self.position = nn.Parameter(torch.randn(dim, WIDTH))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, levels)

    @property
    def orders(self):
        return torch.arange(self.sites)[None]

    def forward(self, x, context=None, member=0):
        tokens = self.check_input(x).long()
        start = self.likelihood.levels
        h = self.embedding(F.pad(tokens[..., :-1], (1, 0), value=start)) + self.position
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        return self.out(h + F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def init_state(self, batch_shape, context=None, member=0):
        empty = self.position.new_zeros(*batch_shape, 0, WIDTH)
        return StepState(member, 0, (empty, empty))

    def step(self, state, previous=None):
        keys, values = state.cache
        if previous is None:
            previous = keys.new_full((*keys.shape[:-2], 1), self.likelihood.levels)
        h = self.embedding(previous.long()) + self.position[state.done]
        q, k, v = self.qkv(h).chunk(3, dim=-1)

        keys, values = torch.cat((keys, k), dim=-2), torch.cat((values, v), dim=-2)
        theta = self.out(h + F.scaled_dot_product_attention(q, keys, values))
        return theta, state.next((keys, values))


class MultiScale(CausalNet):
    """Bits of which the first half comes one by one, and the second half at once."""

    def __init__(self, dim):
        super().__init__(dim, BernoulliLikelihood())
        self.half = dim // 2
        self.coarse = nn.Parameter(torch.ones(()))
        self.fine = nn.Linear(self.half, dim - self.half)

    @property
    def orders(self):
        return torch.arange(self.sites)[None]

    @property
    def num_steps(self):
        return self.half + 1

    def group(self, index):
        last = index == self.half
        return slice(index, self.sites if last else index + 1)

    def forward(self, x, context=None, member=0):
        coarse = self.check_input(x)[..., : self.half]
        first = self.coarse * F.pad(coarse[..., :-1], (1, 0))
        return torch.cat((first, self.fine(coarse)), dim=-1).unsqueeze(-1)


def test_transformer_with_a_key_value_cache_obeys_the_laws():
    check_causal_net(Transformer(5, 4))


def test_network_with_steps_of_several_sites_obeys_the_laws():
    check_causal_net(MultiScale(6))


def test_steps_of_several_sites_draw_what_whole_passes_draw():
    class Stepwise(MultiScale):
        def step(self, state, previous=None):
            return super().step(state, previous)

    slow, fast = MultiScale(6), Stepwise(6)
    fast.load_state_dict(slow.state_dict())
    samples = []
    for net in (slow, fast):
        torch.manual_seed(0)
        d = Autoregressive(net)
        samples.append(d.sample((20,)))
    assert torch.equal(*samples)
    assert d.passes == fast.num_steps
