"""Errors of the layers of Glow, and the data-dependent initialisation of a whole Glow."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import pixels, small_glow
from torch.testing import assert_close

from pyro_exact.nn import Conditioner, ConvConditioner, DenseConditioner, PriorConditioner
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Channels,
    Compose,
    Coupling,
    DiagonalAffine,
    FactorOut,
    FixedAffine,
    Flatten,
    Halves,
    Logit,
    Permute,
    Squeeze,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Affine("exp"),
            "expects scale 'tanh', 'softsign', 'sigmoid' or 'learned'; got 'exp'",
        ),
        (
            lambda: Affine(bound=0),
            "Affine expects bound as a finite number that is at least 1e-06 and at most 64; got 0",
        ),
        (lambda: Channels(0), r"Channels expects size from 1 to \d+; got 0"),
        (lambda: Halves(-1), r"Halves expects size from 1 to \d+; got -1"),
        (lambda: Logit(0), r"Logit expects levels from 1 to \d+; got 0"),
        (
            lambda: Logit(margin=0.5),
            "margin as a finite number that is at least 0 and at most 0.49; got 0.5",
        ),
        (
            lambda: Logit(margin=-0.1),
            "margin as a finite number that is at least 0 and at most 0.49; got -0.1",
        ),
        (lambda: Permute([0, 2]), "expects each of 0, ..., n - 1 once"),
        (lambda: Permute([0, 0, 1]), "expects each of 0, ..., n - 1 once"),
        (lambda: FixedAffine(0), "FixedAffine expects a scale that is not 0 in float32; got 0"),
        (lambda: FixedAffine(math.inf), "FixedAffine expects scale as a finite number .*; got inf"),
        (lambda: Squeeze(0), "Squeeze expects factor from 1 to 4096; got 0"),
        (lambda: FactorOut((1, 2, 2), Flatten((1, 2, 2))), "expects at least two channels"),
        (lambda: FactorOut((4, 2, 2), Squeeze()), "End the rest with Flatten or another FactorOut"),
        (
            lambda: FactorOut((4, 2, 2), Flatten((3, 2, 2))),
            r"Flatten expects events of shape \(3, 2, 2\)",
        ),
        (
            lambda: FactorOut(
                (4, 2, 2), DiagonalAffine((2, 2, 2), 3), ConvConditioner(2, 2, 2, 4, 5)
            ),
            "FactorOut expects one context shape",
        ),
    ],
)
def test_layers_refuse_impossible_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_squeeze_refuses_an_odd_image():
    with pytest.raises(
        ValueError,
        match=r"height and width that are multiples of 2; got \(3, 5, 4\). Pad the image",
    ):
        Squeeze()(torch.zeros(2, 3, 5, 4))
    with pytest.raises(ValueError, match=r"Pad the image, or use a factor that divides 6\."):
        Squeeze(4)(torch.zeros(2, 3, 6, 12))
    with pytest.raises(ValueError, match=r"expects a multiple of 4 channels; got \(3, 2, 2\)"):
        Squeeze().inv(torch.zeros(3, 2, 2))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: Coupling(Halves(5), Affine(), DenseConditioner(2, 2, 2)),
        lambda: Coupling(Channels(4), Affine(), ConvConditioner(2, 1, 2, 4)),
        lambda: Coupling(Halves(4), Affine(), DenseConditioner(2, 2, 3)),
        lambda: FactorOut((4, 2, 2), Flatten((2, 2, 2)), PriorConditioner(2, 1)),
    ],
)
def test_coupling_refuses_a_conditioner_of_another_size(layer):
    """Parameters that would silently broadcast are refused too."""
    layer = layer()
    x = torch.randn(3, *({1: (layer.partition.size,), 3: (4, 2, 2)}[layer.domain.event_dim]))
    for call in layer, layer.inv:
        source = x if call is layer else torch.randn(3, *layer.forward_shape(x.shape)[1:])
        with pytest.raises(
            ValueError, match="Affine expects its conditioner to return parameters of shape"
        ):
            call(source)


def test_coupling_refuses_a_conditioner_that_takes_another_part():
    conditioner = DenseConditioner(2, 3, 2)
    Coupling(Halves(5), Affine(), conditioner)
    message = r"takes the fixed part of Halves\(5, swap=True\), of size 3; got a conditioner of size 2. Build it for this size"
    with pytest.raises(ValueError, match=message):
        Coupling(Halves(5, swap=True), Affine(), conditioner)


@given(
    scale=st.sampled_from(["tanh", "softsign"]),
    r=st.floats(-1e38, 1e38),
    t=st.floats(-10, 10),
    x=st.floats(-10, 10),
    bound=st.floats(0.01, 10),
    shift_first=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_affine_scale_is_bounded_for_any_parameter(scale, r, t, x, bound, shift_first):
    x, theta = torch.tensor(x), torch.tensor([t, r])
    formula = Affine(scale, bound, shift_first)
    y, ladj = formula.forward_and_ladj(x, theta)
    assert abs(ladj) <= bound
    assert_close(formula.inverse_and_ladj(y, theta)[0], x, rtol=1e-8, atol=1e-8)


@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    factor=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_squeeze_moves_every_element_once(channels, height, width, factor):
    shape = (2, channels, height * factor, width * factor)
    x = torch.arange(float(math.prod(shape))).view(shape)
    layer = Squeeze(factor)
    y = layer.forward_and_ladj(x)[0]
    assert y.shape == (2, channels * factor**2, height, width)
    assert torch.equal(y[0].flatten().sort().values, x[0].flatten())
    assert torch.equal(layer.inverse_and_ladj(y)[0], x)


def assert_normal(y):
    dims = (0, *range(2, y.dim()))
    assert_close(y.mean(dims), torch.zeros(y.shape[1]), rtol=0, atol=1e-8)
    assert_close(y.std(dims, correction=0), torch.ones(y.shape[1]), rtol=1e-8, atol=0)


def check_steps(steps, x, context):
    """Every actnorm normalises what reaches it, and the hidden layers behind it too; return the output."""
    with torch.no_grad():
        for step in steps.parts:
            act_norm, conv, coupling = step.parts
            normalised = act_norm.forward_and_ladj(x)[0]
            assert_normal(normalised)
            fixed, _ = coupling.partition.split(conv.forward_and_ladj(normalised)[0])
            first = coupling.conditioner.first(fixed)
            assert_normal(first)
            assert_normal(coupling.conditioner.second(first.relu()))
            x = step.forward_and_ladj(x, context)[0]
    return x


@pytest.mark.parametrize(
    "options", [{}, {"recompute": True}, {"logit_margin": 0.05}, {"context_dim": 2}], ids=str
)
def test_initialize_walks_through_a_glow(options):
    flow = small_glow(**{"context_dim": None, "steps": 2, **options})
    x = pixels((100, 1, 4, 4))
    context = torch.randn(100, 2) if "context_dim" in options else None
    z = flow.initialize(x, context)
    assert not z.requires_grad
    assert_close(z, flow.forward_and_ladj(x, context)[0].detach())

    start, squeeze, steps, factor_out = flow.parts
    h = check_steps(steps, squeeze(start(x)), context)
    kept, _ = factor_out.partition.split(h)
    squeeze, steps, _, _ = factor_out.rest.parts
    check_steps(steps, squeeze(kept), context)


def test_coupling_initialises_only_conditioners_that_can():
    x = torch.randn(5, 4)
    layer = Coupling(Halves(4), Affine(), DenseConditioner(2, 2, 2))
    assert_close(layer.initialize(x), x)

    class Recording(Conditioner):
        def forward(self, fixed, context):
            return fixed.new_zeros(*fixed.shape[:-1], 2, 2)

        def initialize(self, fixed, context):
            self.seen = fixed, context, torch.is_grad_enabled()

    layer = Coupling(Halves(4, swap=True), Affine(), Recording(context_shape=(3,)))
    context = torch.randn(5, 3)
    assert layer.context_shape == (3,)
    layer.initialize(x, context)
    fixed, given, grad = layer.conditioner.seen
    assert torch.equal(fixed, x[:, 2:])
    assert given is context
    assert not grad


def test_compose_of_one_part_is_that_part():
    x = torch.randn(5, 3)
    part = ActNorm(3)
    part.initialize(x)
    assert_close(Compose([part])(x), part(x))
