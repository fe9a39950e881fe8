"""The recursion of NADE against its plain formula."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.nade_recursion import nade_recursion, nade_recursion_reference

pytestmark = pytest.mark.usefixtures("double")


def inputs(num_params):
    x = (torch.rand(6, 5, num_params) < 0.5).double()
    x[:, 2] = 0  # a dimension that changes no hidden unit
    sizes = (5, num_params, 7), (5, num_params, 7), (7,)
    return [part.requires_grad_() for part in (x, *(torch.randn(size) for size in sizes))]


@pytest.mark.parametrize("num_params", [1, 3])
def test_nade_recursion_and_its_gradient_equal_the_reference(num_params):
    parts = inputs(num_params)
    found = [compute(*parts) for compute in (nade_recursion, nade_recursion_reference)]
    assert_close(*found, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(found[0])
    gradients = [torch.autograd.grad((sums * weights).sum(), parts) for sums in found]
    assert_close(*gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_params", [1, 3])
def test_nade_recursion_has_second_derivatives(num_params):
    assert torch.autograd.gradgradcheck(nade_recursion, inputs(num_params))
