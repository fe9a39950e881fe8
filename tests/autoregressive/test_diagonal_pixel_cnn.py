"""PixelCNN by diagonals: fewer steps, and the same values."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import (
    Autoregressive,
    DiagonalPixelCNN,
    GatedPixelCNN,
    PixelCNN,
)
from pyro_exact.likelihoods import DiscretizedLogisticMixture
from pyro_exact.testing import check_causal_net


def randomised(*arguments, **options):
    torch.manual_seed(0)
    net = PixelCNN(*arguments, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return net


@pytest.mark.parametrize(("side", "steps"), [(8, 36), (32, 156)])
def test_diagonals_take_as_many_steps_as_the_formula_says(side, steps):
    net = randomised((1, side, side), 2, width=4, depth=1, head_width=4)
    assert DiagonalPixelCNN(net).num_steps == steps == (side - 1) * 4 + side


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (1, 7, 9), "levels": 2},
        {"shape": (3, 5, 6), "levels": 4},
        {
            "shape": (3, 6, 5),
            "levels": 8,
            "likelihood": DiscretizedLogisticMixture(3, 8, 2),
        },
    ],
    ids=["bits", "colours", "whole pixels"],
)
@pytest.mark.usefixtures("double")
def test_diagonals_draw_the_same_images_as_single_pixels(options):
    net = randomised(width=6, depth=6, head_width=6, **options)
    drawn = []
    for each in (net, DiagonalPixelCNN(net)):
        torch.manual_seed(1)
        drawn.append(Autoregressive(each).sample((4,)))
    assert torch.equal(*drawn)
    assert_close(
        *(Autoregressive(each).log_prob(drawn[0]) for each in (net, DiagonalPixelCNN(net)))
    )


@pytest.mark.parametrize("shape", [(1, 3, 6), (2, 2, 5)], ids=str)
def test_diagonals_of_several_pixels_obey_the_laws(shape):
    check_causal_net(DiagonalPixelCNN(randomised(shape, 2, width=4, depth=2, head_width=4)))


def test_other_networks_are_refused():
    net = GatedPixelCNN((1, 4, 4), 2, width=4, depth=1, head_width=4)
    with pytest.raises(TypeError, match="DiagonalPixelCNN expects a PixelCNN; got GatedPixelCNN"):
        DiagonalPixelCNN(net)
