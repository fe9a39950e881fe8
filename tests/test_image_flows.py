"""RealNVP, Glow and Flow++ on images: sizes, initialisation, round trips on real pixels, and learned noise."""

import copy
import math

import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, RenyiELBO, Trace_ELBO
from pyro.optim import Adam
from registry import (
    learned_noise,
    pixels,
    small_dequantizer,
    small_flow_pp,
    small_glow,
    small_real_nvp,
)
from test_models import bounds, exact_log_likelihood, two_pixels
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.data import load
from pyro_exact.distributions import Flow, FlowDequantizer, StandardNormal, UniformDequantizer
from pyro_exact.models import Dequantized
from pyro_exact.nn import RescaledConv2d
from pyro_exact.transforms import (
    ActNorm,
    BatchNorm,
    Coupling,
    DiagonalAffine,
    Flatten,
    SigmoidToCell,
)

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


# Sizes and arrangement
# ------------------------------------------------------------------------------------------------


def test_flow_pp_for_cifar10_has_as_many_parameters_as_the_official_one():
    shape = (3, 32, 32)
    assert count(flows.flow_pp(shape), flows.flow_pp_dequantizer(shape)) == 31_443_440


def couplings_of(flow):
    return [module for module in flow.modules() if isinstance(module, Coupling)]


def test_the_order_of_splits_of_flow_pp():
    """Columns x4, channels x2, columns x3; neighbours in a row exchange the parts."""
    found = [str(coupling.partition) for coupling in couplings_of(small_flow_pp())]
    assert found == [
        *["Columns(1)", "Columns(1, swap=True)"] * 2,
        *["Channels(4)", "Channels(4, swap=True)"],
        *["Columns(4)", "Columns(4, swap=True)", "Columns(4)"],
    ]
    assert "Checkerboard(4, swap=True)" in str(small_flow_pp(checkerboard=True))


def test_the_channels_of_flow_pp_split_even_from_odd_rows():
    flow = small_flow_pp(depth=1)
    squeeze, permute = flow.parts[5:7]
    rows = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 4)
    fixed, free = couplings_of(flow)[4].partition.split(permute(squeeze(rows)))
    assert set(fixed.unique().tolist()) == {0, 2}
    assert set(free.unique().tolist()) == {1, 3}


def test_the_order_of_splits_of_real_nvp():
    """Three checkerboards and three halves of the channels at each scale, four checkerboards at the last."""
    found = [
        str(coupling.partition)
        for coupling in couplings_of(flows.image_real_nvp((3, 8, 8), width=2, depth=1))
    ]
    assert found == [
        *["Checkerboard(3)", "Checkerboard(3, swap=True)", "Checkerboard(3)"],
        *["Channels(12)", "Channels(12, swap=True)", "Channels(12)"],
        *["Checkerboard(6)", "Checkerboard(6, swap=True)"] * 2,
    ]


def test_real_nvp_factors_out_one_colour_of_a_checkerboard():
    flow = flows.image_real_nvp((2, 4, 4), levels=1, width=2, depth=1, logit_margin=0.1)
    *_, squeeze, permute, factor_out = [
        part for part in flow.parts if not isinstance(part, ActNorm | Coupling)
    ]
    i, j = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    kept, out = factor_out.partition.split(permute(squeeze(((i + j) % 2).expand(2, 4, 4))))
    assert torch.equal(kept, torch.zeros(4, 2, 2))
    assert torch.equal(out, torch.ones(4, 2, 2))


def test_nice_couples_even_and_odd_pixels():
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
def test_one_call_makes_a_flow_of_images(builder, shape):
    """With the default arguments, and the sizes of MNIST and CIFAR-10, in float32."""
    torch.set_default_dtype(torch.float32)
    x = torch.randint(256, (4, *shape))
    flow = builder(shape)
    with torch.no_grad():
        z = flow.initialize(x + 0.5)
        assert z.shape == (4, math.prod(shape))
        assert torch.equal(flow.inv(z.clone()).floor(), x)


