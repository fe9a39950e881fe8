"""Flows of images on real images."""

import copy
import math

import pytest
import torch
from helpers.two_pixels import perturb
from registry import (
    learned_noise,
    pixels,
    small_glow,
)
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.data import load
from pyro_exact.distributions import Flow, FlowDequantizer, StandardNormal, UniformDequantizer
from pyro_exact.models import Dequantized
from pyro_exact.nn import RescaledConv2d
from pyro_exact.transforms import (
    ActNorm,
    Coupling,
    DiagonalAffine,
    Flatten,
)

pytestmark = pytest.mark.usefixtures("double")


def couplings_of(flow):
    return [module for module in flow.modules() if isinstance(module, Coupling)]


def test_image_nice_couples_even_and_odd_pixels():
    flow = flows.image_nice((1, 2, 4), levels=8)
    noise = flow.parts[:3]
    x = torch.arange(8.0).view(1, 2, 4)
    for part in noise:
        x = part(x)
    assert_close(8 * x, torch.tensor([0.0, 2, 4, 6, 1, 3, 5, 7]))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)
@pytest.mark.parametrize(
    "builder", [flows.image_nice, flows.image_real_nvp, flows.image_spline_coupling]
)
def test_image_flows_come_from_one_call(builder, shape):
    """With the default arguments, and the sizes of MNIST and CIFAR-10, in float32."""
    torch.set_default_dtype(torch.float32)
    x = torch.randint(256, (4, *shape))
    flow = builder(shape)
    with torch.no_grad():
        z = flow.initialize(x + 0.5)
        assert z.shape == (4, math.prod(shape))
        assert torch.equal(flow.inv(z.clone()).floor(), x)


def test_glow_with_additive_couplings_leaves_the_volume_to_other_layers():
    flow = perturb(small_glow(None, scale=None), 0.1)
    for coupling in couplings_of(flow):
        x = torch.randn(2, coupling.partition.size, 2, 2)
        y, ladj = coupling.forward_and_ladj(x)
        assert not torch.allclose(y, x)
        assert torch.equal(ladj, torch.zeros(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flows.glow((8, 8)), r"glow expects a shape \(C, H, W\) of images; got \(8, 8\)"),
        (lambda: flows.glow((1, 8, 8), levels=0), r"glow expects levels from 1 to \d+; got 0"),
        (lambda: flows.flow_pp((8, 8)), r"flow_pp expects a shape \(C, H, W\) of images"),
        (
            lambda: flows.flow_pp_dequantizer((8, 8)),
            r"flow_pp_dequantizer expects a shape \(C, H, W\) of images",
        ),
        (
            lambda: flows.image_nice((1, 8, 8), levels=0),
            r"image_nice expects levels from 1 to \d+; got 0",
        ),
        (
            lambda: flows.flow_pp((1, 4, 6)),
            "flow_pp expects an even height and a width that is a multiple of 4",
        ),
        (lambda: flows.flow_pp((1, 6, 4), checkerboard=True), "both multiples of 4"),
        (
            lambda: flows.flow_pp((1, 4, 4), width=6),
            "a width that is a multiple of heads; got 6, 4",
        ),
        (
            lambda: flows.flow_pp((1, 4, 4), formula="mix"),
            "expects formula 'mixture' or 'affine'; got 'mix'",
        ),
        (lambda: flows.flow_pp_dequantizer((1, 4, 3)), "Columns expects an even width"),
        (
            lambda: flows.image_real_nvp((1, 6, 6)),
            r"multiples of 2\^scales = 4; got scales 2 and shape \(1, 6, 6\)",
        ),
        (
            lambda: flows.glow((1, 1, 32), scales=2),
            r"got scales 2 and shape \(1, 1, 32\)\. Pad the images\.",
        ),
        (
            lambda: flows.glow((1, 12, 32), scales=3),
            r"shape \(1, 12, 32\)\. Use at most 2 scales, or pad",
        ),
        (
            lambda: flows.image_spline_coupling((1, 6, 6)),
            r"image_spline_coupling expects .* of 2\^scales = 4; got scales 2",
        ),
        (
            lambda: FlowDequantizer(Flatten((1, 2, 2)).inv),
            "expects a bijection whose context is the image",
        ),
    ],
)
def test_image_flows_refuse_impossible_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_glow_initialize_normalises_every_element_and_convolution():
    flow = flows.flow_pp((1, 4, 4), levels=4, width=4, depth=2, components=2, heads=2, dropout=0.0)
    x = pixels((100, 1, 4, 4))
    flow.initialize(x)
    seen = {}
    for module in flow.modules():
        if isinstance(module, RescaledConv2d):
            module.register_forward_hook(lambda layer, _, output: seen.__setitem__(layer, output))
    h = x
    with torch.no_grad():
        for part in flow.parts:
            if hasattr(part, "parts"):
                normalised = part.parts[0](h)
                assert_close(
                    normalised.mean(0), torch.zeros(normalised.shape[1:]), rtol=0, atol=1e-8
                )
                assert_close(normalised.std(0, correction=0), torch.ones(normalised.shape[1:]))
            h = part(h)
    assert len(seen) == 9 * (2 + 2 * 4)
    for layer, output in seen.items():
        dims = (0, 2, 3)
        assert_close(output.mean(dims), torch.zeros(output.shape[1]), rtol=0, atol=1e-8)
        assert_close(
            output.std(dims, correction=0),
            torch.full((output.shape[1],), layer.gain),
            rtol=1e-3,
            atol=1e-3,
        )


