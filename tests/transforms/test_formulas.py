"""Formulas of one element where it hurts: parameters of any size, inputs of any size, both precisions, and the ends."""

import math

import pytest
import torch
from torch import nn
from torch.autograd import gradgradcheck
from torch.testing import assert_close

from pyro_exact.transforms import (
    Bernstein,
    CircularSpline,
    DeepSigmoidal,
    DenseSigmoidal,
    Exponential,
    LambertW,
    LinearRationalSpline,
    Marginal,
    MonotoneNetwork,
    NormalMixtureCDF,
    SignedPower,
    SinhArcsinh,
    SoftClip,
    Softplus,
    SumOfSquares,
)
from pyro_exact.transforms.lambert_w import lambert_w
from pyro_exact.transforms.normal_mixture_cdf import log_cdf_and_hazard, lower_quantile

pytestmark = pytest.mark.usefixtures("double")


def network():
    made = MonotoneNetwork(3, (6, 6))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


FORMULAS = {
    "Bernstein": Bernstein,
    "Bernstein identity": lambda: Bernstein(9, bound=3.0, tails="identity"),
    "DeepSigmoidal": lambda: DeepSigmoidal(5),
    "DenseSigmoidal": lambda: DenseSigmoidal(4, 3, units=3),
    "LambertW": LambertW,
    "LinearRationalSpline": lambda: LinearRationalSpline(5),
    "MonotoneNetwork": network,
    "NormalMixtureCDF": lambda: NormalMixtureCDF(5),
    "SignedPower": SignedPower,
    "SinhArcsinh": SinhArcsinh,
    "SumOfSquares": SumOfSquares,
}
every_formula = pytest.mark.parametrize("make", FORMULAS.values(), ids=list(FORMULAS))
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@dtypes
@pytest.mark.parametrize("size", [1, 10], ids=lambda size: f"theta of size {size}")
@every_formula
def test_formula_inverts_for_large_parameters_and_inputs_of_any_size(make, size, dtype):
    """The image of the inverse is y, to the rounding of y and of the parameters, and of x times the slope."""
    formula = make().to(dtype)
    for scale in (1e-8, 1, 10, 1e4):
        x = (scale * torch.randn(500)).to(dtype)
        theta = (size * torch.randn(500, formula.num_params)).to(dtype)
        y, ladj = formula.forward_and_ladj(x, theta)
        back, ladj_back = formula.inverse_and_ladj(y, theta)
        again, ladj_again = formula.forward_and_ladj(back, theta)

        assert torch.cat((y, ladj, back, ladj_back)).isfinite().all()
        stretched = ladj_again.exp() * (3 + back.abs())
        unit = torch.finfo(dtype).eps * (3 + y.abs() + theta.abs().amax(-1) + stretched)
        assert ((again - y).abs() / unit).max() < 30
        single = dtype == torch.float32
        assert_close(ladj_back, -ladj_again, rtol=1e-5, atol=1e-3 if single else 1e-8)


def pick(sizes, *shape):
    """Draw elements of the given sizes and of either sign."""
    return sizes[torch.randint(len(sizes), shape)] * torch.randn(shape).sign()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@every_formula
def test_formula_is_finite_at_extreme_parameters_and_inputs(make, dtype):
    formula = make().to(dtype)
    sizes = torch.tensor([0, 1e-40, 1e-30, 1e-8, 0.5, 1, 2.9999999, 3, 10, 1e4, 1e8])
    x = pick(sizes, 1000).to(dtype).requires_grad_()
    parameters = torch.tensor([0, 1, 10, 90, 1e4, 1e9])
    theta = pick(parameters, 1000, formula.num_params).to(dtype).requires_grad_()

    y, ladj = formula.forward_and_ladj(x, theta)
    outputs = (y, ladj), formula.inverse_and_ladj(x, theta)
    for value, slope in (*outputs, formula.inverse_and_ladj(y.detach(), theta)):
        assert value.dtype == slope.dtype == torch.promote_types(dtype, torch.float32)
        assert value.isfinite().all()
        assert slope.isfinite().all()

    gradients = torch.autograd.grad((y.clamp(-1e4, 1e4) + ladj).sum(), [x, theta])
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_formula
def test_inverse_has_its_second_derivatives(make):
    formula = make()
    y, theta = torch.randn(2), torch.randn(2, formula.num_params)
    assert gradgradcheck(formula.inverse_and_ladj, (y.requires_grad_(), theta.requires_grad_()))


