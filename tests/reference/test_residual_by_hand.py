"""Planar, radial and Sylvester flows and their companions against numbers worked out by hand from the papers' formulas.

Half the logarithm of 3 is a good place to be: there tanh is 1/2 and 1 / cosh² is 3/4.
"""

from math import e, log, sqrt

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.transforms import BatchNorm, Householder, LinearLU, Planar, Radial, Sylvester

pytestmark = pytest.mark.usefixtures("double")

HALF = log(3) / 2


def fill(layer, **values):
    """Set the named parameters of a plain layer."""
    with torch.no_grad():
        for name, value in values.items():
            parameter = getattr(layer.theta, name)
            parameter.copy_(torch.tensor(value).view(parameter.shape))
    return layer


def check(layer, x, y, ladj):
    """Both directions map as said; the inverse gets a copy, so that nothing is remembered."""
    x, y, ladj = (torch.tensor(value, dtype=torch.float64) for value in (x, y, ladj))
    assert_close(layer.forward_and_ladj(x), (y, ladj), rtol=1e-12, atol=1e-12)
    assert_close(layer.inverse_and_ladj(y), (x, -ladj), rtol=1e-12, atol=1e-12)


def inverse_softplus(y):
    return log(e**y - 1)


# Rezende and Mohamed (2015), equations 10-12 and A.1. With w = (1, 0), b = 0 and x_1 = HALF: tanh(w.x + b) = 1/2.


def test_planar_paper_at_a_fixed_point_of_m():
    # softplus(log(e - 1)) = 1, so m(w.u) = 0 and u_hat = (0, 2): a shear along the second axis
    layer = fill(Planar(2, parametrization="paper"), u=[log(e - 1), 2.0], w=[1.0, 0.0])
    check(layer, [HALF, 5.0], [HALF, 6.0], 0.0)


def test_planar_paper():
    # softplus(log(e² - 1)) = 2, so m(w.u) = 1, u_hat = (1, 2), and the determinant is 1 + 3/4
    layer = fill(Planar(2, parametrization="paper"), u=[log(e**2 - 1), 2.0], w=[1.0, 0.0])
    check(layer, [HALF, 5.0], [HALF + 0.5, 6.0], log(7 / 4))


def test_planar_shifted_with_orthogonal_u_and_w():
    layer = fill(Planar(2), u=[0.0, 2.0], w=[1.0, 0.0])
    check(layer, [HALF, 5.0], [HALF, 6.0], 0.0)


def test_planar_shifted_with_a_longer_w():
    # m(log(e + 1)) = -1 + log(1 + e² - 1) = 1; u_hat = u + (1 - 2 u_1) (2, 0) / 4 = (1/2, 2); a = 2 x_1 + b
    layer = fill(Planar(2), u=[log(e + 1) / 2, 2.0], w=[2.0, 0.0], b=[0.5])
    check(layer, [HALF / 2 - 0.25, 5.0], [HALF / 2, 6.0], log(7 / 4))


def test_planar_two_maps_in_a_row():
    # the first moves x_2 by 2 / 2, which the second, along the other axis, reads
    layer = fill(
        Planar(2, layers=2),
        u=[0.0, 2.0, log(e + 1), log(e + 1)],
        w=[1.0, 0.0, 0.0, 1.0],
        b=[0.0, -6 + HALF],
    )
    check(layer, [HALF, 5.0], [HALF + log(e + 1) / 2, 6.5], log(7 / 4))


# Equation 14 and A.2: h = 1 / (alpha + r), and the determinant is (1 + beta h)^(D - 1) (1 + alpha beta h²).


@pytest.mark.parametrize(
    ("beta", "factor", "determinant"),
    [(1.0, 7 / 6, 7 / 6 * 37 / 36), (-0.5, 11 / 12, 11 / 12 * 71 / 72), (0.0, 1.0, 1.0)],
)
def test_radial_five_from_the_centre(beta, factor, determinant):
    raw = {
        "raw_alpha": [inverse_softplus(1 - 0.001)],
        "raw_sum": [inverse_softplus(1 + beta - 0.001)],
    }
    layer = fill(Radial(2), center=[[1.0, 2.0]], **raw)
    check(layer, [4.0, 6.0], [1 + 3 * factor, 2 + 4 * factor], log(determinant))


