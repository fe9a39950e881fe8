"""Parameters that may depend on a context."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.nn import (
    Parameters,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


@pytest.mark.parametrize("batch", [(), (3,), (3, 4), (0,)], ids=str)
def test_parameters_add_a_function_of_the_context(batch):
    initial = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    conditional = Parameters(initial, context_dim=5, hidden_dims=(6,))
    context = torch.randn(*batch, 5)
    for value, new, shape in zip(
        initial.values(), conditional(context), [(2, 3), (4,)], strict=True
    ):
        assert new.shape == (*batch, *shape)
        assert_close(new, value.expand(new.shape))
    perturb(conditional)
    changes = conditional.hypernet(context)
    a, b = conditional(context)
    assert_close(a, conditional.a + changes[..., :6].reshape(*batch, 2, 3))
    assert_close(b, conditional.b + changes[..., 6:])


def test_parameters_without_context_are_free_copies():
    initial = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    parameters = Parameters(initial)
    a, b = parameters()
    assert (a is parameters.a, b is parameters.b) == (True, True)
    assert torch.equal(a, initial["a"])
    assert a.data_ptr() != initial["a"].data_ptr()
    assert parameters(torch.randn(7)) == (a, b)


def test_parameters_say_that_the_context_is_missing():
    with pytest.raises(ValueError, match=r"expects a context of shape \(\*batch, 5\); got none"):
        Parameters({"a": torch.zeros(1)}, context_dim=5)()