CLOSE = {"DeepSigmoidal": 0.3, "DenseSigmoidal": 0.3, "LambertW": 0.3, "NormalMixtureCDF": 0.4}
CLOSE |= {"SumOfSquares": 0.02}


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"MonotoneNetwork"}))
def test_zero_parameters_are_close_to_the_identity(name):
    formula, x = FORMULAS[name](), torch.linspace(-3, 3, 101)
    y, ladj = formula.forward_and_ladj(x, torch.zeros(101, formula.num_params))
    assert_close(y, x, rtol=0, atol=CLOSE.get(name, 1e-12))
    assert_close(ladj, torch.zeros(101), rtol=0, atol=CLOSE.get(name, 1e-12))


def test_a_new_monotone_network_is_the_identity():
    formula, x = MonotoneNetwork(), torch.linspace(-50, 50, 101)
    y, ladj = formula.forward_and_ladj(
        x, torch.randn(101, formula.num_params).index_fill(1, torch.tensor([0]), 0)
    )
    assert_close((y, ladj), (x, torch.zeros(101)))


SYMMETRIC = {"DeepSigmoidal", "DenseSigmoidal", "NormalMixtureCDF", "SumOfSquares"}


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_equal_parts_of_a_formula_get_different_gradients(name):
    """At zero, where a new conditioner is: else they would stay equal for ever."""
    formula = FORMULAS[name]()
    theta = torch.zeros(1, formula.num_params, requires_grad=True)
    y, ladj = formula.forward_and_ladj(torch.tensor([0.7]), theta)
    (gradient,) = torch.autograd.grad((y**2 - ladj).sum(), theta)
    # Of sum-of-squares the constant terms alone differ by the spread of the linear ones.
    assert len(gradient[0].unique()) > formula.num_params // 2


@dtypes
@pytest.mark.parametrize("components", [1, 2, 8])
def test_normal_mixture_is_exact_far_into_its_tails(components, dtype):
    """Where a distribution function in float64 has rounded to 0 or 1 since 8 standard deviations."""
    formula = NormalMixtureCDF(components).to(dtype)
    x = torch.tensor([-1e6, -300.0, -40.0, -9.0, 0.0, 9.0, 40.0, 300.0, 1e6], dtype=dtype)
    theta = torch.randn(3 * components, dtype=dtype).expand(9, -1)
    y, ladj = formula.forward_and_ladj(x, theta)
    exact = formula.forward_and_ladj(x.double(), theta.double())
    assert_close((y, ladj), exact, rtol=2e-5, atol=2e-5, check_dtype=False)
    back, _ = formula.inverse_and_ladj(y, theta)
    assert_close(formula.forward_and_ladj(back, theta)[0], y, rtol=2e-6, atol=2e-6)