def test_additive_couplings_of_glow_leave_the_volume_to_the_other_layers():
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
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Initialisation
# -------------------------------------------------------------------------------------------------------


def test_initialize_normalises_every_element_and_every_convolution():
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


def test_initialize_reaches_the_noise_and_the_flow_behind_it():
    model = learned_noise(small_glow(None), "mixture")
    x = torch.randint(4, (200, 1, 4, 4))
    model.initialize(x)
    layers = [m for m in model.noise.modules() if isinstance(m, ActNorm | RescaledConv2d)]
    assert all(parameter.count_nonzero() for layer in layers for parameter in layer.parameters())
    v = model.noise(x.double()).sample()
    scaled, squeeze, steps, *_ = model.flow.bijection.inv.parts
    h = steps.parts[0].parts[0](squeeze(scaled(v)))
    assert (
        h.mean((0, 2, 3)).abs().max() < 0.1
    )  # the noise is another than the one of the initialisation
    assert (h.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_batch_norm_is_an_option_of_real_nvp():
    flow = small_real_nvp(None, batch_norm=True)
    norms = [module for module in flow.modules() if isinstance(module, ActNorm | BatchNorm)]
    assert norms
    assert all(isinstance(norm, BatchNorm) for norm in norms)


# Round trips, determinants and scores on real pixels
# ------------------------------------------------------------------


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


def test_round_trip_of_real_images(trained):
    flow, x = trained
    v = UniformDequantizer(x[:16].double()).sample()
    with torch.no_grad():
        z = flow(v)
        assert_close(flow.inv(z.clone()), v, rtol=0, atol=1e-6)
        single = copy.deepcopy(flow).float()
        z = single(v.float())
        assert_close(single.inv(z.clone()), v.float(), rtol=0, atol=0.05)


def test_bits_per_dim_do_not_depend_on_how_images_are_batched(trained):
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


def test_five_bits_are_the_units_of_the_images():
    """A flow that spreads its mass evenly over [0, 32)^D codes an image in 5 bits a dimension, and nothing is added."""
    flow = flows.glow((1, 4, 4), levels=32, scales=1, steps=1, width=4, scale=None)
    v = UniformDequantizer(torch.randint(32, (5, 1, 4, 4)).double()).sample()
    z, ladj = flow.forward_and_ladj(v)
    assert_close(ladj / 16 / math.log(2), torch.full((5,), -5.0))
    assert_close(z.norm(dim=-1), (v / 32 - 0.5).flatten(1).norm(dim=-1))


def test_samples_of_glow_are_finite_at_high_temperature():
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
def test_an_image_that_is_not_finite_is_refused_and_not_rounded(bad):
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


def test_glow_draws_by_class():
    """With a class as context, each class has a density of its own, in one batch."""
    bijection = small_glow(3)
    bijection.initialize(pixels((60, 1, 4, 4)), torch.eye(3).repeat(20, 1))
    flow = Flow(StandardNormal(16), perturb(bijection, 0.1).inv)
    classes = flow.condition(torch.eye(3), temperature=0.7)
    v = classes.sample((5,))
    assert v.shape == (5, 3, 1, 4, 4)
    scores = torch.stack([flow.condition(row).log_prob(v) for row in torch.eye(3)])
    assert_close(scores.diagonal(dim1=0, dim2=2), flow.condition(torch.eye(3)).log_prob(v))
    assert not torch.allclose(scores[0], scores[1])


@pytest.fixture
def by_class():
    """A model of three classes, and six images of four levels with their classes."""
    bijection, labels, x = (
        small_glow(3),
        torch.tensor([2, 0, 1, 1, 0, 2]),
        torch.randint(4, (6, 1, 4, 4)),
    )
    bijection.initialize(UniformDequantizer(x.double()).sample(), torch.eye(3)[labels])
    return Dequantized(Flow(StandardNormal(16), perturb(bijection, 0.1).inv), levels=4), x, labels


def test_a_model_given_classes_scores_each_image_in_its_own(by_class):
    model, x, labels = by_class
    assert model.classes == 3
    v = {"v": UniformDequantizer(x.double()).sample()}

    def score(label):
        return (
            poutine.trace(poutine.condition(model.condition(label).model, v))
            .get_trace(x)
            .nodes["v"]
        )

    nodes = [score(torch.full((6,), label)) for label in range(3)]
    each = torch.stack([node["fn"].log_prob(node["value"]) for node in nodes])
    together = score(labels)
    assert_close(together["fn"].log_prob(together["value"]), each[labels, torch.arange(6)])
    assert not torch.allclose(each[0], each[1])


def test_stock_svi_trains_a_model_given_classes(by_class):
    model, x, labels = by_class
    given = model.condition(labels)
    svi = SVI(given.model, given.guide, Adam({"lr": 0.01}), Trace_ELBO())
    before = {name: p.clone() for name, p in model.named_parameters()}
    start = sum(svi.evaluate_loss(x) for _ in range(5)) / 5
    for _ in range(30):
        svi.step(x)
    assert sum(svi.evaluate_loss(x) for _ in range(5)) / 5 < start - 0.1 * len(x)
    assert all(
        not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.numel()
    )


def test_a_model_given_classes_draws_from_each(by_class):
    model, x, labels = by_class
    drawn = model.condition(torch.tensor([2, 0])).sample(5, temperature=0.7)
    assert drawn.shape == (5, 2, 1, 4, 4)
    given = model.condition(labels)
    assert torch.equal(given.decode(given.encode(x).clone()), x)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (torch.tensor([0, 3]), r"integer classes from 0 to 2; got 3, and 1 of 2 labels"),
        (torch.tensor([-1]), r"integer classes from 0 to 2; got -1, and 1 of 1 labels"),
        (torch.tensor([0.5]), r"integer classes from 0 to 2; got torch\.float"),
    ],
    ids=str,
)
def test_classes_that_a_model_does_not_have_are_refused(by_class, label, message):
    with pytest.raises(ValueError, match=message):
        by_class[0].condition(label)