def test_dequantized_initialize_reaches_the_noise_and_the_flow_behind_it():
    model = learned_noise(small_glow(None), "mixture")
    x = torch.randint(4, (200, 1, 4, 4))
    model.initialize(x)
    norms = [m for m in model.noise.modules() if isinstance(m, ActNorm)]
    convolutions = [m for m in model.noise.modules() if isinstance(m, RescaledConv2d)]
    set_by_data = [*(n.mean for n in norms), *(n.log_std for n in norms)]
    set_by_data += [parameter for layer in convolutions for parameter in layer.parameters()]
    assert norms
    assert all(tensor.count_nonzero() for tensor in set_by_data)
    v = model.noise(x.double()).sample()
    scaled, squeeze, steps, *_ = model.flow.bijection.inv.parts
    h = steps.parts[0].parts[0](squeeze(scaled(v)))
    assert (
        h.mean((0, 2, 3)).abs().max() < 0.1
    )  # the noise is another than the one of the initialisation
    assert (h.std((0, 2, 3)) - 1).abs().max() < 0.1


@pytest.fixture(scope="module")
def photos():
    """64 patches (3, 8, 8) of photographs, 8 bits."""
    return load("photos").train[::25, :, :8, :8][:64]


DEEP = {
    "flow_pp": lambda: flows.flow_pp((3, 8, 8), width=8, depth=10, dropout=0.0),
    "flow_pp checkerboard": lambda: flows.flow_pp(
        (3, 8, 8), width=8, depth=2, dropout=0.0, checkerboard=True
    ),
    "real_nvp": lambda: flows.image_real_nvp((3, 8, 8), width=8, depth=8),
    "glow": lambda: flows.glow((3, 8, 8), steps=32, width=8),
    "glow additive 5 bits": lambda: flows.glow((3, 8, 8), levels=32, steps=16, width=8, scale=None),
    "nice": lambda: flows.image_nice((3, 8, 8)),
    "spline_coupling": lambda: flows.image_spline_coupling((3, 8, 8), steps=7, width=8),
}


