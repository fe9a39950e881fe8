"""Normals of any width."""

import pytest
import torch

from pyro_exact.distributions import StandardNormal
from pyro_exact.distributions.normal import exponential_normal, softplus_normal

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("raw", [-45.0, -60.0, -100.0, -1e4, -1e30])
@pytest.mark.parametrize("make", [softplus_normal, exponential_normal])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normal_of_any_width_has_a_density_and_a_gradient(raw, make, dtype):
    mean, raw = (torch.tensor(number, dtype=dtype, requires_grad=True) for number in (1.0, raw))
    normal = make(mean, raw)
    log_p = normal.log_prob(normal.rsample())
    assert log_p > 0
    assert all(gradient.isfinite() for gradient in torch.autograd.grad(log_p, (mean, raw)))


def test_normal_of_temperature_zero_has_a_density():
    assert StandardNormal(3)(0.0).log_prob(torch.zeros(3)).isfinite()
