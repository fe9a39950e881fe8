"""Bounds with learned noise."""

import pytest
import torch
from helpers.two_pixels import bounds, exact_log_likelihood, two_pixels
from pyro.infer import RenyiELBO, Trace_ELBO

from pyro_exact import flows
from pyro_exact.distributions import FlowDequantizer
from pyro_exact.models import Dequantized

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(scope="module")
def noisy():
    """The two pixels whose likelihood is known, under uniform noise and under noise that was trained for a while."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    uniform = two_pixels()
    images = torch.cartesian_prod(torch.arange(4), torch.arange(4)).view(16, 1, 1, 2)
    options = {
        "width": 8,
        "depth": 1,
        "components": 4,
        "heads": 1,
        "dropout": 0.0,
        "encoder_width": 8,
    }
    noise = FlowDequantizer(flows.flow_pp_dequantizer((1, 1, 2), levels=4, steps=2, **options))
    learned = Dequantized(uniform.flow, levels=4, noise=noise)
    noise.initialize(images.repeat(8, 1, 1, 1).double())
    optimizer = torch.optim.Adam(noise.parameters(), lr=5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss = -learned.log_weight(images.repeat(4, 1, 1, 1)).mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return uniform, learned, images, exact_log_likelihood(uniform, images)


def test_learned_noise_is_a_bound_that_tightens_with_k(noisy):
    _, learned, images, exact = noisy
    gaps, errors = [], []
    for k in (1, 4, 16):
        draws = bounds(learned, images, k, repeats=1600 // k).mean(1)
        gaps.append((exact.mean() - draws.mean()).item())
        errors.append((draws.std() / len(draws) ** 0.5).item())
    assert all(gap > -4 * error for gap, error in zip(gaps, errors, strict=True))
    assert gaps[0] > 4 * errors[0]  # the ELBO is below the likelihood by more than chance
    assert gaps[1] < gaps[0] - 2 * (errors[0] + errors[1])
    assert gaps[2] < gaps[1] + 2 * (errors[1] + errors[2])


def test_learned_noise_is_tighter_than_uniform_noise(noisy):
    uniform, learned, images, exact = noisy
    gaps = [
        (exact - bounds(model, images, 1, repeats=2000).mean(0)).mean().item()
        for model in (uniform, learned)
    ]
    assert gaps[1] < gaps[0] / 2


@pytest.mark.parametrize("vectorize", [False, True])
def test_learned_noise_renyi_bound_lies_between_the_elbo_and_the_likelihood(noisy, vectorize):
    _, learned, images, exact = noisy
    row = images[5:6]
    elbo = Trace_ELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=1)
    renyi = RenyiELBO(alpha=0, num_particles=20, vectorize_particles=vectorize, max_plate_nesting=1)
    with torch.no_grad():
        low = -elbo.loss(learned.model, learned.guide, row)
        draws = torch.tensor([-renyi.loss(learned.model, learned.guide, row) for _ in range(9)])
    error = draws.std() / 3
    assert draws.mean() > low - 4 * error
    assert draws.mean() < exact[5] + 4 * error
    assert abs(draws.mean() - exact[5]) < abs(low - exact[5]) / 2 + 4 * error
