"""Activations and dropout against those of torch."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.concat_elu import concat_elu, concat_elu_reference
from pyro_exact.ops.dropout import dropout, dropout_reference
from pyro_exact.ops.elu import elu, elu_reference

pytestmark = pytest.mark.usefixtures("double")

PAIRS = [(elu, elu_reference), (concat_elu, concat_elu_reference)]


@pytest.mark.parametrize(("fast", "reference"), PAIRS, ids=["elu", "concat_elu"])
def test_activation_and_its_gradient_equal_the_reference(fast, reference):
    x = torch.cat((10 * torch.randn(5, 6), torch.tensor([[-1e3, 1e3, 0.1, -0.1, 5, -5]])))
    x.requires_grad_()
    found = fast(x), reference(x)
    assert_close(*found, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(found[0])
    gradients = [torch.autograd.grad((y * weights).sum(), x) for y in found]
    assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.25, 0.5])
@pytest.mark.parametrize("compute", [dropout, dropout_reference])
def test_dropout_drops_a_share_and_keeps_the_mean(compute, p):
    x = torch.ones(100_000, requires_grad=True)
    y = compute(x, p)
    assert set(y.unique().tolist()) == {0.0, y.max().item()}
    assert_close(y.max(), torch.tensor(1 / (1 - p)), rtol=2**-15, atol=0)
    assert_close((y == 0).double().mean(), torch.tensor(p), rtol=0, atol=0.01)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())
