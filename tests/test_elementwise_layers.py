"""Couplings and autoregressive layers where it hurts: what the laws of the registry do not reach.

Parameters of size 10, log-scales at their bounds, inputs at 1e-8 and 1e4, knots and edges, float32,
the derivatives of the inverses, causality, the total mass of densities, and what each builder and
layer refuses.
"""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import (
    ConditionalTransformedDistribution,
    Normal,
    TransformedDistribution,
    validation_enabled,
)
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.distributions import Distribution
from torch.func import functional_call
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import CausalConditioner, ConvConditioner, DenseConditioner, MaskedDense
from pyro_exact.testing import Trial, precision
from pyro_exact.transforms import (
    Additive,
    Affine,
    Checkerboard,
    Compose,
    Coupling,
    Halves,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
    Squeeze,
    mixture_cdf,
)

pytestmark = pytest.mark.usefixtures("double")

FORMULAS = {
    "Affine": Affine,
    "Additive": Additive,
    "MixtureCDF": lambda: MixtureCDF(5),
    "Spline": lambda: Spline(5),
}
every_formula = pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))
both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def perturb(module, std=0.5):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def coupling(formula, context_dim=None):
    return Coupling(
        Halves(3), formula, DenseConditioner(1, 2, formula.num_params, (6,), context_dim)
    )


def masked(formula, context_dim=None, dim=3, hidden_dims=(6,), order=None):
    net = MaskedDense(dim, formula.num_params, hidden_dims, context_dim, order)
    return MaskedAutoregressive(formula, net)


def assert_exact(formula, x, theta):
    """The inverse hits the output as well as rounding allows: of y and u, and of x times the slope there."""
    y, ladj = formula.forward_and_ladj(x, theta)
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    again, ladj_again = formula.forward_and_ladj(back, theta)
    for values in (y, ladj, back, ladj_back):
        assert values.isfinite().all()
    unit = torch.finfo(x.dtype).eps * (
        3 + y.abs() + theta.abs().amax(-1) + ladj_again.exp() * (3 + back.abs())
    )
    assert ((again - y).abs() / unit).max() < 30
    assert_close(ladj_back, -ladj_again, rtol=1e-5, atol=1e-3 if x.dtype == torch.float32 else 1e-8)


# Any formula
# ----------------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("size", [1, 10], ids=lambda size: f"theta of size {size}")
@every_formula
def test_inverts_for_large_parameters_and_inputs_of_any_size(make, size, dtype):
    formula = make()
    for scale in (1e-8, 1, 10, 1e4):
        x, theta = scale * torch.randn(2000), size * torch.randn(2000, formula.num_params)
        assert_exact(formula.to(dtype), x.to(dtype), theta.to(dtype))


@every_formula
def test_inverse_is_differentiable_in_output_and_parameters(make):
    formula = make()
    for y in (torch.zeros(3), 3 * torch.randn(3)):
        theta = torch.randn(3, formula.num_params)
        assert gradcheck(formula.inverse_and_ladj, (y.requires_grad_(), theta.requires_grad_()))


@every_formula
def test_derivatives_at_the_start_are_those_of_the_identity(make):
    """At zero parameters and round inputs, where branches meet."""
    formula = make()
    x = torch.tensor([-4.0, -1.2, 0.0, 0.3, 2.4], requires_grad=True)
    theta = torch.zeros(5, formula.num_params, requires_grad=True)
    for direction in (formula.forward_and_ladj, formula.inverse_and_ladj):
        output, ladj = direction(x, theta)
        (slope,) = torch.autograd.grad(output.sum(), x, retain_graph=True)
        assert_close(ladj, slope.log())
        assert gradcheck(direction, (x, theta + 1e-3))


@every_formula
def test_zero_parameters_are_close_to_the_identity(make):
    x = torch.linspace(-50, 50, 1001)
    formula = make()
    y, ladj = formula.forward_and_ladj(x, torch.zeros(1001, formula.num_params))
    assert_close(y, x, rtol=0, atol=0.17 if isinstance(formula, MixtureCDF) else 1e-12)
    assert_close(
        ladj, torch.zeros(1001), rtol=0, atol=0.1 if isinstance(formula, MixtureCDF) else 1e-12
    )


