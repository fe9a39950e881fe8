"""Planar, radial and Sylvester flows and their companions where it hurts: what the laws of the registry do not reach.

Weights of size 10, weights of zero, inputs at 1e-8 and 1e4, the radial centre, float32, the
derivatives of the inverses and of the scalar solve behind them.
"""

from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import Normal, TransformedDistribution
from pyro.distributions import transforms as peers
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.functional import jacobian
from torch.func import functional_call
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.transforms import (
    ActNorm,
    BatchNorm,
    Compose,
    FactorOut,
    Flatten,
    Householder,
    LinearLU,
    Permute,
    Planar,
    Radial,
    Sylvester,
)
from pyro_exact.transforms.planar_solver import derivative, solve

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


# The scalar equation
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_root_is_as_exact_as_its_arguments_for_any_stretch_and_target(dtype):
    near = torch.logspace(-12, -0.01, 60)
    stretch = torch.cat([torch.logspace(-30, 12, 300), 1 - near, 1 + near, 1 + near * 1e3])[:, None]
    spread = 1 + torch.randn(len(stretch), 300) * torch.logspace(-8, 0, 300)
    target = torch.cat(
        [torch.logspace(-30, 12, 300).expand(len(stretch), -1), (stretch - 1).abs() * spread.abs()],
        1,
    )
    stretch, target = stretch.to(dtype), target.to(dtype)
    a = solve(stretch, target)
    assert_close(solve(stretch, -target), -a, rtol=0, atol=0)

    # The error of the root, from its residual in extended precision, in units of what rounding
    # moves it by.
    s, t, x = (v.double().numpy().astype(np.longdouble) for v in (stretch, target, a))
    tanh = np.tanh(x)
    series = sum(
        c * x**n
        for n, c in ((3, 1 / 3), (5, -2 / 15), (7, 17 / 315), (9, -62 / 2835), (11, 1382 / 155925))
    )
    rest = np.where(x < 0.03, series, x - tanh)
    derivative = tanh**2 + s / np.cosh(np.minimum(x, 1e3)) ** 2
    rounding = torch.finfo(dtype).eps * (x + (s * tanh + t) / derivative)
    error = abs(s * tanh + rest - t) / derivative / rounding
    normal = torch.as_tensor(target / stretch > 1e3 * torch.finfo(dtype).tiny).numpy()
    assert error[normal].max() < 8


def test_root_at_the_ends():
    tiny = torch.finfo(torch.float64).tiny
    stretch = torch.tensor([tiny, 1e-3, 1.0, 5.0, 1e20])
    assert solve(stretch, torch.zeros(5)).count_nonzero() == 0
    assert_close(
        solve(stretch[:4], torch.full((4,), 1e4)),
        torch.tensor([1e4 + 1, 1e4 + 0.999, 1e4, 1e4 - 4]),
    )


def test_derivatives_of_the_root_are_exact_to_third_order():
    stretch, target = (
        torch.tensor([0.2, 1.0, 3.0]).requires_grad_(),
        torch.tensor([0.3, -2.0, 4.0]).requires_grad_(),
    )
    assert gradcheck(solve, (stretch, target))
    assert gradgradcheck(solve, (stretch, target))

    def second(target):
        (first,) = torch.autograd.grad(solve(stretch, target).sum(), target, create_graph=True)
        return torch.autograd.grad(first.sum(), target, create_graph=True)[0]

    assert gradcheck(second, target)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_slope_keeps_its_tail_and_never_cancels(dtype):
    a = torch.tensor([0.0, 1e-5, 0.5, 5.0, 15.0, 100.0])[:, None]
    stretch = torch.logspace(-30, 12, 50)[None]
    expected = a.tanh().square() + stretch / a.cosh().square()
    found = derivative(a.to(dtype), a.to(dtype).tanh(), stretch.to(dtype))
    assert_close(found.double(), expected, rtol=20 * torch.finfo(dtype).eps, atol=0)


# Both directions under stress
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5])
@every
def test_inverse_and_ladj(make, dim):
    layer = perturb(make(dim))
    x = torch.randn(6, dim)
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y.clone())
    assert_close((back, -ladj_back), (x, ladj), rtol=1e-8, atol=1e-8)
    assert_close(ladj, torch.stack([log_det(layer, row) for row in x]), rtol=1e-8, atol=1e-8)