def test_the_normal_hazard_and_quantile_are_those_of_many_digits():
    mpmath = pytest.importorskip("mpmath")
    z = torch.tensor([-1e6, -40.0, -6.0001, -6.0, -5.9999, -1.0, 0.0, 2.0, 8.0])
    log_cdf, log_hazard = log_cdf_and_hazard(z)
    with mpmath.workdps(50):
        expected = [
            mpmath.log(mpmath.ncdf(v)) if v > -1e3 else mpmath.mpf("nan") for v in z.tolist()
        ]
        hazard = [mpmath.log(mpmath.npdf(v)) - e for v, e in zip(z.tolist(), expected, strict=True)]
    near = z > -1e3
    assert_close(
        log_cdf[near], torch.tensor([float(v) for v in expected])[near], rtol=1e-13, atol=0
    )
    found = torch.tensor([float(v) for v in hazard])[near]
    assert_close(log_hazard[near], found, rtol=1e-12, atol=1e-12)
    assert_close(log_hazard[0], torch.tensor(1e6 + 1e-6).log())
    assert_close(lower_quantile(log_cdf[z <= 0]), z[z <= 0])


def test_lambert_w_is_the_inverse_of_its_definition():
    w = torch.cat((torch.zeros(1), torch.logspace(-300, 2.8, 2000)))
    q = w * w.exp()
    assert_close(lambert_w(q), w, rtol=1e-14, atol=0)


@dtypes
def test_formulas_of_an_interval_go_on_along_their_tangents(dtype):
    """Just within and just outside of the bound value and slope agree."""
    for formula in (Bernstein(7), SumOfSquares(), network(), LinearRationalSpline(4, bound=5.0)):
        formula = formula.to(dtype)
        for end in (-formula.bound, formula.bound):
            theta = torch.randn(formula.num_params, dtype=dtype).expand(2, -1)
            x = torch.tensor([end * (1 - 1e-6), end * (1 + 1e-6)], dtype=dtype)
            y, ladj = formula.forward_and_ladj(x, theta)
            width = x[1] - x[0]
            assert_close(y[1] - y[0], width * ladj.exp()[1], rtol=0.1, atol=1e-5)
            if not isinstance(formula, LinearRationalSpline):
                assert_close(ladj[0], ladj[1], rtol=0, atol=1e-3)


def test_the_quadrature_of_a_monotone_network_is_the_integral():
    integrate = pytest.importorskip("scipy.integrate")
    formula, theta = network(), torch.randn(1, 4)

    def slope(u):
        return formula.forward_and_ladj(torch.tensor([u]), theta)[1].exp().item()

    for x in (-9.0, -0.3, 4.0, 10.0):
        y, _ = formula.forward_and_ladj(torch.tensor([x]), theta)
        area, _ = integrate.quad(slope, 0, x, epsabs=1e-12, epsrel=1e-12, limit=200)
        assert abs(y.item() - theta[0, 0].item() - area) < 1e-9


# The circle
# ----------------------------------------------------------------------------------------------------


def test_a_circle_is_closed():
    """On both sides of the cut lie neighbours, with the same slope, and a full turn changes nothing."""
    formula = CircularSpline(5)
    theta = torch.randn(formula.num_params).expand(2, -1)
    ends = torch.tensor([-math.pi, math.pi - 1e-12])
    y, ladj = formula.forward_and_ladj(ends, theta)
    assert_close((y[1].cos(), y[1].sin()), (y[0].cos(), y[0].sin()))
    assert_close(ladj[0], ladj[1])

    x = torch.tensor([0.5, 0.5 + 6 * math.pi])
    y, ladj = formula.forward_and_ladj(x, theta)
    assert_close((y[0], ladj[0]), (y[1], ladj[1]))


@dtypes
def test_a_circle_maps_to_itself_once(dtype):
    formula = CircularSpline(6, bound=2.0).to(dtype)
    x = torch.linspace(-2, 2, 100_001, dtype=dtype)[:-1]
    theta = (3 * torch.randn(formula.num_params)).to(dtype).expand(len(x), -1)
    y, ladj = formula.forward_and_ladj(x, theta)
    assert y.min() >= -2
    assert y.max() <= 2
    assert abs(ladj.exp().mean().item() - 1) < 1e-2  # the slopes add up to one turn
    back, _ = formula.inverse_and_ladj(y, theta)
    again, ladj = formula.forward_and_ladj(back, theta)
    distance = (again - y).abs()
    rounding = 30 * torch.finfo(dtype).eps * (1 + ladj.exp())
    assert (torch.minimum(distance, 4 - distance) <= rounding).all()


