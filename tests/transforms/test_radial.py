"""Radial at its centre, and the layer of Pyro."""

import pytest
import torch
from pyro.distributions import transforms as peers
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.transforms import (
    Radial,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("raw_alpha", "raw_sum"), [(0, 0), (5, -40), (-40, 5), (-40, -40), (10, 10)]
)
def test_radial_at_its_centre(raw_alpha, raw_sum, dtype):
    layer = Radial(3).to(dtype)
    with torch.no_grad():
        layer.theta.raw_alpha.fill_(raw_alpha)
        layer.theta.raw_sum.fill_(raw_sum)
    x = layer.theta.center[0].detach().clone().requires_grad_()
    _, alpha, total = layer._theta(None)
    for direction, sign in ((layer.forward_and_ladj, 1), (layer.inverse_and_ladj, -1)):
        y, ladj = direction(x)
        assert_close(y, x)
        assert_close(ladj, sign * 3 * (total / alpha).log()[0], rtol=1e-5, atol=1e-5)
        matrix = jacobian(lambda x, direction=direction: direction(x)[0], x)
        assert_close(matrix, torch.eye(3, dtype=dtype) * (total / alpha) ** sign)
        (y.square().sum() + ladj).backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize(("raw_alpha", "raw_sum"), [(10, -10), (-10, 10)])
def test_radial_keeps_its_digits_next_to_its_centre(raw_alpha, raw_sum):
    """Where the map shrinks ten thousandfold, x plus a multiple of the offset would cancel."""
    layer = Radial(3).float()
    with torch.no_grad():
        for parameter, value in zip(layer.theta.free(), (0, raw_alpha, raw_sum), strict=True):
            parameter.fill_(value)
    for x in (
        1e-3 * torch.randn(100, 3, dtype=torch.float32),
        torch.full((1, 3), 1e-8, dtype=torch.float32),
    ):
        y, ladj = layer.forward_and_ladj(x)
        back, ladj_back = layer.inverse_and_ladj(y)
        assert ((back - x).norm(dim=-1) / x.norm(dim=-1)).max() < 1e-5
        assert (ladj + ladj_back).abs().max() < 1e-5


def test_radial_agrees_with_pyro():
    peer, layer = perturb(peers.Radial(4)), perturb(Radial(4))
    _, alpha, total = layer._theta(None)
    with torch.no_grad():
        peer.x0.copy_(layer.theta.center[0])
        peer.alpha_prime.copy_(alpha.expm1().log())
        peer.beta_prime.copy_(total.expm1().log())
    x = torch.randn(3, 5, 4)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, peer(x))
    assert_close(ladj, peer.log_abs_det_jacobian(x, peer(x)))
