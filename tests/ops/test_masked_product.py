"""The product with masked weights, block by block, against the plain formula."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.masked_product import Blocks, masked_product, masked_product_reference

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize(("inputs", "units"), [(7, 40), (40, 7), (64, 64)])
def test_masked_product_and_its_gradients_equal_the_reference(inputs, units):
    degrees = torch.randint(1, 9, (inputs,)).sort().values, torch.randint(9, (units,)).sort().values
    x = torch.randn(5, inputs, requires_grad=True)
    weight = torch.randn(units, inputs, requires_grad=True)

    found = masked_product(x, weight, Blocks(*degrees))
    expected = masked_product_reference(x, weight, degrees)
    assert_close(found, expected)

    scale = torch.randn_like(found)
    gradients = [
        torch.autograd.grad((y * scale).sum(), (x, weight), create_graph=True)
        for y in (found, expected)
    ]
    assert_close(*gradients)
