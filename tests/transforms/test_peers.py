"""Formulas and linear layers beside those of Pyro, zuko and nflows with equal parameters."""

import math

import pytest
import torch
from pyro.distributions import transforms as stock
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.transforms import (
    Bernstein,
    DeepSigmoidal,
    DiscreteCosine,
    Haar,
    LinearQR,
    LinearRationalSpline,
    LinearSVD,
    LinearTriangular,
    MatrixExponential,
    MonotoneNetwork,
    NormalMixtureCDF,
    Rotation,
    SignedPower,
    SoftClip,
    Softplus,
    SumOfSquares,
)

pytestmark = pytest.mark.usefixtures("double")

N = 50


def agree(ours, theirs, x, atol=1e-9):
    """Both directions of a stock transform of single elements have our values and derivatives."""
    y, ladj = ours(x)
    assert_close(theirs(x), y, rtol=1e-9, atol=atol)
    assert_close(theirs.log_abs_det_jacobian(x, theirs(x)), ladj, rtol=1e-7, atol=1e-7)


def of_formula(formula, theta):
    return lambda x: formula.forward_and_ladj(x, theta)


# Pyro
# ----------------------------------------------------------------------------------------------------


def test_linear_rational_spline_of_pyro():
    bins, bound = 6, 3.0
    theirs = stock.Spline(1, bins, bound, order="linear")
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    raw = [theirs.unnormalized_widths, theirs.unnormalized_heights]
    raw += [theirs.unnormalized_derivatives, theirs.unnormalized_lambdas]

    # Pyro has softplus(r) where we have softplus(r + offset).
    offset = math.log(math.expm1(1 - 1e-3))
    raw[2] = raw[2] - offset
    theta = torch.cat([part[0] for part in raw]).detach().expand(N, -1)

    x = 2 * torch.randn(N)
    y, ladj = LinearRationalSpline(bins, bound).forward_and_ladj(x, theta)
    found = theirs(x.unsqueeze(-1))
    # Pyro adds 1e-6 to each knot.
    assert_close(found.squeeze(-1), y, rtol=1e-4, atol=1e-4)
    ladj_found = theirs.log_abs_det_jacobian(x.unsqueeze(-1), found).squeeze(-1)
    assert_close(ladj_found, ladj, rtol=1e-3, atol=1e-3)


class Fixed(torch.nn.Module):
    """A network of Pyro that returns the same parameters for everything."""

    input_dim, hidden_dims, permutation = 1, (), torch.zeros(1, dtype=torch.long)

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def forward(self, x):
        return self.parts if len(self.parts) > 1 else self.parts[0]


def test_deep_sigmoidal_of_pyro():
    """Pyro has a = softplus(r), we have log a = 5 tanh(r / 5)."""
    width, formula = 5, DeepSigmoidal(5)
    theta = torch.randn(width * 3)
    log_a, b, log_w, _ = formula.unpack(theta)
    raw = log_a.exp().expm1().log()
    parts = [part.view(1, width, 1).expand(N, width, 1) for part in (raw, log_w.squeeze(-2), b)]
    theirs = stock.NeuralAutoregressive(Fixed(*parts), hidden_units=width)

    x = torch.randn(N, 1)
    y, ladj = formula.forward_and_ladj(x.squeeze(-1), theta.expand(N, -1))
    found = theirs(x)
    assert_close(found.squeeze(-1), y)
    assert_close(theirs.log_abs_det_jacobian(x, found), ladj)


def test_sum_of_squares_of_pyro():
    """Pyro integrates sum_k (sum_j a_kj u^j)²: ours without the least slope, times K, with a bound of 1."""
    count, degree = 3, 2
    formula = SumOfSquares(count, degree, bound=1.0, min_slope=1e-6)
    theta = torch.randn(formula.num_params)
    shift, coefficients = formula.unpack(theta)
    theirs = stock.Polynomial(Fixed(coefficients.expand(N, -1, -1).unsqueeze(-1)), 1, degree, count)
    theirs.c.data.zero_()

    x = 2 * torch.rand(N) - 1
    y, ladj = formula.forward_and_ladj(x, theta.expand(N, -1))
    found = theirs(x.unsqueeze(-1))
    assert_close(found.squeeze(-1) / count, y - shift, rtol=1e-5, atol=1e-5)
    ladj_found = theirs.log_abs_det_jacobian(x.unsqueeze(-1), found)
    assert_close(ladj_found, ladj + math.log(count), rtol=1e-4, atol=1e-4)


