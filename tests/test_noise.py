"""Noise that several processes share: together they draw what one process would."""

import pytest
import torch
from torch.distributions import Normal
from torch.nn import functional as F

from pyro_exact.distributions import StandardNormal, Subset, UniformDequantizer
from pyro_exact.nn.dropout import Dropout
from pyro_exact.noise import SharedNoise, rows_of_batch

ROWS = 8  # of the whole batch

DRAWS = {
    "rand": lambda x: torch.rand(len(x), 3),
    "rand of a shape": lambda x: torch.rand((len(x), 3), dtype=torch.float64),
    "rand_like": torch.rand_like,
    "randn": lambda x: torch.randn(len(x), 20),
    "randn_like": torch.randn_like,
    "normal": lambda x: torch.normal(x, 0.5),
    "normal of a size": lambda x: torch.normal(1.0, 2.0, (len(x), 3)),
    "randint": lambda x: torch.randint(100, (len(x), 3)),
    "randint from": lambda x: torch.randint(50, 100, size=(len(x), 3)),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "uniform_": lambda x: torch.empty(len(x), 2).uniform_(-1, 1),
    "exponential_": lambda x: torch.empty(len(x), 2).exponential_(),
    "dropout": lambda x: F.dropout(x, 0.4),
    "our dropout": lambda x: Dropout(0.4)(x),
    "rows that are joined": lambda x: torch.randn(len(x) * 5),
    "channels last": lambda x: torch.rand_like(
        x[:, :, None, None].expand(-1, -1, 2, 2).to(memory_format=torch.channels_last)
    ),
    "reparametrised": lambda x: Normal(x, 1.0).rsample(),
    "base": lambda x: StandardNormal(6)().sample((len(x),)),
    "dequantizer": lambda x: UniformDequantizer(x, event_dim=1).sample(),
    "subset": lambda x: Subset((1, 2, 3)).sample((len(x),)),
    "a single context": lambda x: x + torch.randn(()) + torch.randint(3, ()),
    "one after another": lambda x: torch.rand_like(x) + F.dropout(torch.randn(len(x), 4), 0.5),
}


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_noise_of_all_processes_is_what_one_process_draws(draw, processes):
    x = torch.randn(ROWS, 4)
    torch.manual_seed(1)
    whole = draw(x)
    parts = []
    for rank, rows in enumerate(x.chunk(processes)):
        torch.manual_seed(1)
        with SharedNoise(rank, processes, len(rows)):
            parts.append(draw(rows))
    assert torch.equal(torch.cat(parts), whole)


def test_noise_leaves_a_generator_and_a_network_that_does_not_train_alone():
    x = torch.randn(4, 3)
    with SharedNoise(1, 2, 4):
        assert torch.equal(F.dropout(x, 0.5, training=False), x)
        drawn = [torch.rand(4, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
        assert rows_of_batch(4) == (4, 8)
    assert torch.equal(*drawn)
    assert rows_of_batch(4) == (0, 4)
