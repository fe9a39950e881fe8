"""Concatenated ELU."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.ops.concat_elu import concat_elu

pytestmark = pytest.mark.usefixtures("double")


def test_concat_elu_is_that_of_torch_and_has_its_derivatives():
    x = torch.cat(
        (torch.randn(5, 6), torch.tensor([[-50.0, -1e-9, 0, 1e-9, 50, 1]]))
    ).requires_grad_()
    values = concat_elu(x), F.elu(torch.cat((x, -x), dim=-1))
    assert_close(*values)
    weights = torch.randn_like(values[0])
    gradients = [torch.autograd.grad((value * weights).sum(), x)[0] for value in values]
    assert_close(*gradients)
    assert torch.autograd.gradgradcheck(concat_elu, torch.randn(3, 4, requires_grad=True))
