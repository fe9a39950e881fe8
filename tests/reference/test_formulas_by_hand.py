"""The formulas of one element against numbers worked out by hand from the papers."""

from math import atanh, exp, expm1, log, pi, sqrt

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.transforms import (
    Bernstein,
    CircularSpline,
    DeepSigmoidal,
    DenseSigmoidal,
    Elementwise,
    Exponential,
    LambertW,
    LinearRationalSpline,
    MonotoneNetwork,
    NormalMixtureCDF,
    SignedPower,
    SinhArcsinh,
    SoftClip,
    Softplus,
    SumOfSquares,
)

pytestmark = pytest.mark.usefixtures("double")


def check(formula: Elementwise, theta, x, y, ladj):
    """Both directions map as said, each element with the same parameters."""
    x, y, ladj, theta = (torch.tensor(value) for value in (x, y, ladj, theta))
    theta = theta.expand(*x.shape, -1)
    assert_close(formula.forward_and_ladj(x, theta), (y, ladj), rtol=1e-12, atol=1e-12)
    assert_close(formula.inverse_and_ladj(y, theta), (x, -ladj), rtol=1e-12, atol=1e-12)


def before_softplus(value, least):
    """The parameter of a slope: least + softplus(parameter + offset) is the value, and 1 at zero."""
    return log(expm1(value - least)) - log(expm1(1 - least))


def before_tanh(value, bound):
    return bound * atanh(value / bound)


# Of degree 5 on [-1, 1], with the differences 2, 2, 1, 1/2, 1/2 times 2/5, from -1/2:
# the coefficients are -0.5, 0.3, 1.1, 1.5, 1.7, 1.9.
# At 0, t = 1/2: y = (-0.5 + 5 0.3 + 10 1.1 + 10 1.5 + 5 1.7 + 1.9) / 32 = 37.4 / 32,
#                slope = 5/2 (0.8 + 4 0.8 + 6 0.4 + 4 0.2 + 0.2) / 16 = 37 / 32.
# The tangents at the ends have the slopes 5/2 0.8 = 2 and 5/2 0.2 = 1/2.
def test_bernstein():
    theta = [0.5, *(before_softplus(v, 1e-3) for v in (2, 1, 0.5))]
    y, slopes = [-2.5, 37.4 / 32, 2.9], [2, 37 / 32, 0.5]
    check(Bernstein(5, bound=1.0), theta, [-2.0, 0.0, 3.0], y, [log(s) for s in slopes])


# Of degree 6 on [-1, 1], where the two free differences share 2/3 as 1 : 3. The coefficients are
# -1, -2/3, -1/3, -1/3 + 1/6, 1/3, 2/3, 1, and at t = 1/2
#     y = (-1 - 6 2/3 - 15 1/3 - 20 1/6 + 15 1/3 + 6 2/3 + 1) / 64 = -20 / 6 / 64,
#     slope = 6/2 (1/3 (1 + 5 + 5 + 1) + 10 1/6 + 10 1/2) / 32 = 3 (4 + 20/3) / 32 = 1.
def test_bernstein_with_tails_of_the_identity():
    least = 1e-3
    fraction = (1 / 4 - least / 2) / (1 - least)
    theta = [log(fraction), log(1 - fraction)]
    formula = Bernstein(6, bound=1.0, tails="identity")
    check(formula, theta, [-3.0, 0.0, 1.5], [-3.0, -20 / 6 / 64, 1.5], [0.0, 0.0, 0.0])


# On [-1, 1] with the knots (-1, -1), (0, 0), (1, 1), the derivatives 1, 2, 1 and shares of 1/2.
# Left bin: w1 = sqrt(1/2), wc = 1/2 + sqrt(1/2), c = sqrt 2 - 1, wc c = 1/2. At xi = 1/4
#     y = -1 + 1/8 / (1/4 + wc / 4) = -1 + 1 / (3 + sqrt 2), slope = 1/4 / ((3 + sqrt 2) / 8)².
# The right bin is its image by a half turn.
def test_linear_rational_spline():
    theta = [0.0] * 4 + [before_softplus(2, 1e-3)] + [0.0] * 2
    y, slope = -1 + 1 / (3 + sqrt(2)), 16 / (3 + sqrt(2)) ** 2
    formula = LinearRationalSpline(2, bound=1.0)
    x = [-0.75, 0.0, 0.75, 2.0]
    check(formula, theta, x, [y, 0.0, -y, 2.0], [log(slope), log(2), log(slope), 0.0])


