"""Formulas that move each element: inverses, derivatives, errors."""

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.testing import assert_close

from pyro_exact.nn import DenseConditioner, MaskedDense
from pyro_exact.transforms import (
    Additive,
    Affine,
    Checkerboard,
    Coupling,
    Halves,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
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


@dtypes
@pytest.mark.parametrize("size", [1, 10], ids=lambda size: f"theta of size {size}")
@every_formula
def test_elementwise_inverts_for_large_parameters_and_inputs_of_any_size(make, size, dtype):
    formula = make()
    for scale in (1e-8, 1, 10, 1e4):
        x, theta = scale * torch.randn(2000), size * torch.randn(2000, formula.num_params)
        assert_exact(formula.to(dtype), x.to(dtype), theta.to(dtype))


@every_formula
def test_elementwise_inverse_is_differentiable_in_output_and_parameters(make):
    formula = make()
    for y in (torch.zeros(3), 3 * torch.randn(3)):
        theta = torch.randn(3, formula.num_params)
        assert gradcheck(formula.inverse_and_ladj, (y.requires_grad_(), theta.requires_grad_()))


@every_formula
def test_elementwise_derivatives_at_the_start_are_those_of_the_identity(make):
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
def test_elementwise_zero_parameters_are_close_to_the_identity(make):
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
def test_elementwise_layer_is_differentiable_in_output_weights_and_context(
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
            r"an order that contains each of 0, \.\.\., 2 once; got \[0, 1, 1\]",
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
def test_elementwise_refuses_impossible_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