@residual
def test_weights_of_size_ten(make):
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
def test_small_and_large_inputs(make, std, size):
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
def test_float32(make, std):
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


@pytest.mark.parametrize("parametrization", ["shifted", "paper"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_planar_at_w_zero_is_a_translation(parametrization, dtype):
    layer = Planar(3, parametrization=parametrization).to(dtype)
    with torch.no_grad():
        layer.theta.w.zero_()
        layer.theta.b.fill_(0.7)
    x = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, x + layer.theta.u * layer.theta.b.tanh())
    assert_close(ladj, torch.zeros_like(ladj), rtol=0, atol=1e-6)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(back, x)
    (y.sum() + ladj.sum() + back.square().sum() + ladj_back.sum()).backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-10, 1e-20, 1e-30])
def test_planar_with_a_vanishing_w_stays_bounded(size):
    """m(w.u) - w.u vanishes with w, and is divided by it: rounding would take over."""
    layer = Planar(3)
    with torch.no_grad():
        layer.theta.w.mul_(size)
        layer.theta.b.fill_(0.7)
    x = torch.randn(5, 3)
    moved, ladj = layer.float().forward_and_ladj(x.float())
    exact, _ = layer.double().forward_and_ladj(x)
    u = layer.theta.u
    assert ((moved - x).norm(dim=-1) < 1.1 * u.norm()).all()
    assert ladj.abs().max() < 10 * size + 1e-6
    if size >= 1e-4:
        assert_close(moved.double(), exact, rtol=0, atol=1e-5)
    assert_close(layer.float().inverse_and_ladj(moved)[0], x.float())


def test_planar_that_nearly_folds_space():
    """w.u = -100: at the hyperplane the determinant is e^-99.5, which 1 + w.u_hat / cosh² would round to 0.

    In float32 it is less than any normal number: the log-determinant ends at -87.3.
    """
    layer = Planar(1)
    with torch.no_grad():
        layer.theta.w.fill_(10)
        layer.theta.u.fill_(-10)
        layer.theta.b.zero_()
    for dtype, least in ((torch.float64, -100 + log(torch.e - 1)), (torch.float32, log(2) * -126)):
        x = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
        y, ladj = layer.to(dtype).forward_and_ladj(x)
        assert_close(ladj, torch.tensor([least], dtype=dtype), rtol=1e-5, atol=0)
        back, ladj_back = layer.inverse_and_ladj(y)
        (ladj + ladj_back + back.sum()).sum().backward()
        assert back.isfinite().all()
        assert ladj_back.isfinite().all()
        assert x.grad.isfinite().all()


@both
@pytest.mark.parametrize("kind", [Planar, Radial])
def test_several_maps_equal_layers_in_a_row(kind, context_dim):
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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("raw_alpha", "raw_sum"), [(0, 0), (5, -40), (-40, 5), (-40, -40), (10, 10)]
)
def test_radial_at_its_centre(raw_alpha, raw_sum, dtype):
    layer = Radial(3).to(dtype)
    with torch.no_grad():
        layer.theta.raw_alpha.fill_(raw_alpha)
        layer.theta.raw_sum.fill_(raw_sum)
    x = layer.theta.center[0].detach().clone().requires_grad_()
    _, alpha, total = layer._theta(None)
    for direction, sign in ((layer.forward_and_ladj, 1), (layer.inverse_and_ladj, -1)):
        y, ladj = direction(x)
        assert_close(y, x)
        assert_close(ladj, sign * 3 * (total / alpha).log()[0], rtol=1e-5, atol=1e-5)
        matrix = jacobian(lambda x, direction=direction: direction(x)[0], x)
        assert_close(matrix, torch.eye(3, dtype=dtype) * (total / alpha) ** sign)
        (y.square().sum() + ladj).backward()
        assert x.grad.isfinite().all()
        assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize(("raw_alpha", "raw_sum"), [(10, -10), (-10, 10)])
def test_radial_keeps_its_digits_next_to_its_centre(raw_alpha, raw_sum):
    """Where the map shrinks ten thousandfold, x plus a multiple of the offset would cancel."""
    layer = Radial(3).float()
    with torch.no_grad():
        for parameter, value in zip(layer.theta.free(), (0, raw_alpha, raw_sum), strict=True):
            parameter.fill_(value)
    for x in (
        1e-3 * torch.randn(100, 3, dtype=torch.float32),
        torch.full((1, 3), 1e-8, dtype=torch.float32),
    ):
        y, ladj = layer.forward_and_ladj(x)
        back, ladj_back = layer.inverse_and_ladj(y)
        assert ((back - x).norm(dim=-1) / x.norm(dim=-1)).max() < 1e-5
        assert (ladj + ladj_back).abs().max() < 1e-5


