"""Sylvester: orthonormal columns, diagonals at their bounds."""

from math import log

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.transforms import (
    Sylvester,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize("variant", ["orthogonal", "householder", "triangular"])
def test_sylvester_columns_are_orthonormal(variant, context_dim):
    layer = perturb(Sylvester(6, 4, variant, context_dim), 3)
    context = None if context_dim is None else torch.randn(5, context_dim)
    q = layer._theta(torch.randn(6), context)[1]
    assert_close(q.mT @ q, torch.eye(4).expand(*q.shape[:-2], 4, 4), rtol=0, atol=1e-12)


def test_sylvester_is_smooth_where_qr_changes_its_signs():
    """LAPACK flips the sign of a column when the first entry of the matrix changes sign."""
    layer = perturb(Sylvester(3, 2))
    x = torch.randn(10, 3)
    outputs = []
    for entry in (-1e-9, 1e-9):
        with torch.no_grad():
            layer.theta.q[0, 0] = entry
        outputs.append(layer.forward_and_ladj(x)[0])
    assert_close(*outputs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("raw", [5.0, 20.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_sylvester_with_diagonals_at_their_bounds(raw, dtype):
    """R_ii = 1, S_ii = -1 in floating point: 1 + R_ii S_ii would be 0, and the log-determinant infinite at a = 0."""
    layer = Sylvester(3, 3, "triangular").to(dtype)
    with torch.no_grad():
        layer.theta.r.fill_diagonal_(raw)
        layer.theta.s.fill_diagonal_(-raw)
    x = torch.cat([torch.zeros(1, 3), torch.randn(9, 3)]).to(dtype).requires_grad_()
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(layer.forward_and_ladj(back)[0], y)
    (y.sum() + ladj.sum() + back.sum() + ladj_back.sum()).backward()
    assert ladj.isfinite().all()
    assert ladj_back.isfinite().all()
    if raw == 5:
        assert_close(
            ladj[0],
            torch.tensor(3 * log(1 - float(np.tanh(5.0)) ** 2), dtype=dtype),
            rtol=1e-4,
            atol=0,
        )


def test_sylvester_alternates_the_permutation_of_the_triangular_variant():
    def reverses(flow):
        return [layer.reverse for layer in flow.modules() if isinstance(layer, Sylvester)]

    assert reverses(flows.sylvester(4, 4, 4, "triangular")) == [False, True, False, True]
    assert not any(reverses(flows.sylvester(4, 4, 4)))