@pytest.fixture(scope="module", params=list(DEEP))
def trained(request, photos):
    """A flow of the papers' depth, initialised and trained for a few steps, and images in its levels."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    x = photos // 2 ** (3 if "5 bits" in request.param else 0)
    flow = DEEP[request.param]()
    flow.initialize(UniformDequantizer(x.double()).sample())
    density = Flow(StandardNormal(3 * 8 * 8), flow.inv)
    optimizer = torch.optim.Adam(flow.parameters(), lr=2e-4)
    for step in range(8):
        optimizer.zero_grad()
        (-density().log_prob(UniformDequantizer(x[step::8].double()).sample()).mean()).backward()
        optimizer.step()
    return flow, x


def test_image_flows_make_a_round_trip_of_real_images(trained):
    flow, x = trained
    v = UniformDequantizer(x[:16].double()).sample()
    with torch.no_grad():
        z = flow(v)
        assert_close(flow.inv(z.clone()), v, rtol=0, atol=1e-6)
        single = copy.deepcopy(flow).float()
        z = single(v.float())
        assert_close(single.inv(z.clone()), v.float(), rtol=0, atol=0.05)


def test_image_flows_have_the_same_bits_however_images_are_batched(trained):
    flow, x = trained
    v = UniformDequantizer(x.double()).sample()
    d = Flow(StandardNormal(3 * 8 * 8), flow.inv)()
    with torch.no_grad():
        together = d.log_prob(v)
        for size in (1, 7):
            assert_close(
                torch.cat([d.log_prob(part) for part in v[:14].split(size)]),
                together[:14],
                rtol=1e-10,
                atol=0,
            )


def test_image_flows_of_five_bits_have_the_units_of_the_images():
    """A flow that spreads its mass evenly over [0, 32)^D codes an image in 5 bits a dimension, and nothing is added."""
    flow = flows.glow((1, 4, 4), levels=32, scales=1, steps=1, width=4, scale=None)
    v = UniformDequantizer(torch.randint(32, (5, 1, 4, 4)).double()).sample()
    z, ladj = flow.forward_and_ladj(v)
    assert_close(ladj / 16 / math.log(2), torch.full((5,), -5.0))
    assert_close(z.norm(dim=-1), (v / 32 - 0.5).flatten(1).norm(dim=-1))


def test_glow_samples_are_finite_at_high_temperature():
    """The official form, with the same weights, overflows in all of them."""

    def overflows(**settings):
        torch.manual_seed(0)
        bijection = perturb(
            flows.glow((1, 8, 8), levels=17, scales=2, steps=4, width=16, **settings), 0.2
        )
        images = Flow(StandardNormal(64), bijection.inv).float()(temperature=3.0).sample((200,))
        return int((~images.isfinite()).flatten(1).any(1).sum())

    assert overflows() == 0
    assert overflows(scale="sigmoid") == 200


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_dequantized_refuses_an_image_that_is_not_finite(bad):
    model = Dequantized(Flow(StandardNormal(16), perturb(small_glow(None), 0.1).inv), levels=4)
    z = torch.randn(5, 16)
    assert model.decode(z).shape == (5, 1, 4, 4)
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, DiagonalAffine)).theta.mean.fill_(bad)
    message = (
        r"Dequantized.(sample|decode) expects "
        r"(.* finite; got \d+ of \d+ elements|finite weights; got) (NaN|infinite)"
    )
    with pytest.raises(ValueError, match=message):
        model.decode(z)
    with pytest.raises(ValueError, match=message):
        model.sample(5)


GLOW = {"scales": 2, "steps": 2, "width": 16, "scale": "tanh"}

NARROW = {"width": 8, "depth": 1, "components": 2, "dropout": 0.0}


@pytest.mark.parametrize(
    ("builder", "options", "noise"),
    [
        (flows.image_real_nvp, {"width": 4, "depth": 1}, None),
        (flows.glow, GLOW, None),
        (flows.flow_pp, NARROW, NARROW),
    ],
    ids=["real_nvp", "glow", "flow_pp"],
)
def test_image_flows_train_in_bfloat16_as_in_float32(builder, options, noise):
    """After the same steps the two differ by less than 0.02 bits/dim."""
    torch.set_default_dtype(torch.float32)
    x = load("digits").train[:32]
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        flow = builder((1, 8, 8), levels=17, **options)
        learned = noise and FlowDequantizer(
            flows.flow_pp_dequantizer((1, 8, 8), levels=17, **noise)
        )
        model = Dequantized(Flow(StandardNormal(64), flow.inv), levels=17, noise=learned)
        model.initialize(x)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for step in range(12):
            torch.manual_seed(step)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                loss = -model.log_weight(x).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
        torch.manual_seed(100)
        with torch.no_grad():
            found[precision] = -model.log_weight(x.repeat(2, 1, 1, 1)).mean().item() / (
                64 * math.log(2)
            )
    assert found[torch.float32] != found[torch.bfloat16]
    assert abs(found[torch.float32] - found[torch.bfloat16]) < 0.02