# One bin on [-1, 1] with the derivative 2 at both ends. At 0, xi = 1/2: D = 1/2 + 4 1/4 = 3/2, y = 0,
# slope = (2/4 + 2/4 + 2/4) / (3/2)² = 2/3. Turned by 3/2, 0 is at -1/2.
def test_circular_spline():
    theta = [0.0, 0.0, before_softplus(2, 1e-3), 1.5]
    check(CircularSpline(1, bound=1.0), theta, [0.0], [-0.5], [log(2 / 3)])
    check(CircularSpline(3), [0.0] * 9 + [pi], [1.0, -1.0], [1 - pi, pi - 1], [0.0, 0.0])


# With w = 1/4, 3/4, a = 2, 1/2 and b = 2, -1 it is the logit of a mixture of logistics with the means
# -1, 2 and the scales 1/2, 2. The numbers are those of `MixtureCDF` in test_elementwise_by_hand.
def test_deep_sigmoidal():
    a, b, places = [2, 0.5], [2, -1], [-0.5, 0.5]
    log_a = [before_tanh(log(value), 5) for value in a]
    offsets = [b + a * place for a, b, place in zip(a, b, places, strict=True)]
    theta = [*log_a, *offsets, log(1 / 4), log(3 / 4)]
    y = [-31 + log(3 / 4), 0.1147615837229035641, 29 - log(3 / 4)]
    slopes = [-log(2), -0.94389490090583581, -log(2)]
    check(DeepSigmoidal(2), theta, [-60.0, 1.0, 60.0], y, slopes)


# With one sigmoid a layer is affine: y = 3 (2 x + 1) - 1.
def test_dense_sigmoidal_of_width_one_is_affine():
    log_a = [before_tanh(log(value), 5) for value in (2, 3)]
    theta = [log_a[0], 1.0, 0.7, -0.3, log_a[1], -1.0, 0.2, 0.4, -2.0]
    theta = theta[:4] + theta[4:6] + theta[6:7] + theta[7:]
    check(DenseSigmoidal(1, 2, units=2), theta, [-50.0, 2.0], [-298.0, 14.0], [log(6)] * 2)


def test_dense_sigmoidal_of_one_unit_is_a_chain():
    x, theta = torch.randn(5), torch.randn(5, 24)
    once = DeepSigmoidal(4)
    middle, first = once.forward_and_ladj(x, theta[:, :12])
    y, second = once.forward_and_ladj(middle, theta[:, 12:])
    assert_close(DeepSigmoidal(4, 2).forward_and_ladj(x, theta), (y, first + second))


# The integrand is exp(m tanh(c / m)), with the bias c of the last layer: constant.
def test_monotone_network_with_a_constant_integrand():
    formula = MonotoneNetwork(2, (3,))
    torch.nn.init.constant_(formula.layers[-1].bias, before_tanh(log(3), 5))
    check(formula, [1.0, 0.2, -0.7], [-20.0, 2.0], [-59.0, 7.0], [log(3)] * 2)


# p(u) = 2 + 3 u / 2 and g = 1/2 + p² / 2, so that y = 1 + x / 2 + (4 x + 3 x² + 3/4 x³) / 2; beyond 2, where
# y = 15 and g = 13, a straight line.
def test_sum_of_squares():
    formula = SumOfSquares(1, 1, bound=2.0, min_slope=0.5)
    check(formula, [1.0, 1.0, 3.0], [1.0, 3.0], [5.375, 28.0], [log(6.625), log(13)])


