"""Every network takes every likelihood that its mathematics allow, and refuses the others by name."""

import pytest

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    PixelCNNpp,
    RowLSTM,
)
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticMixture,
    GaussianLikelihood,
)
from pyro_exact.testing import check_causal_net

IMAGE, COLOURS = (1, 2, 2), (2, 2, 1)
SIZES = {"width": 4, "depth": 1, "head_width": 4}

# Networks of single elements, which take any likelihood of single elements.
ELEMENTS = {
    "ConvNADE": lambda likelihood: ConvNADE(IMAGE, 3, [2], (6,), likelihood=likelihood),
    "DeepNADE": lambda likelihood: DeepNADE(IMAGE, (6,), likelihood=likelihood),
    "MADE": lambda likelihood: MADE(IMAGE, (6,), likelihood=likelihood),
    "NADE": lambda likelihood: NADE(IMAGE, 6, likelihood=likelihood),
}
# Networks of images, which take likelihoods of whole pixels as well.
IMAGES = {
    "DiagonalBiLSTM": DiagonalBiLSTM,
    "GatedPixelCNN": GatedPixelCNN,
    "PixelCNN": PixelCNN,
    "RowLSTM": RowLSTM,
}
SINGLE = {
    "bernoulli": BernoulliLikelihood,
    "categorical": lambda: CategoricalLikelihood(3),
    "gaussian": GaussianLikelihood,
}
PIXELS = {
    "gaussian": GaussianLikelihood,
    "mixture": lambda channels: DiscretizedLogisticMixture(channels, 3, 2),
}


@pytest.mark.parametrize("likelihood", SINGLE)
@pytest.mark.parametrize("name", ELEMENTS)
def test_networks_of_elements_take_likelihoods_of_elements(name, likelihood):
    check_causal_net(ELEMENTS[name](SINGLE[likelihood]()), std=0.2)


@pytest.mark.parametrize("likelihood", SINGLE)
@pytest.mark.parametrize("name", IMAGES)
def test_networks_of_images_take_likelihoods_of_elements(name, likelihood):
    made = SINGLE[likelihood]()
    check_causal_net(IMAGES[name](IMAGE, made.levels, **SIZES, likelihood=made), std=0.2)


@pytest.mark.parametrize("likelihood", PIXELS)
@pytest.mark.parametrize("name", IMAGES)
def test_networks_of_images_take_likelihoods_of_pixels(name, likelihood):
    made = PIXELS[likelihood](2)
    check_causal_net(IMAGES[name](COLOURS, made.levels, **SIZES, likelihood=made), std=0.2)


@pytest.mark.parametrize(
    ("channels", "likelihood"),
    [
        (2, GaussianLikelihood(2)),
        (1, CategoricalLikelihood(3)),
        (1, GaussianLikelihood()),
    ],
    ids=["gaussian pixels", "categorical", "gaussian"],
)
def test_pixel_cnn_pp_takes_likelihoods_of_pixels(channels, likelihood):
    shape = (channels, 4, 4)
    net = PixelCNNpp(shape, likelihood.levels, 2, 1, dropout=0.0, likelihood=likelihood)
    check_causal_net(net, std=0.2)


@pytest.mark.parametrize("name", ELEMENTS)
def test_networks_of_elements_refuse_likelihoods_of_pixels(name):
    with pytest.raises(ValueError, match=f"{name} expects a likelihood of single elements; got a"):
        ELEMENTS[name](DiscretizedLogisticMixture(1, 4, 2))


def test_pixel_cnn_pp_refuses_likelihoods_of_elements_for_colours():
    with pytest.raises(ValueError, match="expects a likelihood of whole pixels with 3 channels"):
        PixelCNNpp((3, 4, 4), 4, likelihood=CategoricalLikelihood(4))