def test_a_model_without_classes_cannot_be_given_any(by_class):
    given = by_class[0].condition(torch.tensor([0]))
    assert given.classes is None
    with pytest.raises(ValueError, match="This Dequantized is not class-conditional"):
        given.condition(torch.tensor([0]))


# Learned noise
# --------------------------------------------------------------------------------------------------------


@pytest.fixture
def dequantizer():
    made = small_dequantizer(None)
    made.initialize(torch.randn(50, 8), torch.randint(4, (50, 1, 2, 4)))
    return perturb(made, 0.1)


def test_the_ladj_of_the_noise_given_an_image(dequantizer):
    z, images = torch.randn(3, 8), torch.randint(4, (3, 1, 2, 4))
    ladj = dequantizer.forward_and_ladj(z, images)[1]
    for i in range(3):
        matrix = jacobian(
            lambda e, i=i: dequantizer.forward_and_ladj(e, images[i])[0].flatten(), z[i]
        )
        assert_close(ladj[i], matrix.slogdet().logabsdet, rtol=1e-8, atol=1e-8)
    v = dequantizer.condition(images)(z)
    assert_close(dequantizer.condition(images).inv(v.detach().clone()), z, rtol=1e-8, atol=1e-8)


def test_the_noise_depends_on_the_image(dequantizer):
    z, image = torch.randn(8), torch.randint(4, (1, 2, 4))
    other = (image + 1) % 4
    assert not torch.allclose(*(dequantizer.condition(x)(z) - x for x in (image, other)))


