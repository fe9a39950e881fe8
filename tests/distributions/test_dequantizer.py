"""Noise in the cells of levels."""

import math

import pytest
import torch
from registry import DISTRIBUTIONS, small_dequantizer
from torch.testing import assert_close

from pyro_exact.distributions import (
    FlowDequantizer,
    UniformDequantizer,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def d(request):
    return request.param()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("level", [0, 1, 255])
def test_dequantizer_noise_never_rounds_up_to_the_next_level(monkeypatch, level, dtype):
    def largest_below_one(x):
        return torch.nextafter(torch.ones_like(x), torch.zeros_like(x))

    monkeypatch.setattr(torch, "rand_like", largest_below_one)
    x = torch.full((2, 1, 3, 3), float(level), dtype=dtype)
    d = UniformDequantizer(x)
    v = d.sample()
    assert v.dtype == dtype
    assert torch.equal(v.floor(), x)
    assert torch.equal(d.log_prob(v), torch.zeros(2, dtype=dtype))


def test_dequantizer_noise_is_uniform():
    x = torch.tensor([[[0.0, 255.0]]])
    u = UniformDequantizer(x).sample((20_000,)) - x
    assert u.min() >= 0
    assert u.max() < 1
    assert_close(u.mean(0), torch.full_like(x, 0.5), rtol=0, atol=5 / math.sqrt(12 * 20_000))
    assert_close(u.var(0), torch.full_like(x, 1 / 12), rtol=0.03, atol=0)


def test_dequantizer_has_density_only_in_the_cell():
    x = torch.tensor([[[3.0, 7.0]]])
    d = UniformDequantizer(x)
    for value, expected in [
        ([3.0, 7.0], 0),
        ([3.999, 7.5], 0),
        ([4.0, 7.5], -math.inf),
        ([3.5, 6.999], -math.inf),
    ]:
        assert d.log_prob(torch.tensor([[value]])).item() == expected
    assert d.log_prob(torch.full((1, 1, 2), math.nan)).isnan()


def test_dequantizer_forced_noise_would_round_up():
    x = torch.tensor(255.0, dtype=torch.float32)
    assert x + torch.nextafter(torch.ones_like(x), torch.zeros_like(x)) == 256


def test_dequantizer_that_is_learned_has_no_density_outside_of_the_cell():
    noise, x = FlowDequantizer(small_dequantizer(None)), torch.randint(4, (3, 1, 2, 4)).double()
    d = noise(x)
    v = x + 0.5
    assert torch.equal(d.log_prob(v), noise.flow.condition(x).log_prob(v))
    v[1, 0, 1, 2] += 1
    assert d.log_prob(v).isfinite().tolist() == [True, False, True]
    assert d.log_prob(v)[1] == -math.inf


def test_dequantizer_of_an_empty_batch_of_images():
    d = UniformDequantizer(torch.zeros(0, 1, 2, 2))
    assert d.log_prob(d.sample()).shape == (0,)


@pytest.mark.parametrize("event_dim", [0, 1, 2, 3])
def test_dequantizer_event_dim_is_an_option(event_dim):
    x = torch.randint(256, (2, 3, 4)).double()
    d = UniformDequantizer(x, event_dim)
    assert d.batch_shape + d.event_shape == x.shape
    assert len(d.event_shape) == event_dim
    wrong = x.clone()
    wrong[1, 2, 3] += 1
    expected = torch.zeros(d.batch_shape)
    expected[(-1,) * len(d.batch_shape)] = -math.inf
    assert torch.equal(d.log_prob(wrong + 0.5), expected)
    assert d.expand((5, *d.batch_shape)).sample().shape == (5, *x.shape)


def test_dequantizer_support_is_the_cell():
    x = torch.tensor([[[3.0, 7.0]]])
    support = UniformDequantizer(x).support
    assert support.check(x + 0.5).all()
    assert not support.check(x + 1).any()
