"""Shapes and settings that builders refuse."""

import pytest
import torch

from pyro_exact import flows
from pyro_exact.transforms import (
    Affine,
)

OF_VECTORS = {
    "couplings": lambda shape: flows.couplings(shape, Affine()),
    "iaf": flows.iaf,
    "maf": flows.maf,
    "nice": flows.nice,
    "planar": flows.planar,
    "radial": flows.radial,
    "real_nvp": flows.real_nvp,
    "spline_coupling": flows.spline_coupling,
    "sylvester": flows.sylvester,
}

OF_IMAGES = {
    "flow_pp": flows.flow_pp,
    "flow_pp_dequantizer": flows.flow_pp_dequantizer,
    "glow": flows.glow,
    "image_nice": flows.image_nice,
    "image_real_nvp": flows.image_real_nvp,
    "image_spline_coupling": flows.image_spline_coupling,
}


@pytest.mark.parametrize("name", OF_VECTORS)
def test_builders_of_vectors_refuse_another_shape(name):
    for shape in ((1, 4, 4), (2, 2), (), (0,), 0, -1):
        with pytest.raises(ValueError, match=rf"{name} expects .*shape.*; got .*\. [A-Z]"):
            OF_VECTORS[name](shape)
    for shape in (None, "ab", (2.0,), 1.5):
        with pytest.raises(TypeError, match=rf"{name} expects .*shape.*; got .*\. [A-Z]"):
            OF_VECTORS[name](shape)


@pytest.mark.parametrize("name", OF_VECTORS)
def test_builders_of_vectors_take_an_integer_for_the_shape(name):
    assert OF_VECTORS[name](3).forward_shape((5, 3)) == OF_VECTORS[name]((3,)).forward_shape((5, 3))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_builders_of_images_refuse_another_shape(name):
    for shape in ((16,), 2, (4, 4), (1, -4, 4), (1, 1, 4, 4), ()):
        with pytest.raises(ValueError, match=rf"{name} expects .*shape.*; got .*\. [A-Z]"):
            OF_IMAGES[name](shape)


WITHOUT_LAYERS = {
    "couplings": lambda: flows.couplings(2, Affine(), 0),
    "iaf": lambda: flows.iaf(2, 0),
    "maf": lambda: flows.maf(2, -1),
    "nice": lambda: flows.nice(2, 0),
    "image_nice": lambda: flows.image_nice((1, 4, 4), layers=0),
    "planar": lambda: flows.planar(2, 0),
    "radial": lambda: flows.radial(2, 0),
    "real_nvp": lambda: flows.real_nvp(2, 0),
    "spline_coupling": lambda: flows.spline_coupling(2, 0),
    "image_spline_coupling": lambda: flows.image_spline_coupling((1, 4, 4), steps=0),
    "sylvester": lambda: flows.sylvester(2, 0, 1),
}


@pytest.mark.parametrize("make", WITHOUT_LAYERS.values(), ids=list(WITHOUT_LAYERS))
def test_builders_refuse_a_flow_without_layers(make):
    with pytest.raises(ValueError, match=r"expects (layers|steps) .*; got (0|-1)\."):
        make()


NO_FORMULA = {
    "couplings": lambda formula: flows.couplings(2, formula, 1),
    "iaf": lambda formula: flows.iaf(2, 1, elementwise=formula),
    "maf": lambda formula: flows.maf(2, 1, elementwise=formula),
}


@pytest.mark.parametrize("make", NO_FORMULA.values(), ids=list(NO_FORMULA))
def test_builders_refuse_what_is_no_formula(make):
    for formula in (Affine, 3, torch.nn.Tanh()):  # the class has `num_params` as well
        with pytest.raises(
            TypeError, match=r"expects elementwise as an Elementwise; got .*\. Pass a formula"
        ):
            make(formula)
