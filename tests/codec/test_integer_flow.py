"""An integer flow codes images exactly, in as many bits as its probabilities say."""

import io
import math

import pytest
import torch

from pyro_exact.codec import compress, decompress, write_images
from pyro_exact.flows import idf
from pyro_exact.models import Density


def model(shape, levels, **options):
    torch.manual_seed(0)
    flow = idf(shape, levels=levels, width=4, depth=1, components=2, **options)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return Density(flow).eval()


@pytest.mark.parametrize(
    ("shape", "levels", "scales"), [((1, 4, 4), 2, 1), ((3, 8, 8), 256, 2), ((1, 8, 4), 17, 2)]
)
def test_images_come_back_in_as_many_bits_as_the_likelihood_says(shape, levels, scales):
    each = model(shape, levels, scales=scales, steps=3)
    noise = torch.randint(levels, (3, *shape))
    constant = torch.stack([torch.zeros(shape), torch.full(shape, levels - 1)])
    images = torch.cat([noise, constant, each.sample(3)]).to(torch.uint8)

    file = io.BytesIO()
    coding = write_images(each, images, file, block_size=3)
    assert torch.equal(decompress(each, file.getvalue()), images)

    bits = -each.log_weight(images).sum().item() / math.log(2)
    coded = coding.total_bits - coding.header_bits
    assert bits * (1 - 1e-3) <= coded <= bits * (1 + 1e-3) + 64 * 3


def test_map_of_bits_is_refused():
    each = model((1, 4, 4), 2, scales=1, steps=1)
    with pytest.raises(ValueError, match="expects a model that codes pixel by pixel"):
        write_images(each, each.sample(2), io.BytesIO(), pixel_bits=True)


def test_block_of_many_elements_is_coded_in_pieces(monkeypatch):
    each = model((1, 4, 4), 17, scales=1, steps=2)
    images = each.sample(5).to(torch.uint8)
    monkeypatch.setattr("pyro_exact.codec.values.LARGEST_TABLE", 17 * 7)
    assert torch.equal(decompress(each, compress(each, images)), images)
