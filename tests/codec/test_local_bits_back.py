"""Flows of real values code integer images by local bits-back coding."""

import io
import math

import pytest
import torch
from registry import MODELS

from pyro_exact.codec import compress, decompress, write_images
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import glow, maf
from pyro_exact.models import Density, Dequantized

FLOWS = ["Dequantized", "Dequantized affine noise", "Dequantized logit", "Dequantized tarflow"]


def made(name):
    torch.manual_seed(0)
    model, x = MODELS[name].make(), MODELS[name].data()
    model.initialize(x)
    return model.eval(), x.to(torch.uint8)


@pytest.mark.parametrize("name", FLOWS)
def test_images_come_back(name):
    model, x = made(name)
    noise = torch.randint(4, x[:2].shape, dtype=torch.uint8)
    images = torch.cat([x[:2], noise, torch.zeros_like(noise[:1]), torch.full_like(noise[:1], 3)])
    assert torch.equal(decompress(model, compress(model, images, block_size=4)), images)


def test_chain_takes_the_bits_of_the_bound():
    # Independent noise: the sum over the images varies by its standard error. The linear map and
    # the bins cost little, and the block ends with three words.
    model, x = made("Dequantized")
    coding = write_images(model, x, io.BytesIO())
    weights = -model.log_weight(x, 200).detach().double() / math.log(2)
    bound = weights.mean(0).sum()
    error = weights.var(0).sum().sqrt()

    net = coding.net_bits_per_dim * x.numel()
    assert abs(net - bound) <= 4 * error + 96 + 0.005 * x.numel()
    assert coding.initial_bits > 0


def test_large_images_are_refused():
    flow = Flow(StandardNormal(3072), glow((3, 32, 32), scales=1, steps=1, width=4).inv)
    with pytest.raises(TypeError, match="expects a flow of at most 1,024 elements"):
        compress(Dequantized(flow), torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_density_of_real_values_is_refused():
    model = Density(Flow(StandardNormal(2), maf(2).inv))
    with pytest.raises(TypeError, match="The density of real values is no code"):
        compress(model, torch.zeros(3, 2))
