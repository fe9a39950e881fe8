"""Models with normal latents code images without loss, in about as many bits as the bound says."""

import io
import math

import pytest
import torch
from registry import MODELS

from pyro_exact.codec import compress, decompress, write_images

CODED = [
    "HierarchicalPixelVAE mixture",
    "ResNetVAE",
    "VAE",
    "VAE autoregressive",
    "dense_vae",
    "pixel_vae",
    "pixel_vae independent",
]
FLOWS = ["VAE iaf", "VAE planar", "iaf_vae"]


def made(name):
    """A model of the registry and images."""
    torch.manual_seed(0)
    model, x = MODELS[name].make(), MODELS[name].data()
    model.initialize(x)
    return model.eval(), x.to(torch.uint8)


@pytest.mark.parametrize("name", CODED)
def test_images_come_back_from_a_chain(name):
    model, x = made(name)
    noise = torch.randint(int(x.max()) + 1, x[:2].shape, dtype=torch.uint8)
    images = torch.cat([x[:4], noise, torch.zeros_like(noise)])
    assert torch.equal(decompress(model, compress(model, images, block_size=3)), images)


def test_chain_takes_the_bits_of_the_bound():
    # Independent draws of the latents: the sum over 32 images varies by its standard error. Three
    # words are added at the end of the block.
    model, x = made("VAE")
    coding = write_images(model, x, io.BytesIO())
    weights = -model.log_weight(x.float(), 200).detach() / math.log(2)
    bound = weights.mean(0).sum()
    error = weights.var(0).sum().sqrt()

    net = coding.net_bits_per_dim * x.numel()
    assert abs(net - bound) <= 4 * error + 96
    assert coding.initial_bits <= 192
    assert coding.total_bits == net + coding.header_bits + coding.initial_bits


@pytest.mark.parametrize("name", FLOWS)
def test_latents_after_a_flow_are_refused(name):
    model, x = made(name)
    with pytest.raises(TypeError, match="Bits-back coding expects normal latents"):
        compress(model, x[:2])
