"""Layers and formulas under stress: large weights, extreme inputs, both precisions.

Hypothesis drives whole layers, and rounding is all that may go wrong: how much it may change is
derived, not chosen.
"""

import copy
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from registry import TRANSFORMS, conv, dense, masked
from torch.testing import assert_close

from pyro_exact.nn import DenseConditioner, ScaledConv2d
from pyro_exact.transforms import (
    ActNorm,
    Additive,
    Affine,
    BatchNorm,
    Checkerboard,
    Conv1x1,
    Coupling,
    DiagonalAffine,
    Exponential,
    Halves,
    Interval,
    Limits,
    LinearLU,
    LinearQR,
    LinearSVD,
    MaskedAutoregressive,
    MatrixExponential,
    MixtureCDF,
    PeriodicConv,
    Permute,
    Softplus,
    Spline,
)

pytestmark = pytest.mark.usefixtures("double")

CONTEXT_DIM = 2

LAYERS = {
    f"{name} | context" if context_dim else name: (case, context_dim)
    for name, case in TRANSFORMS.items()
    for context_dim in ([None, CONTEXT_DIM] if case.conditional else [None])
    if name[0].isupper()  # the others are stacks of these
}

FORMULAS = {
    "Additive": Additive,
    "Affine": Affine,
    "Affine shift first": lambda: Affine(shift_first=True),
    "Affine softsign": lambda: Affine("softsign"),
    "Affine sigmoid": lambda: Affine("sigmoid"),
    "Affine wide": lambda: Affine(bound=64.0),
    # With s = -64, x e^s + t has lost x by rounding; (x + t) e^s has not.
    "Affine learned": lambda: perturb(Affine("learned", shift_first=True), 1000.0),
    "MixtureCDF": lambda: MixtureCDF(3),
    "Spline": lambda: Spline(4),
}

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def perturb(layer, std):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


def joined(output, ladj):
    return torch.cat((output.flatten(), ladj.flatten()))


OPERATIONS = 32  # of the longest chain in a small layer; most round less than they may, and found errors stay below 2


# To round a result is to move an operand: by at most eps of its size for each of the operations
# behind it. So to first order f(x), computed, is off by at most
#
#     operations * eps * sensitivity,
#     sensitivity = |f| + 1 + sum_i |df/dx_i| |x_i| + sum_p |df/dp| |p|
#
# over inputs and parameters; the 1 stands for the constants of the formulas, such as the bound of a
# spline. The inverse is off by its own sensitivity, which f stretches by its Jacobian. Nothing else
# may separate f(f^-1(y)) from y, and likewise the two log-determinants: where f is flat, x may be
# lost, but its image may not.