def test_matrix_exponential_of_pyro():
    ours, theirs = MatrixExponential(4), stock.MatrixExponential(4, iterations=40)
    ours.theta.matrix.data = theirs.weights.data
    x = torch.randn(N, 4)
    y, ladj = ours.forward_and_ladj(x)
    assert_close(theirs(x), y)
    assert_close(theirs.log_abs_det_jacobian(x, y).expand(N), ladj)
    assert_close(theirs.inv(x), ours.inverse_and_ladj(x)[0])


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7, 8, 13, 16])
def test_haar_of_pyro(dim):
    x = torch.randn(N, dim)
    assert_close(Haar(dim)(x), stock.HaarTransform()(x))
    assert_close(Haar(dim).inv(x), stock.HaarTransform().inv(x))


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
def test_discrete_cosine_of_pyro(dim):
    x = torch.randn(N, dim)
    assert_close(DiscreteCosine(dim)(x), stock.DiscreteCosineTransform()(x))
    assert_close(DiscreteCosine(dim).inv(x), stock.DiscreteCosineTransform().inv(x))


def test_triangular_of_pyro():
    ours, x = LinearTriangular(4), torch.randn(N, 4)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)
    triangle, log_diagonal, shift = ours.theta.free()
    matrix = triangle.tril(-1) + torch.diag(log_diagonal.exp())
    theirs = stock.LowerCholeskyAffine(shift.detach(), matrix.detach())
    y, ladj = ours.forward_and_ladj(x)
    assert_close(theirs(x), y)
    assert_close(theirs.log_abs_det_jacobian(x, y).expand(N), ladj)


def test_softplus_of_pyro():
    agree(Softplus(0).forward_and_ladj, stock.SoftplusTransform(), torch.linspace(-10, 15, N))


# zuko
# ----------------------------------------------------------------------------------------------------


@pytest.fixture
def zuko():
    return pytest.importorskip("zuko").transforms


def test_bernstein_of_zuko(zuko):
    """zuko has the differences softplus(r), and shifts them by a constant."""
    degree, bound = 9, 5.0
    formula, theta = Bernstein(degree, bound), torch.randn(degree - 1)
    low, differences = formula.unpack(theta)

    raw = differences[1:-1].expm1().log()
    constant = math.log(2) * (degree - 1) / 2
    given = torch.cat(((low + constant).view(1), raw))
    x = torch.linspace(-4.9, 4.9, N)
    theirs = zuko.BernsteinTransform(given.expand(N, -1), bound=bound)
    agree(of_formula(formula, theta.expand(N, -1)), theirs, x, atol=1e-6)


def test_bernstein_of_zuko_with_tails_of_the_identity(zuko):
    degree, bound = 9, 3.0
    formula = Bernstein(degree, bound, tails="identity")
    theta = torch.randn(formula.num_params)
    _, differences = formula.unpack(theta)
    theirs = zuko.BoundedBernsteinTransform(differences[2:-2].log().expand(N, -1), bound=bound)
    x = torch.linspace(-2.9, 2.9, N)
    agree(of_formula(formula, theta.expand(N, -1)), theirs, x, atol=1e-6)


def test_normal_mixture_of_zuko(zuko):
    """zuko has equal weights, and a x + b in place of (x - mu) / sigma. It saturates from about 4.9 on."""
    formula, k = NormalMixtureCDF(4), 4
    theta = torch.cat((torch.zeros(k), 0.5 * torch.randn(2 * k)))
    _, mean, log_rate = formula.unpack(theta)
    shift, scale = (-mean * log_rate.exp()).expand(N, -1), log_rate.expand(N, -1)
    theirs = zuko.GaussianizationTransform(shift, scale)

    x = torch.linspace(-2, 2, N)
    y, ladj = formula.forward_and_ladj(x, theta.expand(N, -1))
    assert_close(theirs(x), y, rtol=0, atol=1e-4)
    assert_close(theirs.log_abs_det_jacobian(x, y), ladj, rtol=0, atol=1e-3)