@pytest.mark.parametrize("scheme", [coupling, masked])
@both
@every_formula
def test_inverse_of_a_layer_is_differentiable_in_output_weights_and_context(
    make, scheme, context_dim
):
    layer = perturb(scheme(make(), context_dim))
    names, weights = zip(
        *((name, p) for name, p in layer.named_parameters() if p.numel()), strict=True
    )
    contexts = [] if context_dim is None else [torch.randn(1, context_dim, requires_grad=True)]

    def inverse(y, *rest):
        given = dict(zip(names, rest, strict=False))
        bound = functional_call(
            Method(layer),
            {f"layer.{name}": w for name, w in given.items()},
            (y, *rest[len(names) :]),
        )
        return bound

    y = torch.randn(1, 3, requires_grad=True)
    assert gradcheck(
        inverse, (y, *(w.detach().requires_grad_() for w in weights), *contexts), fast_mode=True
    )


class Method(nn.Module):
    """The inverse of a layer as a call, for `functional_call`."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, y, context=None):
        return self.layer.inverse_and_ladj(y, context)


# Mixture
# --------------------------------------------------------------------------------------------------------------


def mixture(logits, means, log_scales):
    """The parameters of a mixture without affine part, of a formula without spread."""
    shape = torch.broadcast_shapes(*(t.shape for t in (logits, means, log_scales)))
    parts = [t.expand(shape) for t in (logits, means, log_scales)]
    return torch.cat((torch.zeros(*shape[:-1], 2), *parts), dim=-1)


@pytest.mark.parametrize("components", [1, 2, 32])
def test_mixture_is_exact_in_float32_far_into_its_tails(components):
    formula = MixtureCDF(components).float()
    x = torch.tensor([-60.0, -30, -17, -1e-8, 0, 1e-8, 17, 18, 30, 60], dtype=torch.float32)
    theta = torch.randn(components * 3 + 2, dtype=torch.float32).expand(10, -1)
    y, ladj = formula.forward_and_ladj(x, theta)
    assert_close(
        (y, ladj),
        formula.forward_and_ladj(x.double(), theta.double()),
        rtol=1e-5,
        atol=1e-5,
        check_dtype=False,
    )
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    assert_close(back, x, rtol=1e-5, atol=1e-5)
    assert_close(ladj_back, -ladj, rtol=1e-5, atol=1e-5)


BOUND = 1e9  # as a raw log-scale: the scale is at its bound
ADVERSARIAL = {
    "narrow": lambda n: (torch.randn(n, 32), 10 * torch.randn(n, 32), torch.full((n, 32), -BOUND)),
    "narrow and far apart": lambda n: (
        10 * torch.randn(n, 32),
        1000 * torch.randn(n, 32),
        torch.full((n, 32), -BOUND),
    ),
    "two": lambda n: (torch.randn(n, 2), 100 * torch.randn(n, 2), torch.full((n, 2), -BOUND)),
    "wide": lambda n: (torch.randn(n, 8), 30 * torch.randn(n, 8), torch.full((n, 8), BOUND)),
    "wide and narrow": lambda n: (
        torch.randn(n, 32),
        30 * torch.randn(n, 32),
        BOUND * torch.randn(n, 32).sign(),
    ),
    "one wide": lambda n: (
        torch.randn(n, 9),
        torch.randn(n, 9),
        BOUND * torch.tensor([1.0] + [-1] * 8).expand(n, 9),
    ),
    "all equal": lambda n: (torch.zeros(n, 4), torch.ones(n, 4), torch.zeros(n, 4)),
}


@dtypes
@pytest.mark.parametrize("parts", ADVERSARIAL.values(), ids=list(ADVERSARIAL))
def test_mixture_inverts_at_the_bounds_of_its_parameters(parts, dtype):
    theta = mixture(*parts(1000))
    formula = MixtureCDF((theta.shape[-1] - 2) // 3, spread=0).to(dtype)
    means = theta[:, 2 + formula.components : 2 + 2 * formula.components]
    near = means.gather(1, torch.randint(formula.components, (1000, 1))).squeeze(
        1
    ) + 1e-3 * torch.randn(1000)
    for x in (near, means.mean(1), 20 * torch.randn(1000), 1e4 * torch.randn(1000)):
        y, ladj = formula.forward_and_ladj(x.to(dtype), theta.to(dtype))
        back, ladj_back = formula.inverse_and_ladj(y, theta.to(dtype))
        again, ladj_again = formula.forward_and_ladj(back, theta.to(dtype))
        assert torch.cat((y, ladj, back, ladj_back)).isfinite().all()
        # between components far apart y is flat to rounding, and forgets x; but it has the y that
        # was asked for
        unit = torch.finfo(dtype).eps * (1 + y.abs() + ladj_again.exp() * back.abs())
        assert ((again - y).abs() / unit).max() < 60
        assert_close(ladj_back, -ladj_again)


def test_mixture_slope_between_components_far_apart_is_no_zero():
    """At 0 both components have e^-1096 of their mass on the other side: their log-densities still tell."""
    formula = MixtureCDF(2, spread=0)
    theta = mixture(torch.zeros(2), torch.tensor([-1.0, 1.0]), torch.tensor([-BOUND, -BOUND]))
    y, ladj = formula.forward_and_ladj(torch.tensor(0.0), theta)
    assert y == 0
    assert_close(ladj, torch.tensor(math.log(4) - math.exp(7) + 7))


def test_mixture_solves_in_few_steps(monkeypatch):
    calls = []
    log_odds = mixture_cdf.log_odds
    monkeypatch.setattr(
        mixture_cdf, "log_odds", lambda x, m: calls.append(len(x)) or log_odds(x, m)
    )
    formula = MixtureCDF(32)
    x, theta = torch.randn(1000), torch.randn(1000, 98)
    y = formula.forward_and_ladj(x, theta)[0]
    calls.clear()
    formula.inverse_and_ladj(y, theta)
    assert sum(calls) / 1000 < 9
    theta = mixture(*ADVERSARIAL["narrow"](1000))
    y = formula.forward_and_ladj(10 * x, theta)[0]
    calls.clear()
    formula.inverse_and_ladj(y, theta)
    assert len(calls) < 40
    assert sum(calls) / 1000 < 9


def test_a_number_solves_as_it_does_alone():
    formula = MixtureCDF(8)
    y, theta = 3 * torch.randn(50), 3 * torch.randn(50, 26)
    together, _ = formula.inverse_and_ladj(y, theta)
    alone = torch.stack([formula.inverse_and_ladj(*pair)[0] for pair in zip(y, theta, strict=True)])
    assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_moving_all_means_moves_the_root():
    formula = MixtureCDF(6)
    theta = torch.randn(20, 20, requires_grad=True)
    x, _ = formula.inverse_and_ladj(torch.randn(20), theta)
    (gradient,) = torch.autograd.grad(x.sum(), theta)
    assert_close(gradient[:, 8:14].sum(-1), torch.ones(20))


def test_mixture_inverse_has_its_second_derivatives():
    formula = MixtureCDF(3)
    y, theta = torch.randn(2, requires_grad=True), torch.randn(2, 11, requires_grad=True)
    assert gradgradcheck(formula.inverse_and_ladj, (y, theta))


@dtypes
def test_mixture_inverse_has_finite_gradients_where_it_is_flat(dtype):
    formula = MixtureCDF(2, spread=0)
    theta = mixture(torch.zeros(2), torch.tensor([-1.0, 1.0]), torch.tensor([-BOUND, -BOUND]))
    y, theta = torch.tensor([0.0, 1e-3, -5.0], dtype=dtype), theta.to(dtype).expand(3, -1)
    y, theta = y.requires_grad_(), theta.clone().requires_grad_()
    x, ladj = formula.inverse_and_ladj(y, theta)
    assert all(
        gradient.isfinite().all() for gradient in torch.autograd.grad((x + ladj).sum(), (y, theta))
    )


def test_components_start_apart():
    theta = torch.zeros(1, 14, requires_grad=True)
    y, ladj = MixtureCDF(4).forward_and_ladj(torch.ones(1), theta)
    (gradient,) = torch.autograd.grad((y**2 - ladj).sum(), theta)
    for part in gradient[0, 2:].split(4):
        assert len(part.unique()) == 4


def test_a_nan_stays_one():
    x, _ = MixtureCDF(3).inverse_and_ladj(torch.tensor([0.5, math.nan]), torch.zeros(2, 11))
    assert x.isnan().tolist() == [False, True]


def test_the_compiled_mixture_is_the_same(monkeypatch):
    torch.compiler.reset()
    compiled = []

    def fused(function):
        compiled.append(function)
        return torch.compile(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(mixture_cdf, "fused", fused)
    formula = pickle.loads(pickle.dumps(copy.deepcopy(MixtureCDF(4, compiled=True))))
    x, theta = torch.randn(5), torch.randn(5, 14)
    assert_close(formula.forward_and_ladj(x, theta), MixtureCDF(4).forward_and_ladj(x, theta))
    assert_close(formula.inverse_and_ladj(x, theta), MixtureCDF(4).inverse_and_ladj(x, theta))
    assert compiled == [mixture_cdf.mixture_cdf, mixture_cdf.log_odds]


@pytest.mark.parametrize("checks", [True, False])
def test_compilation_leaves_the_checks_of_distributions_alone(monkeypatch, checks):
    """Also the first one of a process, after which torch would check no distribution any more."""

    def first_of_a_process(function, **options):
        Distribution.set_default_validate_args(False)
        return function

    monkeypatch.setattr(torch, "compile", first_of_a_process)
    mixture_cdf.fused.cache_clear()
    with validation_enabled(checks):
        x = torch.randn(5)
        MixtureCDF(2, compiled=True).forward_and_ladj(x, torch.zeros(5, 8))
        assert Distribution._validate_args == checks
        precision.forward_compiles_into_one_graph.check(Trial.of(coupling(Affine()), (3,)))
        assert Distribution._validate_args == checks
    mixture_cdf.fused.cache_clear()


# Spline
# ---------------------------------------------------------------------------------------------------------------


@dtypes
def test_spline_is_exact_at_its_knots_and_outside(dtype):
    formula = Spline(6, bound=2.0)
    theta = (3 * torch.randn(50, 17)).to(dtype)
    xs, ys, derivatives = formula._knots(theta)
    wide = theta.unsqueeze(1).expand(50, 7, 17)
    y, ladj = formula.forward_and_ladj(xs, wide)
    assert torch.equal(y, ys)
    assert_close(ladj, derivatives.log(), rtol=1e-4, atol=1e-5)
    assert torch.equal(formula.inverse_and_ladj(ys, wide)[0], xs)
    assert xs[:, [0, -1]].tolist() == ys[:, [0, -1]].tolist() == [[-2, 2]] * 50
    for outside in (2.0, -2.0, 2.001, 1e4, -1e30):
        x = torch.full((50,), outside, dtype=dtype)
        for output, ladj in (
            formula.forward_and_ladj(x, theta),
            formula.inverse_and_ladj(x, theta),
        ):
            assert torch.equal(output, x)
            assert not ladj.any()


def test_spline_slope_is_continuous_everywhere():
    formula = Spline(6, bound=2.0)
    theta = torch.randn(20, 17)
    xs, _, _ = formula._knots(theta)
    wide = theta.unsqueeze(1).expand(20, 7, 17)
    below, above = (formula.forward_and_ladj(xs + step, wide) for step in (-1e-10, 1e-10))
    assert_close(below, above, rtol=0, atol=1e-6)


def test_spline_passes_the_gradient_of_what_lies_outside():
    x = torch.tensor([-5.0, 7.0], requires_grad=True)
    theta = torch.randn(2, 23, requires_grad=True)
    y, ladj = Spline().forward_and_ladj(x, theta)
    (y + ladj).sum().backward()
    assert x.grad.tolist() == [1, 1]
    assert not theta.grad.any()


# Checkerboard
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swap", [False, True])
def test_checkerboard_coupling_changes_one_colour_as_a_function_of_the_other(swap):
    layer = perturb(Coupling(Checkerboard(2, swap), Affine(), ConvConditioner(4, 4, 2, 8)), 0.2)
    x = torch.randn(2, 4, 6)
    y, _ = layer.forward_and_ladj(x)
    fixed = (torch.arange(4)[:, None] + torch.arange(6)) % 2 == int(swap)
    assert torch.equal(y[:, fixed], x[:, fixed])
    assert (y != x)[:, ~fixed].all()
    full = jacobian(lambda x: layer.forward_and_ladj(x)[0], x)
    others = full[:, ~fixed][..., ~fixed]  # (C, free, C, free)
    diagonal = torch.eye(others.shape[0] * others.shape[1], dtype=torch.bool).view(others.shape)
    assert not others[~diagonal].any()


def test_checkerboard_composes_with_squeeze():
    layers = [
        Coupling(Checkerboard(1, swap), Affine(), ConvConditioner(2, 2, 2, 8))
        for swap in (False, True)
    ]
    flow = perturb(Compose([*layers, Squeeze()]), 0.2)
    x = torch.randn(3, 1, 4, 4)
    y, ladj = flow.forward_and_ladj(x)
    assert_close(flow.inverse_and_ladj(y), (x, -ladj))


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 7)])
def test_checkerboard_refuses_odd_images(shape):
    layer = Coupling(Checkerboard(1), Additive(), ConvConditioner(2, 2, 1, 4))
    message = rf"Checkerboard expects even height and width; got \(1, {shape[1]}, {shape[2]}\). Pad the image or start"
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(shape))


# Masked networks
# ------------------------------------------------------------------------------------------------------


@st.composite
def nets(draw):
    dim = draw(st.integers(1, 6))
    context_dim = draw(st.sampled_from([None, 1, 3]))
    hidden_dims = draw(st.none() | st.lists(st.integers(dim, 9), max_size=3))
    order = draw(st.none() | st.permutations(range(dim)))
    net = perturb(MaskedDense(dim, draw(st.integers(1, 3)), hidden_dims, context_dim, order))
    batch = draw(st.sampled_from([(), (3,), (2, 3), (0,)]))
    return (
        net,
        torch.randn(*batch, dim),
        None if context_dim is None else torch.randn(*batch, context_dim),
    )


@given(nets())
@settings(max_examples=40, deadline=None)
def test_steps_give_what_forward_gives(made):
    net, x, context = made
    state, previous, theta = net.start(x.shape[:-1], context), None, [None] * net.dim
    for i in net.orders[0].tolist():
        theta[i], state = net.step(state, previous)
        previous = x[..., i]
    assert_close(torch.stack(theta, dim=-2), net(x, context))


@given(nets())
@settings(max_examples=40, deadline=None)
def test_outputs_depend_on_nothing_but_what_comes_before(made):
    net, x, context = made
    theta, order = net(x, context), net.orders[0].tolist()
    for place, i in enumerate(order):
        moved = x.clone()
        moved[..., i] += 1e3 * (1 + torch.rand(x.shape[:-1]))
        after = net(moved, context)
        unaffected = order[: place + 1]
        assert torch.equal(after[..., unaffected, :], theta[..., unaffected, :])


@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize("hidden_dims", [(), (6,), (5, 9), None])
def test_every_output_sees_everything_before_it(hidden_dims, context_dim):
    order = [2, 0, 4, 1, 3]
    net = MaskedDense(5, 1, hidden_dims, context_dim, order)
    for p in net.parameters():
        nn.init.uniform_(p, 0.1, 1)  # with positive weights no unit is off and nothing cancels
    context = torch.rand(context_dim or 1, requires_grad=True)
    x = torch.rand(5, requires_grad=True)
    theta = net(x, context).squeeze(-1)
    seen = (
        torch.stack(
            [torch.autograd.grad(t, x, retain_graph=True, allow_unused=True)[0] for t in theta]
        )
        != 0
    )
    in_order = seen[order][:, order]
    assert torch.equal(in_order, torch.ones(5, 5, dtype=torch.bool).tril(-1))
    if context_dim:
        for t in theta:
            assert torch.autograd.grad(t, context, retain_graph=True)[0].all()


# Autoregressive layers
# ------------------------------------------------------------------------------------------------


class Counting(CausalConditioner):
    """A conditioner without steps, which counts its evaluations."""

    def __init__(self, net):
        super().__init__(net.dim, net.context_shape)
        self.net, self.calls = net, 0

    @property
    def order(self):
        return self.net.order

    def forward(self, x, context=None):
        self.calls += 1
        return self.net(x, context)


@both
@every_formula
def test_without_steps_the_inverse_takes_an_evaluation_a_dimension(make, context_dim):
    steps = perturb(masked(make(), context_dim, order=[1, 2, 0]))
    passes = MaskedAutoregressive(steps.elementwise, Counting(steps.conditioner))
    y = torch.randn(4, 3, requires_grad=True)
    context = None if context_dim is None else torch.randn(4, context_dim)
    assert_close(passes.inverse_and_ladj(y, context), steps.inverse_and_ladj(y, context))
    assert passes.conditioner.calls == 3
    gradients = [
        torch.autograd.grad(
            sum(part.sum() for part in layer.inverse_and_ladj(y, context)), [y, *steps.parameters()]
        )
        for layer in (passes, steps)
    ]
    assert_close(*gradients)
    passes.conditioner.calls = 0
    passes.forward_and_ladj(y, context)
    assert passes.conditioner.calls == 1


@both
@every_formula
def test_its_jacobian_is_triangular_in_its_order(make, context_dim):
    layer = perturb(masked(make(), context_dim, order=[1, 2, 0]))
    context = None if context_dim is None else torch.randn(context_dim)
    found = jacobian(lambda x: layer.forward_and_ladj(x, context)[0], torch.randn(3))
    in_order = found[[1, 2, 0]][:, [1, 2, 0]]
    assert not in_order.triu(1).any()
    assert in_order.tril(-1).any()


@both
@every_formula
def test_of_one_dimension(make, context_dim):
    layer = perturb(masked(make(), context_dim, dim=1))
    x = torch.randn(5, 1)
    context = None if context_dim is None else torch.randn(5, context_dim)
    y, ladj = layer.forward_and_ladj(x, context)
    assert_close(layer.inverse_and_ladj(y, context), (x, -ladj))


def test_high_dimensional_inverse():
    layer = perturb(masked(Affine(), dim=60, hidden_dims=None), 0.03)
    x = torch.randn(7, 60)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(layer.inverse_and_ladj(y), (x, -ladj), rtol=1e-8, atol=1e-8)


# Densities
# ------------------------------------------------------------------------------------------------------------


def on_line(dim, context_dim=None):
    """Flows on vectors, from data to noise."""
    return {
        "maf": flows.maf(dim, 2, (6,), context_dim),
        "maf mixture": flows.maf(dim, 2, (6,), context_dim, MixtureCDF(4)),
        "iaf": flows.iaf(dim, 2, (6,), context_dim).inv,
        "real_nvp": flows.real_nvp(dim, 3, (6,), context_dim),
        "spline_coupling": flows.spline_coupling(
            dim, 3, bound=3.0, hidden_dims=(6,), context_dim=context_dim
        ),
        "couplings": flows.couplings(dim, MixtureCDF(4), 2, (6,), context_dim),
        "nice": flows.nice(dim, 3, (6,), context_dim),
    }


@both
@pytest.mark.parametrize("name", on_line(1))
def test_density_on_the_line_integrates_to_one(name, context_dim):
    flow = Flow(StandardNormal(1), perturb(on_line(1, context_dim)[name], 0.3).inv)
    d = flow() if context_dim is None else flow.condition(torch.randn(context_dim))
    x = torch.linspace(-60, 60, 240_001).unsqueeze(-1)
    with torch.no_grad():
        mass = torch.trapezoid(d.log_prob(x).exp(), x.squeeze(-1))
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize("name", on_line(2))
def test_density_on_the_plane_integrates_to_one(name, context_dim):
    flow = Flow(StandardNormal(2), perturb(on_line(2, context_dim)[name], 0.15).inv)
    d = flow() if context_dim is None else flow.condition(torch.randn(context_dim))
    line = torch.linspace(-9, 9, 361)
    with torch.no_grad():
        density = d.log_prob(torch.cartesian_prod(line, line)).exp().view(361, 361)
        mass = torch.trapezoid(torch.trapezoid(density, line), line)
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-3)


# Builders
# -------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("name", on_line(1))
def test_builders_work_in_stock_distributions(name, dim, context_dim):
    flow = perturb(on_line(dim, context_dim)[name], 0.2)
    base = Normal(torch.zeros(dim), 1.0).to_event(1)
    if context_dim is None:
        d = TransformedDistribution(base, [flow.inv])
    else:
        d = ConditionalTransformedDistribution(base, [flow.inv]).condition(
            torch.randn(4, context_dim)
        )
    x = d.rsample((5,))
    assert x.shape == ((5, dim) if context_dim is None else (5, 4, dim))
    d.log_prob(x.detach()).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in flow.parameters())


@pytest.mark.parametrize("name", ["iaf", "maf", "nice", "real_nvp", "spline_coupling"])
def test_builders_start_as_the_identity(name):
    x = torch.randn(5, 3)
    y, ladj = on_line(3)[name].forward_and_ladj(x)
    assert_close((y, ladj), (x, torch.zeros(5)))


@pytest.mark.parametrize(
    "build",
    [
        lambda formula: flows.maf(2, 3, elementwise=formula),
        lambda formula: flows.iaf(2, 3, elementwise=formula),
        lambda formula: flows.couplings(2, formula, 3),
    ],
    ids=["maf", "iaf", "couplings"],
)
def test_each_layer_of_a_builder_learns_a_formula_of_its_own(build):
    given = Affine("learned")
    flow = perturb(build(given))
    multiples = [module.multiple for module in flow.modules() if isinstance(module, Affine)]
    assert len({*map(id, multiples), id(given.multiple)}) == 4
    assert len({multiple.item() for multiple in multiples}) == 3


@pytest.mark.parametrize("name", ["maf", "real_nvp", "spline_coupling", "couplings", "nice"])
def test_builders_are_initialised_from_data(name):
    x = 5 + 3 * torch.randn(1000, 2)
    flow = on_line(2)[name]
    assert_close(flow.initialize(x), flow.forward_and_ladj(x)[0])
    y = flow.forward_and_ladj(x)[0]
    assert y.mean(0).abs().max() < 0.1
    assert (y.std(0) - 1).abs().max() < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MixtureCDF(0), "MixtureCDF expects components from 1 to 10000; got 0"),
        (
            lambda: MixtureCDF(2, min_log_scale=0.5),
            "min_log_scale as a finite number that is at least -20 and at most -1e-06; got 0.5",
        ),
        (lambda: Spline(0), "Spline expects bins from 1 to 10000; got 0"),
        (
            lambda: Spline(bound=0),
            "Spline expects bound as a finite number that is at least 1e-12 .*; got 0",
        ),
        (
            lambda: Spline(10, min_width=0.1),
            "Spline expects min_width below 1 / bins; got 0.1 with 10 bins",
        ),
        (
            lambda: Spline(10, min_height=-0.1),
            "Spline expects min_height as a finite number that is at least 1e-06 .*; got -0.1",
        ),
        (
            lambda: Spline(min_derivative=1),
            "Spline expects min_derivative as a finite number .* at most 0.999999; got 1",
        ),
        (lambda: Checkerboard(0), r"Checkerboard expects size from 1 to \d+; got 0"),
        (lambda: MaskedDense(0, 1), "MaskedDense expects dim >= 1"),
        (
            lambda: MaskedDense(3, 1, order=[0, 1, 1]),
            r"an order that holds each of 0, \.\.\., 2 once; got \[0, 1, 1\]",
        ),
        (
            lambda: MaskedDense(9, 1, (20, 7)),
            r"hidden widths of at least 8 for 9 dimensions; got \[20, 7\]",
        ),
        (lambda: MaskedDense(9, 1, (8,), context_dim=1), "hidden widths of at least 9"),
        (
            lambda: masked(Affine(), 2)(torch.zeros(3)),
            r"expects a context of shape \(\*batch, 2\); got none",
        ),
        (
            lambda: masked(Affine(), 2).inv(torch.zeros(3)),
            r"expects a context of shape \(\*batch, 2\); got none",
        ),
        (
            lambda: masked(Affine())(torch.zeros(4)),
            "MaskedAutoregressive expects 3 dimensions; got 4",
        ),
        (
            lambda: MaskedAutoregressive(Affine(), MaskedDense(3, 1))(torch.zeros(3)),
            r"Affine expects its conditioner to return parameters of shape \(3, 2\); got \(3, 1\)",
        ),
        (
            lambda: MaskedAutoregressive(Affine(), MaskedDense(3, 1)).inv(torch.zeros(3)),
            r"Affine expects its conditioner to return parameters of shape \(2,\); got \(1,\)",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
