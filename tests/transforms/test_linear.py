"""Householder and LinearLU are orthogonal from the start."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.transforms import (
    Householder,
    LinearLU,
)

pytestmark = pytest.mark.usefixtures("double")

both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


@both
def test_householder_is_orthogonal(context_dim):
    layer = perturb(Householder(5, 4, context_dim))
    context = None if context_dim is None else torch.randn(context_dim)
    q, ladj = layer.forward_and_ladj(
        torch.eye(5), None if context is None else context.expand(5, -1)
    )
    assert_close(q @ q.mT, torch.eye(5), rtol=0, atol=1e-12)
    assert ladj.count_nonzero() == 0


def test_householder_with_vectors_of_zeros_is_the_identity():
    layer = Householder(3, 2)
    torch.nn.init.zeros_(layer.theta.v)
    x = torch.randn(4, 3, requires_grad=True)
    y, _ = layer.forward_and_ladj(x)
    assert_close(y, x, rtol=0, atol=0)
    y.square().sum().backward()
    assert layer.theta.v.grad.isfinite().all()


def test_linear_lu_starts_as_a_rotation():
    layer = LinearLU(6)
    w, ladj = layer.forward_and_ladj(torch.eye(6))
    assert_close(w @ w.mT, torch.eye(6))
    assert_close(ladj, torch.zeros(6))
