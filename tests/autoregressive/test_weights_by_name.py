"""Samplers take weights by name: the order in which a network registers its parts does not matter."""

import pytest
import torch
from registry import net

from pyro_exact.autoregressive import Autoregressive

NAMES = [
    "DiagonalBiLSTM colours",
    "GatedPixelCNN colours",
    "GatedPixelCNN conditional",
    "PixelCNN colours",
    "PixelCNNpp",
    "RowLSTM colours",
]


def reorder(module):
    """Register the parts and the parameters of a module, and of all modules inside, in reverse."""
    for each in module.modules():
        for registry in (each._modules, each._parameters):
            if not isinstance(each, torch.nn.ModuleList | torch.nn.Sequential):
                items = list(registry.items())[::-1]
                registry.clear()
                registry.update(items)


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_depend_on_the_order_of_registration(name):
    made = net(name)
    context = None if made.context_shape is None else torch.randn(made.context_shape)
    samples = []
    for _ in range(2):
        torch.manual_seed(0)
        samples.append(Autoregressive(made, context).sample((20,)))
        reorder(made)
    assert torch.equal(*samples)