def test_normal_mixture_of_one_component_is_affine():
    theta = [0.3, 1.0, before_tanh(log(2), 5)]
    check(NormalMixtureCDF(1), theta, [-1e6, 5.0], [-500000.5, 2.0], [-log(2)] * 2)


# Two components at -3 and 3 with the scale 2: at 0, F = 1/2 and F' = phi(3/2) / 2, so the slope is
# exp(-9/8) / 2.
def test_normal_mixture_between_two_components():
    theta = [0.0, 0.0, -2.5, 2.5, *[before_tanh(log(2), 5)] * 2]
    check(NormalMixtureCDF(2), theta, [0.0], [0.0], [-9 / 8 - log(2)])


def test_normal_mixture_far_into_its_tails():
    """At -60 and 60, where F and 1 - F are of order e^-500, by 40 digits."""
    mpmath = pytest.importorskip("mpmath")
    theta = [log(1 / 4), log(3 / 4), -0.5, 1.5, before_tanh(-log(2), 5), before_tanh(log(2), 5)]

    def expected(x):
        cdf, pdf = mpmath.ncdf, mpmath.npdf
        tail = mpmath.mpf(1) / 4 * cdf(2 * (-abs(x) + (1 if x < 0 else -1) * 1))
        tail += mpmath.mpf(3) / 4 * cdf((-abs(x) + (-2 if x < 0 else 2)) / mpmath.mpf(2))
        density = pdf(2 * (x + 1)) / 2 + 3 * pdf((x - 2) / mpmath.mpf(2)) / 8
        y = mpmath.findroot(lambda y: mpmath.log(cdf(y)) - mpmath.log(tail), -abs(x) / 2)
        return float(y if x < 0 else -y), float(mpmath.log(density) - mpmath.log(pdf(y)))

    with mpmath.workdps(60):
        values = [expected(mpmath.mpf(x)) for x in (-60, 60)]
    y, ladj = zip(*values, strict=True)
    check(NormalMixtureCDF(2), theta, [-60.0, 60.0], list(y), list(ladj))


# sinh(2 arsinh x) = 2 x sqrt(1 + x²): at 3/4 this is 15/8, with the slope 2 cosh(2 s) / cosh(s) = 2 17/8 / (5/4).
# sinh(log 2) = 3/4, with the slope cosh(log 2) = 5/4.
def test_sinh_arcsinh():
    check(SinhArcsinh(), [0.0, atanh(log(2))], [0.75], [1.875], [log(3.4)])
    check(SinhArcsinh(), [before_tanh(log(2), 5), 0.0], [0.0], [0.75], [log(1.25)])


# delta = 1/4 to the left and 1/2 to the right: x = -2 e^{1/2} and e^{1/4}, with dx/dy = e^{1/2} 2 and e^{1/4} 3/2.
def test_lambert_w():
    x, y = [-2 * exp(0.5), exp(0.25)], [-2.0, 1.0]
    check(LambertW(), [4 - log(3), 4.0], x, y, [-0.5 - log(2), -0.25 - log(1.5)])


# Beyond a stretch of e^64 the tail is a straight line.
def test_lambert_w_far_out():
    check(LambertW(), [4.0, 4.0], [1000 * exp(64)], [1000.0], [-64.0])


def test_signed_power():
    check(SignedPower(), [atanh(log(2))], [-3.0, 0.5], [-9.0, 0.25], [log(6), 0.0])


def test_soft_clip_exponential_and_softplus():
    for layer, x, y, ladj in (
        (SoftClip(2.0), [6.0, -2.0], [1.5, -1.0], -2 * log(4) - 2 * log(2)),
        (Exponential(), [0.0, 2.0], [1.0, exp(2)], 2.0),
        (Softplus(), [log(expm1(1)), 0.0], [1.0, log(2)], log(1 - exp(-1)) - log(2)),
    ):
        x, y, ladj = (torch.tensor(value) for value in (x, y, ladj))
        assert_close(layer.forward_and_ladj(x), (y, ladj))
        assert_close(layer.inverse_and_ladj(y), (x, -ladj))