# Derivatives of the inverse
# -------------------------------------------------------------------------------------------


@both
@every
def test_inverse_gradients_in_output_parameters_and_context(make, context_dim):
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
def test_inverse_has_second_derivatives(make):
    y = torch.randn(1, 2, requires_grad=True)
    assert gradgradcheck(perturb(make(2)).inverse_and_ladj, y)


@both
@residual
def test_parameters_have_the_gradient_of_the_implicit_function(make, context_dim):
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


# Against Pyro, where Pyro is right
# ------------------------------------------------------------------------------------


def test_planar_agrees_with_pyro():
    peer, layer = perturb(peers.Planar(4)), Planar(4, parametrization="paper")
    with torch.no_grad():
        layer.theta.u.copy_(peer.u[None])
        layer.theta.w.copy_(peer.w[None])
        layer.theta.b.copy_(peer.bias)
    x = torch.randn(3, 5, 4)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, peer(x))
    assert_close(ladj, peer.log_abs_det_jacobian(x, peer(x)))


def test_radial_agrees_with_pyro():
    peer, layer = perturb(peers.Radial(4)), perturb(Radial(4))
    _, alpha, total = layer._theta(None)
    with torch.no_grad():
        peer.x0.copy_(layer.theta.center[0])
        peer.alpha_prime.copy_(alpha.expm1().log())
        peer.beta_prime.copy_(total.expm1().log())
    x = torch.randn(3, 5, 4)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(y, peer(x))
    assert_close(ladj, peer.log_abs_det_jacobian(x, peer(x)))


# Shapes
# ---------------------------------------------------------------------------------------------------------------


