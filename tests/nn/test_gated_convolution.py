"""Gated convolutions of encoders and decoders."""

import pytest
import torch

from pyro_exact.nn import GatedConvDecoder, GatedConvEncoder
from pyro_exact.recipes import load_recipe

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_gated_convolutions_take_any_batch(batch):
    encoder, decoder = (
        GatedConvEncoder((2, 8, 12), 10, 3, levels=4),
        GatedConvDecoder(4, (2, 8, 12), 5, 3),
    )
    features = encoder(torch.randint(4, (*batch, 2, 8, 12)).double())
    assert features.shape == (*batch, 10)
    assert decoder(torch.randn(*batch, 4)).shape == (*batch, 2, 8, 12, 5)


def test_gated_convolutions_of_the_paper_have_its_sizes():
    model = load_recipe("conv_vae_mnist").build((1, 28, 28), 2)
    kernels = [tuple(gate.layer.weight.shape) for gate in list(model.encoder.layers)]
    assert kernels == [
        (64, 1, 5, 5), (64, 32, 5, 5), (128, 32, 5, 5), (128, 64, 5, 5), (128, 64, 5, 5), (512, 64, 7, 7)
    ]  # fmt: skip
