"""The mixture of discretised logistics: total mass, the plain formula, tails, gradients, and draws."""

import math
from itertools import product

import pytest
import torch
from scipy.stats import chisquare
from torch.testing import assert_close

from pyro_exact.likelihoods import DiscretizedLogisticMixture
from pyro_exact.ops import logistic_mixture as module

pytestmark = pytest.mark.usefixtures("double")

SIZES = [(1, 2, 1), (1, 256, 3), (2, 5, 2), (3, 2, 4), (3, 4, 2)]


def every(likelihood):
    """All values of a pixel, (levels^channels, channels)."""
    return torch.tensor(list(product(range(likelihood.levels), repeat=likelihood.channels))).to(
        torch.get_default_dtype()
    )


def plain(likelihood, theta, x):
    """The formula as the paper writes it, for one pixel."""
    components, levels = likelihood.components, likelihood.levels
    logits, rest = theta[:components], theta[components:].view(-1, components)
    v, total = 2 * x / (levels - 1) - 1, 0
    for k in range(components):
        p = logits.softmax(-1)[k]
        for c in range(likelihood.channels):
            mean, scale = rest[c, k], rest[likelihood.channels + c, k].exp()
            for b in range(c):
                mean = mean + rest[2 * likelihood.channels + c * (c - 1) // 2 + b, k].tanh() * v[b]
            upper = ((v[c] + 1 / (levels - 1) - mean) / scale).sigmoid() if x[c] < levels - 1 else 1
            lower = ((v[c] - 1 / (levels - 1) - mean) / scale).sigmoid() if x[c] > 0 else 0
            p = p * (upper - lower)
        total = total + p
    return total.log()


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_discretized_logistic_is_the_plain_formula_and_has_its_gradient(sizes):
    likelihood = DiscretizedLogisticMixture(*sizes)
    theta = torch.randn(30, likelihood.num_params, requires_grad=True)
    x = torch.randint(likelihood.levels, (30, likelihood.channels)).double()
    values = [
        likelihood.log_prob(theta, x),
        torch.stack([plain(likelihood, *row) for row in zip(theta, x, strict=True)]),
    ]
    assert_close(*values, rtol=1e-10, atol=1e-10)
    weights = torch.randn(30)
    assert_close(
        *(torch.autograd.grad(value @ weights, theta) for value in values), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str
)
@pytest.mark.parametrize("size", [0.0, 1.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_discretized_logistic_mass_is_one_whatever_the_parameters(sizes, size, dtype, tolerance):
    likelihood = DiscretizedLogisticMixture(*sizes)
    values = every(likelihood).to(dtype)
    for theta in (size * torch.randn(200, likelihood.num_params)).to(dtype):
        mass = likelihood.log_prob(theta.expand(len(values), -1), values).double().exp().sum()
        assert_close(mass, torch.ones(()), rtol=0, atol=tolerance)


@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.0, 0.0, 50.0, 100.0])
def test_discretized_logistic_mass_is_one_at_the_ends_of_the_scales_in_float32(log_scale):
    likelihood, levels = DiscretizedLogisticMixture(1, 256, 1), torch.arange(256.0)[:, None].float()
    for mean in torch.linspace(-1.1, 1.1, 300):
        theta = torch.tensor([0, mean, log_scale]).float().expand(256, -1)
        assert abs(likelihood.log_prob(theta, levels).double().exp().sum() - 1) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_discretized_logistic_intervals_are_exact_far_into_the_tails(dtype):
    """There sigma(p) - sigma(q) is e^p - e^q, and float32 would round the difference to nothing."""
    likelihood = DiscretizedLogisticMixture(1, 256, 1)
    for mean, log_scale, level in [
        (3.0, -3.0, 10),
        (1.0, -7.0, 3),
        (-5.0, -1.5, 254),
        (5.0, -7.0, 128),
    ]:
        rate = math.exp(-log_scale) / 127.5
        distance = abs(level - 127.5 * (mean + 1))
        expected = (0.5 - distance) * rate + math.log(-math.expm1(-rate))
        log_p = likelihood.log_prob(
            torch.tensor([0, mean, log_scale], dtype=dtype), torch.tensor([level], dtype=dtype)
        )
        assert_close(log_p.double(), torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_discretized_logistic_gradient_is_right_at_the_edges():
    likelihood = DiscretizedLogisticMixture(3, 4, 2)
    theta = torch.randn(8, likelihood.num_params)
    theta[:4, 8:14] = torch.tensor([-9.0, -6.9, 61, 2, -8, -7.5])
    x = torch.tensor([[0, 0, 0], [3, 3, 3], [0, 3, 1], [2, 0, 3]] * 2).double()
    assert torch.autograd.gradcheck(
        lambda theta: likelihood.log_prob(theta, x), theta.requires_grad_()
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_discretized_logistic_gradient_is_finite_for_any_parameters(dtype, size):
    likelihood = DiscretizedLogisticMixture(3, 256, 3)
    theta = (size * torch.randn(500, likelihood.num_params)).to(dtype).requires_grad_()
    x = torch.randint(256, (500, 3)).to(dtype)
    x[:100], x[100:200] = 0, 255
    likelihood.log_prob(theta, x).sum().backward()
    assert theta.grad.isfinite().all()


def test_discretized_logistic_pieces_make_no_difference(monkeypatch):
    likelihood = DiscretizedLogisticMixture(3, 256, 3)
    theta, x = (
        torch.randn(2, 5, 7, likelihood.num_params, requires_grad=True),
        torch.randint(256, (2, 5, 7, 3)).double(),
    )
    whole = likelihood.log_prob(theta, x)
    monkeypatch.setattr(module, "CHUNK", 11)
    pieces = likelihood.log_prob(theta, x)
    assert pieces.shape == (2, 5, 7)
    assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
    assert_close(
        *(torch.autograd.grad(value.sum(), theta) for value in (pieces, whole)),
        rtol=1e-12,
        atol=1e-12,
    )
    assert likelihood.log_prob(theta[:0], x[:0]).shape == (0, 5, 7)


@pytest.mark.parametrize("log_scale", [-9.0, -3.0, -1.0, 2.0])
def test_discretized_logistic_draws_a_grid_of_noise_in_the_right_proportions(log_scale):
    likelihood, count = DiscretizedLogisticMixture(1, 16, 2), 40_000
    theta = torch.tensor([0.3, -0.4, -0.7, 0.5, log_scale, log_scale + 1])
    grid = (torch.arange(count) + 0.5) / count
    weights = theta[:2].softmax(-1)
    shares = 0
    for first, weight in zip(
        (0.0, 1 - 1e-9), weights, strict=True
    ):  # noise that chooses the first, the second
        noise = torch.stack((torch.full_like(grid, first), grid), dim=-1)
        drawn = likelihood.draw(theta.expand(count, -1), noise).long().flatten()
        shares = shares + weight * torch.bincount(drawn, minlength=16) / count
    p = likelihood.log_prob(theta.expand(16, -1), torch.arange(16.0)[:, None]).exp()
    assert_close(shares, p, rtol=0, atol=1.5 / count)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_discretized_logistic_draws_coloured_pixels_as_frequently_as_it_should(dtype):
    """Also where the scale is a small part of a level, and later channels feel the rounding of earlier ones."""
    likelihood, values = (
        DiscretizedLogisticMixture(3, 3, 2),
        every(DiscretizedLogisticMixture(3, 3, 2)),
    )
    for log_scale in (-4.0, -0.5):
        theta = 0.7 * torch.randn(likelihood.num_params)
        theta[8:14] = log_scale
        theta[14:] *= 4
        noise = torch.rand(50_000, likelihood.num_noise, dtype=dtype)
        drawn = likelihood.draw(theta.to(dtype).expand(50_000, -1), noise).long()
        counts = torch.bincount((drawn * torch.tensor([9, 3, 1])).sum(-1), minlength=27)
        expected = 50_000 * likelihood.log_prob(theta.expand(27, -1), values).exp()
        rare = expected < 5
        assert counts[rare].sum() <= 10 + 2 * expected[rare].sum()
        counts, expected = counts[~rare], expected[~rare]
        if len(counts) > 1:
            assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_discretized_logistic_components_are_chosen_by_the_first_number(sizes):
    likelihood = DiscretizedLogisticMixture(*sizes)
    noise = torch.cat((torch.zeros(1, likelihood.num_noise), torch.rand(99, likelihood.num_noise)))
    drawn = likelihood.draw(10 * torch.randn(100, likelihood.num_params), noise)
    assert drawn.shape == (100, likelihood.channels)
    assert likelihood.support.check(drawn).all()


def test_discretized_logistic_marginal_fits_better_than_no_parameters():
    likelihood = DiscretizedLogisticMixture(3, 256, 4)
    x = (40 * torch.randn(200, 5, 3) + torch.tensor([60.0, 130, 200])).round().clamp(0, 255)
    theta = likelihood.marginal(x)
    assert theta.shape == (5, likelihood.num_params)
    fits = [
        likelihood.log_prob(t.expand(200, 5, -1), x).mean()
        for t in (theta, torch.zeros_like(theta))
    ]
    assert fits[0] > fits[1] + 1
    assert likelihood.marginal(torch.full((5, 3), 7.0)).isfinite().all()


@pytest.mark.parametrize("sizes", [(0, 256, 10), (3, 1, 10), (3, 256, 0)], ids=str)
def test_discretized_logistic_refuses_impossible_settings(sizes):
    with pytest.raises(ValueError, match=rf"expects \w+ from [12] to \d+; got {min(sizes)}"):
        DiscretizedLogisticMixture(*sizes)