# The ends of intervals
# ----------------------------------------------------------------------------------------------------


@dtypes
def test_soft_clip_at_and_beyond_its_ends(dtype):
    layer = SoftClip(2.0, event_dim=0)
    x = torch.tensor([0.0, 1.0, 1e4, 1e30, -1e30], dtype=dtype)
    y, ladj = layer.forward_and_ladj(x)
    assert y.abs().max() <= 2
    assert ladj.isfinite().all()

    inner = x[:3]
    assert_close(layer.inverse_and_ladj(y[:3])[0], inner, rtol=1e-2, atol=1e-6)
    outside = torch.tensor([2.0, -2.0, 2.001, -3.0], dtype=dtype)
    back, _ = layer.inverse_and_ladj(outside)
    assert back[:2].tolist() == [math.inf, -math.inf]
    assert back[2:].isnan().all()
    assert layer.codomain.check(y).all()


@dtypes
@pytest.mark.parametrize("layer", [Exponential(0), Softplus(0)], ids=["Exponential", "Softplus"])
def test_positive_layers_at_and_beyond_zero(layer, dtype):
    x = torch.tensor([-1e4, -80.0, 0.0, 1e-8, 20.0, 80.0], dtype=dtype)
    y, ladj = layer.forward_and_ladj(x)
    assert (y > 0).all()
    assert ladj.isfinite().all()
    back, ladj_back = layer.inverse_and_ladj(y[1:])
    assert_close((back, ladj_back), (x[1:], -ladj[1:]), rtol=1e-6, atol=1e-6)
    assert layer.inverse_and_ladj(torch.tensor([0.0, -1.0], dtype=dtype))[0].isnan().all()
    assert layer.codomain.check(y).all()


def test_softplus_is_exact_where_the_stock_function_stops():
    x = torch.tensor([21.0, 30.0, 40.0])
    y, _ = Softplus(0).forward_and_ladj(x)
    assert_close(y - x, (-x).exp().log1p(), rtol=1e-6, atol=1e-14)
    assert_close(Softplus(0).inverse_and_ladj(y)[0], x, rtol=0, atol=0)


# Arguments
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bernstein(4), "Bernstein expects degree from 5 to 64; got 4"),
        (lambda: Bernstein(tails="flat"), "expects tails 'linear' or 'identity'; got 'flat'"),
        (lambda: DeepSigmoidal(0), "DeepSigmoidal expects width from 1"),
        (lambda: DenseSigmoidal(units=0), "DenseSigmoidal expects units from 1"),
        (lambda: MonotoneNetwork(nodes=3), "MonotoneNetwork expects nodes from 4 to 256; got 3"),
        (lambda: SumOfSquares(degree=33), "SumOfSquares expects degree from 1 to 32; got 33"),
        (lambda: NormalMixtureCDF(0), "NormalMixtureCDF expects components from 1"),
        (lambda: SinhArcsinh(bound=2), "SinhArcsinh expects bound as a finite number"),
        (lambda: LambertW(3), "LambertW expects max_tail as a finite number"),
        (lambda: SignedPower(0), "SignedPower expects bound as a finite number"),
        (lambda: SoftClip(0), "SoftClip expects bound as a finite number"),
        (lambda: Exponential(-1), "Exponential expects event_dim from 0"),
        (lambda: CircularSpline(0), "expects bins from 1"),
        (lambda: Marginal(Bernstein(), ()), "Marginal expects shape of at least one size"),
    ],
)
def test_a_bad_argument_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_marginal_refuses_a_class_in_place_of_a_formula():
    with pytest.raises(TypeError, match="Marginal expects elementwise as an Elementwise; got"):
        Marginal(Bernstein, 3)
