"""The kernel of the discretised logistic mixture against its plain formula."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.logistic_mixture import (
    MixtureSizes,
    logistic_mixture,
    logistic_mixture_reference,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_logistic_mixture_and_its_gradient_equal_the_reference(channels):
    sizes = MixtureSizes(channels, levels=6, components=4)
    theta = torch.randn(sum(sizes.parts), 50, requires_grad=True)
    x = torch.randint(6, (channels, 50)).double()

    found = [compute(theta, x, sizes) for compute in (logistic_mixture, logistic_mixture_reference)]
    assert_close(*found, rtol=1e-10, atol=1e-10)
    weights = torch.randn(50)
    gradients = [torch.autograd.grad((log_p * weights).sum(), theta) for log_p in found]
    assert_close(*gradients, rtol=1e-9, atol=1e-10)