def test_the_image_is_encoded_once_whatever_the_number_of_samples(dequantizer):
    seen = []
    encoder = dequantizer.parts[0].encoder
    encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape))
    d = FlowDequantizer(dequantizer)(torch.randint(4, (3, 1, 2, 4)))
    v = d.rsample((5,))
    assert d.log_prob(v).shape == (5, 3)
    assert seen == [(3, 2, 2, 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_noise_far_out_stays_in_the_cell(dtype):
    x = torch.full((2, 1, 1, 2), 255.0, dtype=dtype)
    noise = torch.tensor([[-200.0, 200.0], [-20.0, 20.0]], dtype=dtype).view(2, 1, 1, 2)
    layer = SigmoidToCell(context_shape=(1, 1, 2))
    v, ladj = layer.forward_and_ladj(noise, x)
    assert torch.equal(v.floor(), x)
    assert ladj.isfinite().all()
    assert layer.inverse_and_ladj(v, x)[0].isfinite().all()


def test_outside_of_the_cell_there_is_no_density(dequantizer):
    x = torch.randint(4, (1, 2, 4)).double()
    q = FlowDequantizer(dequantizer)(x)
    assert q.log_prob(x).isfinite()  # the lower end belongs to it
    for v in (x - 0.1, x + 1.1):
        assert q.log_prob(v) == -torch.inf


@pytest.fixture(scope="module")
def noisy():
    """The two pixels whose likelihood is known, under uniform noise and under noise that was trained for a while."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    uniform = two_pixels()
    images = torch.cartesian_prod(torch.arange(4), torch.arange(4)).view(16, 1, 1, 2)
    options = {
        "width": 8,
        "depth": 1,
        "components": 4,
        "heads": 1,
        "dropout": 0.0,
        "encoder_width": 8,
    }
    noise = FlowDequantizer(flows.flow_pp_dequantizer((1, 1, 2), levels=4, steps=2, **options))
    learned = Dequantized(uniform.flow, levels=4, noise=noise)
    noise.initialize(images.repeat(8, 1, 1, 1).double())
    optimizer = torch.optim.Adam(noise.parameters(), lr=5e-3)
    for _ in range(120):
        optimizer.zero_grad()
        loss = -learned.log_weight(images.repeat(4, 1, 1, 1)).mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return uniform, learned, images, exact_log_likelihood(uniform, images)


def test_learned_noise_is_a_bound_that_tightens_with_k(noisy):
    _, learned, images, exact = noisy
    gaps, errors = [], []
    for k in (1, 4, 16):
        draws = bounds(learned, images, k, repeats=1600 // k).mean(1)
        gaps.append((exact.mean() - draws.mean()).item())
        errors.append((draws.std() / len(draws) ** 0.5).item())
    assert all(gap > -4 * error for gap, error in zip(gaps, errors, strict=True))
    assert gaps[0] > 4 * errors[0]  # the ELBO is below the likelihood by more than chance
    assert gaps[1] < gaps[0] - 2 * (errors[0] + errors[1])
    assert gaps[2] < gaps[1] + 2 * (errors[1] + errors[2])


def test_learned_noise_is_tighter_than_uniform_noise(noisy):
    uniform, learned, images, exact = noisy
    gaps = [
        (exact - bounds(model, images, 1, repeats=2000).mean(0)).mean().item()
        for model in (uniform, learned)
    ]
    assert gaps[1] < gaps[0] / 2


@pytest.mark.parametrize("vectorize", [False, True])
def test_the_renyi_bound_lies_between_the_elbo_and_the_likelihood(noisy, vectorize):
    _, learned, images, exact = noisy
    row = images[5:6]
    elbo = Trace_ELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=1)
    renyi = RenyiELBO(alpha=0, num_particles=20, vectorize_particles=vectorize, max_plate_nesting=1)
    with torch.no_grad():
        low = -elbo.loss(learned.model, learned.guide, row)
        draws = torch.tensor([-renyi.loss(learned.model, learned.guide, row) for _ in range(9)])
    error = draws.std() / 3
    assert draws.mean() > low - 4 * error
    assert draws.mean() < exact[5] + 4 * error
    assert abs(draws.mean() - exact[5]) < abs(low - exact[5]) / 2 + 4 * error


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
def test_bfloat16_trains_as_float32(builder, options, noise):
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
