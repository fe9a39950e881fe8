"""Planar, Radial, Sylvester and their relatives under stress; derivatives of their inverses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.func import functional_call
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.transforms import (
    BatchNorm,
    Compose,
    Householder,
    LinearLU,
    Planar,
    Radial,
    Sylvester,
)

pytestmark = pytest.mark.usefixtures("double")

RESIDUAL = {
    "Planar": Planar,
    "Planar paper": lambda dim, c=None: Planar(dim, c, "paper"),
    "Planar long": lambda dim, c=None: Planar(dim, c, layers=3),
    "Radial": Radial,
    "Radial long": lambda dim, c=None: Radial(dim, c, layers=3),
    "Sylvester orthogonal": lambda dim, c=None: Sylvester(dim, (dim + 1) // 2, "orthogonal", c),
    "Sylvester householder": lambda dim, c=None: Sylvester(
        dim, dim, "householder", c, reflections=2
    ),
    "Sylvester householder low": lambda dim, c=None: Sylvester(
        dim, (dim + 1) // 2, "householder", c, reflections=2
    ),
    "Sylvester triangular": lambda dim, c=None: Sylvester(dim, dim, "triangular", c),
    "Sylvester reversed": lambda dim, c=None: Sylvester(dim, dim, "triangular", c, reverse=True),
}

LINEAR = {
    "Householder": lambda dim, c=None: Householder(dim, 3, c),
    "LinearLU": LinearLU,
}

residual = pytest.mark.parametrize("make", RESIDUAL.values(), ids=list(RESIDUAL))

every = pytest.mark.parametrize("make", (RESIDUAL | LINEAR).values(), ids=list(RESIDUAL | LINEAR))

both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])


def perturb(layer, std=0.5):
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(std * torch.randn_like(p))
    return layer


def log_det(layer, x):
    return jacobian(lambda x: layer.forward_and_ladj(x)[0], x).slogdet().logabsdet


def scaled(actual, expected, tolerance):
    """Equal up to a tolerance relative to the largest number of each row."""
    error = (actual - expected).abs().amax(-1) / expected.abs().amax(-1).clamp(min=1)
    assert error.max() < tolerance, error.max()


@pytest.mark.parametrize("dim", [1, 2, 5])
@every
def test_residual_inverse_and_ladj(make, dim):
    layer = perturb(make(dim))
    x = torch.randn(6, dim)
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y.clone())
    assert_close((back, -ladj_back), (x, ladj), rtol=1e-8, atol=1e-8)
    assert_close(ladj, torch.stack([log_det(layer, row) for row in x]), rtol=1e-8, atol=1e-8)


@residual
def test_residual_weights_of_size_ten(make):
    """Points that the map folds together cannot be told apart again, but their images can be reached."""
    for seed in range(5):
        torch.manual_seed(seed)
        layer = perturb(make(4), 10)
        x = torch.randn(50, 4)
        y, ladj = layer.forward_and_ladj(x)
        found = torch.stack([log_det(layer, row) for row in x])
        clear = (
            found > -15
        )  # else the reference itself, a determinant of large numbers, has cancelled
        assert clear.any()
        assert_close(ladj[clear], found[clear], rtol=1e-8, atol=1e-6)
        back, ladj_back = layer.inverse_and_ladj(y)
        assert ladj.isfinite().all()
        assert back.isfinite().all()
        assert ladj_back.isfinite().all()
        scaled(layer.forward_and_ladj(back)[0], y, 1e-10)


@pytest.mark.parametrize("size", [1e-8, 1e4])
@pytest.mark.parametrize("std", [0.5, 10])
@every
def test_residual_inputs_small_and_large(make, std, size):
    layer = perturb(make(4), std if make not in LINEAR.values() else 0.5)
    x = (size * torch.randn(20, 4)).requires_grad_()
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y)
    scaled(layer.forward_and_ladj(back)[0], y, 1e-9)
    (y.sum() + ladj.sum() + back.sum() + ladj_back.sum()).backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("std", [0.5, 10])
@residual
def test_residual_layers_in_float32(make, std):
    layer = perturb(make(6), std)
    x = torch.randn(200, 6)
    y, ladj = layer.forward_and_ladj(x)
    layer.float()
    y32, ladj32 = layer.forward_and_ladj(x.float())
    scaled(y32.double(), y, 1e-4 if std < 1 else 1e-3)
    again, ladj_again = layer.forward_and_ladj(layer.inverse_and_ladj(y32)[0])
    scaled(again, y32, 1e-4)
    assert ladj32.isfinite().all()
    assert ladj_again.isfinite().all()
    if std < 1:
        assert_close(ladj32.double(), ladj, rtol=1e-4, atol=1e-4)


@both
@pytest.mark.parametrize("kind", [Planar, Radial])
def test_residual_several_maps_equal_layers_in_a_row(kind, context_dim):
    whole = perturb(kind(4, context_dim, layers=3))
    parts = [kind(4, context_dim) for _ in range(3)]
    state = whole.state_dict()
    for k, part in enumerate(parts):
        mine = {f"theta.{name}": state[f"theta.{name}"][k : k + 1] for name in whole.theta.names}
        for half in ("weight", "bias") if context_dim else ():
            blocks = state[f"theta.hypernet.0.{half}"].split(whole.theta.sizes)
            mine[f"theta.hypernet.0.{half}"] = torch.cat([block.chunk(3)[k] for block in blocks])
        part.load_state_dict(mine)
    context = None if context_dim is None else torch.randn(5, context_dim)
    x = torch.randn(5, 4)
    assert_close(whole.forward_and_ladj(x, context), Compose(parts).forward_and_ladj(x, context))
    assert_close(whole.inverse_and_ladj(x, context), Compose(parts).inverse_and_ladj(x, context))


@both
@every
def test_residual_inverse_gradients_in_output_parameters_and_context(make, context_dim):
    """Against finite differences; the parameters reach the inverse through the solve, where they are easily lost."""
    layer = perturb(make(3, context_dim))
    names = list(dict(layer.named_parameters()))
    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    y = torch.randn(2, 3, requires_grad=True)
    context = None if context_dim is None else torch.randn(2, context_dim, requires_grad=True)

    class Inverted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, *inputs):
            return self.layer.inverse_and_ladj(*inputs)

    def inverse(y, context, *weights):
        state = {f"layer.{name}": weight for name, weight in zip(names, weights, strict=True)}
        return functional_call(Inverted(), state, (y, context))

    assert gradcheck(inverse, (y, context, *weights))


@residual
def test_residual_inverse_has_second_derivatives(make):
    y = torch.randn(1, 2, requires_grad=True)
    assert gradgradcheck(perturb(make(2)).inverse_and_ladj, y)


@both
@residual
def test_residual_parameters_have_the_gradient_of_the_implicit_function(make, context_dim):
    """f(f^-1(y)) = y for all weights: moving the weights must not move it."""
    layer = perturb(make(4, context_dim))
    context = None if context_dim is None else torch.randn(5, context_dim, requires_grad=True)
    y = torch.randn(5, 4)
    image, ladj = layer.forward_and_ladj(layer.inverse_and_ladj(y, context)[0], context)
    inverse_ladj = layer.inverse_and_ladj(y, context)[1]
    wanted = [p for p in layer.parameters() if p.requires_grad] + ([context] if context_dim else [])
    for value in ((image * torch.randn(5, 4)).sum(), (ladj + inverse_ladj).sum()):
        for gradient in torch.autograd.grad(value, wanted, retain_graph=True):
            assert gradient.abs().max() < 1e-9


@given(
    dim=st.integers(1, 6),
    batch=st.lists(st.integers(0, 3), max_size=2),
    context_dim=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
@every
def test_residual_shapes_and_values(make, dim, batch, context_dim, seed):
    torch.manual_seed(seed)
    layer = perturb(make(dim, context_dim))
    context = None if context_dim is None else torch.randn(*batch, context_dim)
    x = torch.randn(*batch, dim)
    y, ladj = layer.forward_and_ladj(x, context)
    back, ladj_back = layer.inverse_and_ladj(y, context)
    assert y.shape == back.shape == x.shape
    assert ladj.shape == ladj_back.shape == tuple(batch)
    assert_close((back, ladj_back), (x, -ladj), rtol=1e-7, atol=1e-7)


@both
@every
def test_residual_layers_lose_nothing_under_autocast(make, context_dim):
    layer = perturb(make(16, None)).float()
    x = torch.randn(20, 16, dtype=torch.float32)
    y, ladj = layer.forward_and_ladj(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = layer.forward_and_ladj(x)
        back, _ = layer.inverse_and_ladj(y)
    assert_close(cast, (y, ladj), rtol=1e-5, atol=1e-5)
    assert_close(back, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Planar(0), r"Planar expects dim from 1 to \d+; got 0"),
        (lambda: Planar(2, layers=0), r"Planar expects layers from 1 to 10000; got 0"),
        (
            lambda: Planar(2, parametrization="other"),
            r"parametrization 'shifted' or 'paper'; got 'other'",
        ),
        (lambda: Radial(0), r"Radial expects dim from 1 to \d+; got 0"),
        (lambda: Sylvester(3, 4), r"Sylvester expects rank from 1 to 3; got 4"),
        (lambda: Sylvester(3, 0), r"Sylvester expects rank from 1 to 3; got 0"),
        (
            lambda: Sylvester(3, 2, "householder", reflections=0),
            r"Sylvester expects reflections from 1 to 10000; got 0",
        ),
        (
            lambda: Sylvester(3, 2, "other"),
            r"variant 'orthogonal', 'householder' or 'triangular'; got 'other'",
        ),
        (lambda: Householder(3, 0), r"Householder expects reflections from 1 to 10000; got 0"),
        (lambda: LinearLU(0), r"LinearLU expects dim from 1 to 8192; got 0"),
        (lambda: BatchNorm(0), r"BatchNorm expects channels from 1 to \d+; got 0"),
        (
            lambda: BatchNorm(2, momentum=2.0),
            r"momentum as a finite number that is at least 0 and at most 1; got 2.0",
        ),
        (
            lambda: BatchNorm(2, epsilon=0.0),
            r"epsilon as a finite number that is at least 1e-30 .*; got 0.0",
        ),
        (lambda: flows.planar(2, 0), r"planar expects layers from 1 to 10000; got 0"),
        (lambda: flows.radial(2, 0), r"radial expects layers from 1 to 10000; got 0"),
        (lambda: flows.sylvester(2, 1, 3), r"Sylvester expects rank from 1 to 2; got 3"),
        (
            lambda: Planar(3)(torch.randn(2, 4)),
            r"Planar expects 3 dimensions; got 4 in shape \(2, 4\)",
        ),
        (lambda: Radial(3)(torch.randn(4)), r"Radial expects 3 dimensions; got 4"),
        (lambda: Sylvester(3, 1).inv(torch.randn(4)), r"Sylvester expects 3 dimensions; got 4"),
        (lambda: Householder(3, 1)(torch.randn(4)), r"Householder expects 3 dimensions; got 4"),
        (lambda: LinearLU(3)(torch.randn(4)), r"LinearLU expects 3 dimensions; got 4"),
        (lambda: BatchNorm(3, 3)(torch.randn(2, 4, 5, 5)), r"BatchNorm expects 3 channels; got 4"),
        (
            lambda: Planar(3, 2)(torch.randn(3)),
            r"expects a context of shape \(\*batch, 2\); got none",
        ),
        (
            lambda: Radial(3, 2).condition(torch.randn(3)),
            r"Radial expects a context of shape \(\*batch, 2\); got \(3,\)",
        ),
    ],
)
def test_residual_layers_say_what_does_not_fit(make, match):
    with pytest.raises(ValueError, match=match):
        make()
