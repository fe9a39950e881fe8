"""Every discrete network of the registry codes images without loss, in as many bits as the likelihood says."""

import io
import math

import pytest
import torch
from helpers.causal_nets import DISCRETE, levels
from registry import net

from pyro_exact.autoregressive import Autoregressive
from pyro_exact.codec import decompress, write_images
from pyro_exact.data import load
from pyro_exact.models import Density

DIGITS = load("digits")


def kinds(each):
    """Noise, constants, a ramp, and real digits, cut and rounded to what a network takes."""
    shape, top = each.event_shape, levels(each.likelihood) - 1
    noise = torch.randint(top + 1, (3, *shape))
    ramp = torch.linspace(0, top, shape.numel()).round().view(1, *shape)
    constant = torch.stack([torch.zeros(shape), torch.full(shape, top)])

    pixels = (DIGITS.test[:2].flatten(1) / 16 * top).round()
    real = pixels[:, 10 : 10 + shape.numel()].reshape(2, *shape)
    return torch.cat([noise, constant, ramp, real]).to(torch.uint8)


def model_of(each, images):
    """The model of a network, and labels if it has classes."""
    if each.context_shape is None:
        return Density(Autoregressive(each)).eval(), None
    model = Density(Autoregressive(each, torch.randn(each.context_shape))).eval()
    if model.classes is None:
        return model, None
    return model, torch.randint(model.classes, (len(images),))


@pytest.mark.parametrize("name", DISCRETE)
def test_images_come_back_in_as_many_bits_as_the_likelihood_says(name):
    torch.manual_seed(0)
    each = net(name)
    images = kinds(each)
    model, labels = model_of(each, images)

    drawn = (model if labels is None else model.condition(labels)).sample(2)
    if labels is not None:
        drawn, labels = drawn.flatten(0, 1), torch.cat([labels, labels, labels])
    images = torch.cat([images, drawn.to(torch.uint8)])

    file = io.BytesIO()
    is_image = len(each.event_shape) == 3
    coding = write_images(model, images, file, labels, block_size=5, pixel_bits=is_image)
    assert torch.equal(decompress(model, file.getvalue()), images)

    # No image takes less than its probability, and the words of a block at most 64 bits more. An
    # ensemble needs the index of a member, classes their labels, and a table has a least entry.
    given = model if labels is None else model.condition(labels)
    bits = -given.log_weight(images.to(torch.get_default_dtype())).sum() / math.log(2)
    blocks = -(-len(images) // 5)
    choice = math.log2(len(each.orders)) * len(images)
    if labels is not None:
        choice += math.log2(model.classes) * len(images)
    coded = coding.total_bits - coding.header_bits
    if is_image:
        assert abs(coding.pixel_bits.sum() - bits) <= 1e-3 * bits + choice
    assert bits * (1 - 1e-3) <= coded <= bits * (1 + 1e-3) + choice + 64 * blocks
