"""Planar: its stretch, its limits, and the layer of Pyro."""

from math import log

import pytest
import torch
from pyro.distributions import transforms as peers
from torch.testing import assert_close

from pyro_exact.transforms import (
    Planar,
)

pytestmark = pytest.mark.usefixtures("double")

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@dtypes
@pytest.mark.parametrize("parametrization", ["shifted", "paper"])
def test_planar_stretches_by_what_its_inverse_assumes(parametrization, dtype):
    """For any product w.u the stretch, which the inverse solves with, is 1 + w.u_hat."""
    layer = Planar(1, parametrization=parametrization, layers=400).to(dtype)
    with torch.no_grad():
        layer.theta.u.copy_(torch.linspace(-80, 80, 400).unsqueeze(-1))
        layer.theta.w.fill_(1)
    _, u_hat, w, _, stretch = layer._theta(torch.zeros(1, dtype=dtype), None)
    assert_close(
        (w * u_hat).sum(-1) + 1,
        stretch,
        rtol=4 * torch.finfo(dtype).eps,
        atol=80 * torch.finfo(dtype).eps,
    )


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


@pytest.mark.parametrize("parametrization", ["shifted", "paper"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_planar_at_w_zero_is_a_translation(parametrization, dtype):
    layer = Planar(3, parametrization=parametrization).to(dtype)
    with torch.no_grad():
        layer.theta.w.zero_()
        layer.theta.b.fill_(0.7)
    x = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, x + layer.theta.u * layer.theta.b.tanh())
    assert_close(ladj, torch.zeros_like(ladj), rtol=0, atol=1e-6)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(back, x)
    (y.sum() + ladj.sum() + back.square().sum() + ladj_back.sum()).backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-10, 1e-20, 1e-30])
def test_planar_with_a_vanishing_w_stays_bounded(size):
    """m(w.u) - w.u vanishes with w, and is divided by it: rounding would take over."""
    layer = Planar(3)
    with torch.no_grad():
        layer.theta.w.mul_(size)
        layer.theta.b.fill_(0.7)
    x = torch.randn(5, 3)
    moved, ladj = layer.float().forward_and_ladj(x.float())
    exact, _ = layer.double().forward_and_ladj(x)
    u = layer.theta.u
    assert ((moved - x).norm(dim=-1) < 1.1 * u.norm()).all()
    assert ladj.abs().max() < 10 * size + 1e-6
    if size >= 1e-4:
        assert_close(moved.double(), exact, rtol=0, atol=1e-5)
    assert_close(layer.float().inverse_and_ladj(moved)[0], x.float())


def test_planar_that_nearly_folds_space():
    """w.u = -100: at the hyperplane the determinant is e^-99.5, which 1 + w.u_hat / cosh² would round to 0.

    In float32 it is less than any normal number: the log-determinant ends at -87.3.
    """
    layer = Planar(1)
    with torch.no_grad():
        layer.theta.w.fill_(10)
        layer.theta.u.fill_(-10)
        layer.theta.b.zero_()
    for dtype, least in ((torch.float64, -100 + log(torch.e - 1)), (torch.float32, log(2) * -126)):
        x = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
        y, ladj = layer.to(dtype).forward_and_ladj(x)
        assert_close(ladj, torch.tensor([least], dtype=dtype), rtol=1e-5, atol=0)
        back, ladj_back = layer.inverse_and_ladj(y)
        (ladj + ladj_back + back.sum()).sum().backward()
        assert back.isfinite().all()
        assert ladj_back.isfinite().all()
        assert x.grad.isfinite().all()


def test_planar_agrees_with_pyro():
    peer, layer = perturb(peers.Planar(4)), Planar(4, parametrization="paper")
    with torch.no_grad():
        layer.theta.u.copy_(peer.u[None])
        layer.theta.w.copy_(peer.w[None])
        layer.theta.b.copy_(peer.bias)
    x = torch.randn(3, 5, 4)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, peer(x))
    assert_close(ladj, peer.log_abs_det_jacobian(x, peer(x)))