@given(
    dim=st.integers(1, 6),
    batch=st.lists(st.integers(0, 3), max_size=2),
    context_dim=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
@every
def test_shapes_and_values(make, dim, batch, context_dim, seed):
    torch.manual_seed(seed)
    layer = perturb(make(dim, context_dim))
    context = None if context_dim is None else torch.randn(*batch, context_dim)
    x = torch.randn(*batch, dim)
    y, ladj = layer.forward_and_ladj(x, context)
    back, ladj_back = layer.inverse_and_ladj(y, context)
    assert y.shape == back.shape == x.shape
    assert ladj.shape == ladj_back.shape == tuple(batch)
    assert_close((back, ladj_back), (x, -ladj), rtol=1e-7, atol=1e-7)


# Sylvester
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize("variant", ["orthogonal", "householder", "triangular"])
def test_sylvester_columns_are_orthonormal(variant, context_dim):
    layer = perturb(Sylvester(6, 4, variant, context_dim), 3)
    context = None if context_dim is None else torch.randn(5, context_dim)
    q = layer._theta(torch.randn(6), context)[1]
    assert_close(q.mT @ q, torch.eye(4).expand(*q.shape[:-2], 4, 4), rtol=0, atol=1e-12)


def test_sylvester_is_smooth_where_qr_changes_its_signs():
    """LAPACK flips the sign of a column when the first entry of the matrix changes sign."""
    layer = perturb(Sylvester(3, 2))
    x = torch.randn(10, 3)
    outputs = []
    for entry in (-1e-9, 1e-9):
        with torch.no_grad():
            layer.theta.q[0, 0] = entry
        outputs.append(layer.forward_and_ladj(x)[0])
    assert_close(*outputs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("raw", [5.0, 20.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_sylvester_with_diagonals_at_their_bounds(raw, dtype):
    """R_ii = 1, S_ii = -1 in floating point: 1 + R_ii S_ii would be 0, and the log-determinant infinite at a = 0."""
    layer = Sylvester(3, 3, "triangular").to(dtype)
    with torch.no_grad():
        layer.theta.r.fill_diagonal_(raw)
        layer.theta.s.fill_diagonal_(-raw)
    x = torch.cat([torch.zeros(1, 3), torch.randn(9, 3)]).to(dtype).requires_grad_()
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(layer.forward_and_ladj(back)[0], y)
    (y.sum() + ladj.sum() + back.sum() + ladj_back.sum()).backward()
    assert ladj.isfinite().all()
    assert ladj_back.isfinite().all()
    if raw == 5:
        assert_close(
            ladj[0],
            torch.tensor(3 * log(1 - float(np.tanh(5.0)) ** 2), dtype=dtype),
            rtol=1e-4,
            atol=0,
        )


# Linear layers
# --------------------------------------------------------------------------------------------------------


@both
def test_householder_is_orthogonal(context_dim):
    layer = perturb(Householder(5, 4, context_dim))
    context = None if context_dim is None else torch.randn(context_dim)
    q, ladj = layer.forward_and_ladj(
        torch.eye(5), None if context is None else context.expand(5, -1)
    )
    assert_close(q @ q.mT, torch.eye(5), rtol=0, atol=1e-12)
    assert ladj.count_nonzero() == 0


def test_householder_with_vectors_of_zeros_is_the_identity():
    layer = Householder(3, 2)
    torch.nn.init.zeros_(layer.theta.v)
    x = torch.randn(4, 3, requires_grad=True)
    y, _ = layer.forward_and_ladj(x)
    assert_close(y, x, rtol=0, atol=0)
    y.square().sum().backward()
    assert layer.theta.v.grad.isfinite().all()


def test_linear_lu_starts_as_a_rotation():
    layer = LinearLU(6)
    w, ladj = layer.forward_and_ladj(torch.eye(6))
    assert_close(w @ w.mT, torch.eye(6))
    assert_close(ladj, torch.zeros(6))


@both
@every
def test_autocast_rounds_nothing(make, context_dim):
    layer = perturb(make(16, None)).float()
    x = torch.randn(20, 16, dtype=torch.float32)
    y, ladj = layer.forward_and_ladj(x)
    with torch.autocast("cpu", torch.bfloat16):
        cast = layer.forward_and_ladj(x)
        back, _ = layer.inverse_and_ladj(y)
    assert_close(cast, (y, ladj), rtol=1e-5, atol=1e-5)
    assert_close(back, x, rtol=1e-4, atol=1e-4)


# Batch normalisation
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_dim", "shape"), [(1, (50, 3)), (1, (5, 10, 3)), (3, (7, 3, 4, 2)), (3, (3, 4, 2))]
)
def test_batch_norm_in_training_normalises_the_batch(event_dim, shape):
    layer = BatchNorm(3, event_dim, epsilon=1e-8)
    x = 5 + 3 * torch.randn(shape)
    y, ladj = layer.forward_and_ladj(x)
    assert y.shape == shape
    assert ladj.shape == shape[: len(shape) - event_dim]
    values = y.movedim(-event_dim, 0).flatten(1)
    assert_close(values.mean(1), torch.zeros(3))
    assert_close(values.std(1, correction=0), torch.ones(3))


def test_batch_norm_sends_gradients_through_the_statistics():
    layer = BatchNorm(2)
    assert gradcheck(layer.forward_and_ladj, torch.randn(5, 2, requires_grad=True))
    x = torch.randn(5, 2, requires_grad=True)
    layer.forward_and_ladj(x)[0].sum().backward()
    assert_close(x.grad, torch.zeros(5, 2))  # the mean of the outputs is 0 whatever x is


def test_batch_norm_moves_its_averages_in_train_mode_only():
    layer = BatchNorm(2, momentum=0.25)
    x = 5 + 3 * torch.randn(50, 2)
    for _ in range(100):
        layer(x)
    assert_close(layer.running_mean, x.mean(0))
    assert_close(layer.running_variance, x.var(0, correction=0))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.inv(x.clone())
    layer.eval()(2 * x)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    other = BatchNorm(2).eval()
    other.load_state_dict(layer.state_dict())
    assert_close(other(x.clone()), layer(x), rtol=0, atol=0)


def test_the_inverse_of_batch_norm_in_training_undoes_the_last_batch():
    """Of the very output, which memory knows, as of a copy; also within other layers, and for the density."""
    for layer in (BatchNorm(2), Compose([ActNorm(2), BatchNorm(2), Permute([1, 0])])):
        x = 5 + 3 * torch.randn(50, 2)
        y = layer(x)
        assert_close(layer.inv(y.clone()), x)
        assert_close(layer.inv(y), x)

        d = TransformedDistribution(Normal(torch.zeros(2), 1.0).to_event(1), [layer])
        sample = d.sample((50,))
        assert_close(d.log_prob(sample), d.log_prob(sample.clone()))


def test_batch_norm_in_evaluation_is_a_bijection():
    layer = BatchNorm(2).eval()
    layer.running_mean.normal_()
    layer.running_variance.uniform_(0.5, 2)
    x = torch.randn(2)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(layer.inverse_and_ladj(y), (x, -ladj))
    assert_close(ladj, log_det(layer, x))


def test_batch_norm_can_be_initialised():
    layer = BatchNorm(2, epsilon=1e-8)
    x = 5 + 3 * torch.randn(50, 2)
    y = layer.initialize(x)
    assert_close(y.std(0, correction=0), torch.ones(2))
    assert_close(layer.eval()(x), y)


def test_a_container_initialises_batch_norm_once():
    """In training mode a second pass would move the averages away from what they were set to."""
    alone, inner = BatchNorm(2, 3), BatchNorm(2, 3)
    whole = FactorOut((4, 2, 2), Compose([inner, Flatten((2, 2, 2))]))
    x = 5 + 3 * torch.randn(20, 4, 2, 2)
    y = whole.initialize(x)
    alone.initialize(x[:, :2])
    assert_close(inner.state_dict(), alone.state_dict(), rtol=0, atol=0)
    assert_close(y, whole.eval()(x))


def test_batch_norm_refuses_a_batch_of_one_in_training():
    layer = BatchNorm(2)
    for shape in ((2,), (1, 2), (0, 2)):
        with pytest.raises(ValueError, match="at least two values per channel in train mode"):
            layer(torch.randn(shape))
    assert layer.eval()(torch.randn(1, 2)).shape == (1, 2)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_traces_into_one_graph(training):
    torch._dynamo.reset()
    layer, other = BatchNorm(3).train(training), BatchNorm(3).train(training)
    x = torch.randn(4, 3)
    traced = torch.compile(layer.forward_and_ladj, fullgraph=True, backend="eager")
    assert_close(traced(x), other.forward_and_ladj(x))
    assert_close(layer.state_dict(), other.state_dict())


# Builders
# -------------------------------------------------------------------------------------------------------------

BUILDERS = {
    "planar": flows.planar,
    "radial": flows.radial,
    "sylvester": lambda dim, length, c=None: flows.sylvester(dim, length, 2, context_dim=c),
    "sylvester householder": lambda dim, length, c=None: flows.sylvester(
        dim, length, dim, "householder", c
    ),
    "sylvester triangular": lambda dim, length, c=None: flows.sylvester(
        dim, length, dim, "triangular", c
    ),
}


@both
@pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))
def test_builders_make_a_flow_that_starts_random_and_near_the_identity(build, context_dim):
    flow = build(10, 4, context_dim)
    assert flow.context_shape == (None if context_dim is None else (context_dim,))
    context = None if context_dim is None else torch.randn(30, context_dim)
    x = torch.randn(30, 10)
    y, ladj = flow.forward_and_ladj(x, context)
    assert 1e-3 < (y - x).norm(dim=-1).mean() < x.norm(dim=-1).mean()
    assert ladj.std() > 1e-4
    assert_close(flow.inverse_and_ladj(y, context), (x, -ladj), rtol=1e-8, atol=1e-8)


def test_sylvester_alternates_the_permutation_of_the_triangular_variant():
    def reverses(flow):
        return [layer.reverse for layer in flow.modules() if isinstance(layer, Sylvester)]

    assert reverses(flows.sylvester(4, 4, 4, "triangular")) == [False, True, False, True]
    assert not any(reverses(flows.sylvester(4, 4, 4)))


def test_flows_learn_a_density_by_their_inverses():
    """Pyro's planar flow cannot even score these points."""
    x = torch.randn(200, 2) * torch.tensor([0.3, 1.5]) + torch.tensor([1.0, -1.0])
    flow = flows.planar(2, 4)
    d = TransformedDistribution(Normal(torch.zeros(2), torch.ones(2)).to_event(1), [flow])
    optimizer = torch.optim.Adam(flow.parameters(), 0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -d.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5


# Errors
# ---------------------------------------------------------------------------------------------------------------


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
def test_what_does_not_fit_is_said(make, match):
    with pytest.raises(ValueError, match=match):
        make()