def test_radial_at_the_centre():
    # r = 0: a dilation by 1 + beta / alpha = 3 in each of three dimensions
    layer = fill(
        Radial(3),
        center=[[1.0, 2.0, 3.0]],
        raw_alpha=[inverse_softplus(0.999)],
        raw_sum=[log(e**2.999 - 1)],
    )
    check(layer, [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 3 * log(3))


# Van den Berg et al. (2018), equation 12. Raw diagonals of HALF make diagonals of 1/2.

TRIANGULAR = {"r": [HALF, 1.0, 7.0, -HALF], "s": [HALF, 2.0, 7.0, HALF], "b": [1.0, 0.0]}
# R = (1/2, 1; 0, -1/2), S = (1/2, 2; 0, 1/2): at v = (-2 - 4 log 3, log 3), a = S v + b = (0, HALF), tanh a = (0, 1/2),
# R tanh a = (1/2, -1/4), and the determinant is (1 + 1/4) (1 - 1/4 * 3/4) = 65/64.


def test_sylvester_triangular():
    layer = fill(Sylvester(2, 2, "triangular"), **TRIANGULAR)
    check(layer, [-2 - 4 * log(3), log(3)], [-1.5 - 4 * log(3), log(3) - 0.25], log(65 / 64))


def test_sylvester_triangular_reversed():
    layer = fill(Sylvester(2, 2, "triangular", reverse=True), **TRIANGULAR)
    check(layer, [log(3), -2 - 4 * log(3)], [log(3) - 0.25, -1.5 - 4 * log(3)], log(65 / 64))


def test_sylvester_orthogonal():
    # Q = (3, 4) / 5; at Q.x = log 3, tanh(S Q.x) = 1/2, and x moves by Q / 4
    layer = fill(Sylvester(2, 1), q=[3.0, 4.0], r=[HALF], s=[HALF])
    check(
        layer,
        [0.6 * log(3), 0.8 * log(3)],
        [0.6 * (log(3) + 0.25), 0.8 * (log(3) + 0.25)],
        log(19 / 16),
    )


def test_sylvester_householder():
    # The reflection along (1, 1) is Q = (0, -1; -1, 0), so Q^T x = (-x_2, -x_1), and Q (1/2, -1/4) = (1/4, -1/2).
    layer = fill(Sylvester(2, 2, "householder", reflections=1), q=[1.0, 1.0], **TRIANGULAR)
    check(layer, [-log(3), 2 + 4 * log(3)], [0.25 - log(3), 1.5 + 4 * log(3)], log(65 / 64))


# The linear layers and batch normalisation.


def test_householder_applies_the_first_reflection_first():
    layer = fill(Householder(2, 2), v=[1.0, 1.0, 1.0, 0.0])
    check(layer, [1.0, 2.0], [2.0, -1.0], 0.0)


def test_householder_of_any_length():
    check(fill(Householder(2, 1), v=[3.0, 4.0]), [1.0, 0.0], [7 / 25, -24 / 25], 0.0)


def test_linear_lu():
    layer = LinearLU(2)
    layer.signs.copy_(torch.tensor([1.0, -1.0]))
    layer.order.copy_(torch.tensor([1, 0]))
    layer.back.copy_(torch.tensor([1, 0]))
    # U = (2, 3; 0, -5), L = (1, 0; 3, 1): (1, 1) -> (5, -5) -> (5, 10) -> (10, 5) -> (20, 25)
    fill(
        layer,
        lower=[9.0, 9.0, 3.0, 9.0],
        upper=[9.0, 3.0, 9.0, 9.0],
        log_diagonal=[log(2), log(5)],
        shift=[10.0, 20.0],
    )
    check(layer, [1.0, 1.0], [20.0, 25.0], log(10))


def test_batch_norm():
    layer = BatchNorm(1, epsilon=3.0)
    y, ladj = layer.forward_and_ladj(torch.tensor([[1.0], [3.0]]))  # mean 2, variance 1
    assert_close(y, torch.tensor([[-0.5], [0.5]]))
    assert_close(ladj, torch.full((2,), -log(2)))
    assert_close(layer.running_mean, torch.tensor([0.2]))
    assert_close(layer.running_variance, torch.tensor([1.0]))
    check(layer.eval(), [2.2], [1.0], -log(2))


def test_batch_norm_of_images():
    layer = BatchNorm(1, event_dim=3, epsilon=3.0)
    y, ladj = layer.forward_and_ladj(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2))
    assert_close(y.flatten(), torch.tensor([-0.5, 0.5]))
    assert_close(ladj, torch.tensor([-2 * log(sqrt(4))]))