def sensitivity(outputs, source, weights):
    """The sensitivity of each output, and its gradient in the source."""
    sizes, gradients = [], []
    for output in outputs:
        inputs = [source, *weights]
        found = torch.autograd.grad(
            output, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        sizes.append(
            sum((g * t).abs().sum() for g, t in zip(found, inputs, strict=True)) + output.abs() + 1
        )
        gradients.append(found[0].flatten())
    return torch.stack(sizes).detach(), torch.stack(gradients)


def rounding(layer, x, y, context):
    """Bound of the errors of f(f^-1(y)) and of the sum of both log-determinants, divided by eps."""
    weights = [p for p in layer.parameters() if p.numel()]
    sizes = {}
    for name, direction, source in (
        ("f", layer.forward_and_ladj, x),
        ("f^-1", layer.inverse_and_ladj, y),
    ):
        source = source.double().requires_grad_()
        outputs = (
            joined(*direction(source, context)) + 0 * source.sum()
        )  # also of a constant there is a gradient
        sizes[name] = sensitivity(outputs, source, weights)
    (forward, jacobian), (inverse, _) = sizes["f"], sizes["f^-1"]
    stretched = jacobian.abs() @ inverse[:-1]
    stretched[-1] += inverse[-1]
    return OPERATIONS * (forward + stretched)


@st.composite
def stress(draw):
    """A seed, the size of the weights, the size of the inputs, and a precision."""
    return (
        draw(st.integers(0, 10_000)),
        draw(st.sampled_from([0.5, 10.0])),
        draw(st.sampled_from([1e-8, 1.0, 1e4])),
        draw(st.sampled_from([torch.float64, torch.float32])),
    )


def bearable(case, layer, context_dim, std, size):
    """Largest weights and inputs before the layer of the paper overflows."""
    parts = list(layer.modules())
    if context_dim is not None:
        std = (
            std / 2
        )  # a parameter is a sum: one that is free, a bias and a weight for each number of the context
    if any(isinstance(part, Affine) and part.scale == "sigmoid" for part in parts):
        return min(std, case.std), min(size, 1.0)  # it contracts without a bound
    if any(isinstance(part, ScaledConv2d) for part in parts):
        return min(std, 1.0), size  # three layers in a row scale their outputs by exp(3 l)
    if any(isinstance(part, (MatrixExponential, PeriodicConv)) for part in parts):
        return min(std, case.std), size  # the condition of an exponential is exponential too
    if any(isinstance(part, (Exponential, Interval, Limits, Softplus)) for part in parts):
        return std, min(size, 1.0)  # an exponential overflows, and the ends of a range are exact
    if any(isinstance(part, (Conv1x1, LinearLU, LinearQR, LinearSVD)) for part in parts):
        return min(
            std, 3.0
        ), size  # the inverse matrix, a product of pivots exp(-s), must fit the precision too
    return std, size


@settings(max_examples=8, deadline=None, derandomize=True)
@given(stress())
@pytest.mark.parametrize(("case", "context_dim"), LAYERS.values(), ids=list(LAYERS))
def test_layers_lose_nothing_but_rounding(case, context_dim, stressed):
    seed, std, size, dtype = stressed
    torch.manual_seed(seed)
    exact = case.make(context_dim).eval()
    std, size = bearable(case, exact, context_dim, std, size)
    perturb(exact, std)
    x = case.draw((1, *case.shape)) * (size if case.draw is torch.randn else 1)
    context = None if context_dim is None else torch.randn(1, context_dim)

    layer, given_context = (
        copy.deepcopy(exact).to(dtype),
        None if context is None else context.to(dtype),
    )
    x = x.to(dtype).requires_grad_()
    y, ladj = layer.forward_and_ladj(x, given_context)
    back, ladj_back = layer.inverse_and_ladj(y, given_context)
    for value in (y, ladj, back, ladj_back):
        assert value.isfinite().all()
    limit = torch.finfo(dtype).eps * rounding(exact, back.detach(), y.detach(), context)
    # Beyond this, rounding moves a number past what these formulas do to its neighbourhood: first
    # order says nothing.
    assume(
        limit.max() <= 1e-2
        or not any(isinstance(part, (MixtureCDF, Spline)) for part in layer.modules())
    )
    again, ladj_again = layer.forward_and_ladj(back, given_context)
    error = (joined(again, ladj_again) - joined(y, -ladj_back)).detach().abs().double()
    assert (error <= limit).all(), (error / limit).max()

    inputs = [x, *(p for p in layer.parameters() if p.numel())]
    total = joined(y, ladj).sum() + joined(back, ladj_back).sum() + 0 * x.sum()
    gradients = torch.autograd.grad(total, inputs, materialize_grads=True, allow_unused=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


SHAPED = (
    {  # what test_residual_layers does not draw: (dim, context_dim) -> a layer for events (dim,) or (dim, 2, 4)
        "ActNorm": lambda dim, c: ActNorm(dim, context_dim=c),
        "ActNorm image": lambda dim, c: ActNorm(dim, 3, c),
        "BatchNorm": lambda dim, c: BatchNorm(dim).eval(),
        "Conv1x1": lambda dim, c: Conv1x1(dim, c),
        "Coupling image": lambda dim, c: conv(Checkerboard(dim), Affine(), c),
        "Permute": lambda dim, c: Permute(torch.randperm(dim)),
        "DiagonalAffine": lambda dim, c: DiagonalAffine((dim, 2, 4), c),
    }
    | {
        f"{scheme.__name__} {name}": partial(layer, make)
        for name, make in FORMULAS.items()
        for scheme, layer in (
            (Coupling, lambda make, dim, c: dense(Halves(dim), make(), c)),
            (MaskedAutoregressive, lambda make, dim, c: masked(dim, make(), c)),
        )
    }
)


@settings(max_examples=12, deadline=None)
@given(
    dim=st.integers(1, 5),
    batch=st.lists(st.integers(0, 3), max_size=2),
    context_dim=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 1000),
)
@pytest.mark.parametrize("make", SHAPED.values(), ids=list(SHAPED))
def test_layers_take_any_dimension_and_batch(make, dim, batch, context_dim, seed):
    torch.manual_seed(seed)
    layer = perturb(make(dim, context_dim), 0.3)
    event = (dim,) if layer.domain.event_dim == 1 else (dim, 2, 4)
    context = None if layer.context_shape is None else torch.randn(*batch, context_dim)
    x = torch.randn(*batch, *event, requires_grad=True)
    y, ladj = layer.forward_and_ladj(x, context)
    back, ladj_back = layer.inverse_and_ladj(y, context)
    assert y.shape == back.shape == x.shape
    assert ladj.shape == ladj_back.shape == tuple(batch)
    assert_close((back, ladj_back), (x, -ladj), rtol=1e-8, atol=1e-8)
    (gradient,) = torch.autograd.grad(y.sum() + ladj.sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_formulas_are_finite_at_extreme_parameters_and_inputs(make, dtype):
    """Both directions, their log-determinants and their gradients; computed in float32 at least."""
    formula = make().to(dtype)
    sizes = torch.tensor([0, 1e-40, 1e-30, 1e-8, 0.5, 1, 2.9999999, 3, 10, 1e4, 1e8])
    parameters = torch.tensor([0, 1, 10, 90, 1e4, 1e9])
    x = pick(sizes, 2000).to(dtype).requires_grad_()
    theta = pick(parameters, 2000, formula.num_params).to(dtype).requires_grad_()
    y, ladj = formula.forward_and_ladj(x, theta)
    for value, slope in (
        (y, ladj),
        formula.inverse_and_ladj(x, theta),
        formula.inverse_and_ladj(y.detach(), theta),
    ):
        assert value.dtype == slope.dtype == torch.promote_types(dtype, torch.float32)
        assert joined(value, slope).isfinite().all()
    gradients = torch.autograd.grad((y.clamp(-1e4, 1e4) + ladj).sum(), [x, theta])
    assert all(gradient.isfinite().all() for gradient in gradients)


def pick(sizes, *shape):
    """Draw numbers of the given sizes and of either sign."""
    return sizes[torch.randint(len(sizes), shape)] * torch.randn(shape).sign()


@pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))
def test_couplings_under_autocast_take_half_precision_input(make):
    """As it is in float32, but for the rounding of its network."""
    torch.set_default_dtype(torch.float32)
    formula = make()
    layer = Coupling(Halves(4), formula, DenseConditioner(2, 2, formula.num_params, (16,)))
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(0.3 * torch.randn_like(p))
    x = 2 * torch.randn(500, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        y, ladj = layer.forward_and_ladj(x)
        back, ladj_back = layer.inverse_and_ladj(y)
    assert y.dtype == ladj.dtype == torch.float32
    assert joined(y, ladj).isfinite().all()
    assert_close(back, x.float(), rtol=1e-3, atol=1e-3)
    assert_close(ladj_back, -ladj, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("raw", [-1e4, -90.0, 90.0, 1e4])
@pytest.mark.parametrize(
    "make", [lambda: ActNorm(3), lambda: DiagonalAffine((3,))], ids=["ActNorm", "DiagonalAffine"]
)
def test_log_scales_that_have_run_away_are_cut(make, raw):
    layer = make().float()
    with torch.no_grad():
        layer.theta.log_scale.fill_(raw)
    x = torch.randn(5, 3, dtype=torch.float32)
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert joined(y, ladj).isfinite().all()
    assert_close((back, ladj_back), (x, -ladj))


@pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))
@pytest.mark.parametrize("raw", [-1e9, 1e9])
@dtypes
def test_formulas_hold_with_parameters_at_their_bounds(make, raw, dtype):
    """Log-scales, heights, widths and derivatives that a network has driven to their ends."""
    formula = make().to(dtype)
    x = torch.linspace(-5, 5, 101, dtype=dtype, requires_grad=True)
    for active in range(formula.num_params):
        theta = torch.zeros(101, formula.num_params, dtype=dtype)
        theta[:, active] = raw
        theta.requires_grad_()
        y, ladj = formula.forward_and_ladj(x, theta)
        back, ladj_back = formula.inverse_and_ladj(y, theta)
        again, _ = formula.forward_and_ladj(back, theta)
        assert joined(y, ladj).isfinite().all()
        assert joined(back, ladj_back).isfinite().all()
        assert_close(again, y)
        gradients = torch.autograd.grad((y + ladj + back + ladj_back).sum(), [x, theta])
        assert all(gradient.isfinite().all() for gradient in gradients)