def test_sum_of_squares_of_zuko(zuko):
    count, degree, bound, least = 3, 3, 10.0, 1e-3
    formula = SumOfSquares(count, degree, bound, least)
    theta = torch.randn(formula.num_params)
    shift, coefficients = formula.unpack(theta)
    coefficients = coefficients - torch.eye(degree + 1)[0]  # zuko adds the 1 itself
    theirs = zuko.SOSPolynomialTransform(coefficients.expand(N, -1, -1), slope=least)

    x = torch.linspace(-9, 9, N)
    y, ladj = formula.forward_and_ladj(x, theta.expand(N, -1))
    # ours = shift + least x + (1 - least) mean, theirs = least x + mean
    assert_close(theirs(x) - least * x, (y - shift - least * x) / (1 - least))
    assert_close(theirs.g(x) - least, (ladj.exp() - least) / (1 - least))


def test_monotone_network_of_zuko(zuko):
    formula, theta = MonotoneNetwork(3, (8, 8)), torch.randn(N, 4)
    for parameter in formula.parameters():
        torch.nn.init.normal_(parameter, std=0.5)

    def slope(u):
        return formula.forward_and_ladj(u, theta.expand(*u.shape, 4))[1].exp()

    x = torch.linspace(-5, 5, N)
    theirs = zuko.UnconstrainedMonotonicTransform(slope, n=32)
    y, ladj = formula.forward_and_ladj(x, theta)
    assert_close(theirs(x), y - theta[:, 0])
    assert_close(theirs.log_abs_det_jacobian(x, y), ladj)


def test_soft_clip_and_signed_power_of_zuko(zuko):
    x = torch.linspace(-5, 5, N)
    agree(SoftClip(2.0, event_dim=0).forward_and_ladj, zuko.SoftclipTransform(bound=2.0), x)
    theta = torch.randn(N, 1)
    power = theta.squeeze(-1).tanh()
    agree(of_formula(SignedPower(), theta), zuko.SignedPowerTransform(power), x)


def test_rotation_of_zuko(zuko):
    ours, x = Rotation(4), torch.randn(N, 4)
    theirs = zuko.RotationTransform(ours.theta.a.detach())
    assert_close(theirs(x), ours(x).detach())
    assert_close(theirs.inv(x), ours.inv(x).detach())


# nflows
# ----------------------------------------------------------------------------------------------------


def test_qr_and_svd_of_nflows():
    peer = pytest.importorskip("nflows.transforms")
    x = torch.randn(N, 4)

    ours, theirs = LinearQR(4, 3), peer.QRLinear(4, num_householder=3)
    theirs.bias.data.normal_()
    ours.theta.v.data = theirs.orthogonal.q_vectors.data
    ours.theta.upper.data = theirs._create_upper().detach()
    ours.theta.log_diagonal.data, ours.theta.shift.data = (
        theirs.log_upper_diag.data,
        theirs.bias.data,
    )
    assert_close(theirs(x), ours.forward_and_ladj(x))

    ours, theirs = LinearSVD(4, 4), peer.SVDLinear(4, num_householder=4)
    theirs.unconstrained_diagonal.data.normal_()
    ours.theta.left.data = theirs.orthogonal_1.q_vectors.data
    ours.theta.right.data = theirs.orthogonal_2.q_vectors.data
    ours.theta.log_singular_values.data = theirs.log_diagonal.data
    ours.theta.shift.data = theirs.bias.data
    assert_close(theirs(x), ours.forward_and_ladj(x))
    assert_close(theirs.inverse(x), ours.inverse_and_ladj(x))


def test_softplus_is_the_stock_function():
    x = torch.linspace(-10, 15, N)
    assert_close(Softplus(0)(x), F.softplus(x))
