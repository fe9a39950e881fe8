"""The linear and mixing layers against numbers worked out by hand."""

from math import cos, exp, factorial, log, pi, sin

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn import Conditioner
from pyro_exact.transforms import (
    GIN,
    Affine,
    DiscreteCosine,
    Haar,
    HaarSqueeze,
    Halves,
    LinearLowRank,
    LinearQR,
    LinearSVD,
    LinearTriangular,
    Marginal,
    MatrixExponential,
    PeriodicConv,
    Rotation,
)

pytestmark = pytest.mark.usefixtures("double")


def check(layer, x, y, ladj, **weights):
    """Both directions map as said, with the given parameters."""
    for name, value in weights.items():
        layer.theta.get_parameter(name).data = torch.tensor(value)
    x, y, ladj = (torch.tensor(value) for value in (x, y, ladj))
    assert_close(layer.forward_and_ladj(x), (y, ladj))
    assert_close(layer.inverse_and_ladj(y), (x, -ladj))


# e^{[[0, -t], [t, 0]]} is the rotation by t; with a diagonal of d the vector also grows by e^d.
def test_matrix_exponential():
    t, matrix = 0.3, [[0.5, -0.3], [0.3, 0.5]]
    y = [exp(0.5) * cos(t), exp(0.5) * sin(t)]
    check(MatrixExponential(2), [1.0, 0.0], y, 1.0, matrix=matrix)


def test_matrix_exponential_of_a_nilpotent_matrix():
    check(MatrixExponential(2), [1.0, 2.0], [7.0, 2.0], 0.0, matrix=[[0.0, 3.0], [0.0, 0.0]])


def test_rotation_by_a_right_angle():
    check(Rotation(2), [2.0, 0.0], [0.0, 2.0], 0.0, a=[[1.0, 0.0], [pi / 2, -3.0]])


# R x = (2 + 3, 1); the reflection changes the sign of the first element; then the shift.
def test_qr():
    weights = {"v": [[2.0, 0.0]], "upper": [[9.0, 3.0], [9.0, 9.0]]}
    weights |= {"log_diagonal": [log(2), 0.0], "shift": [1.0, -1.0]}
    check(LinearQR(2, 1), [1.0, 1.0], [-4.0, 0.0], log(2), **weights)


# (1, 1) -> (1, -1) -> (2, -3) -> (-2, -3), and the shift.
def test_svd():
    weights = {"left": [[1.0, 0.0]], "right": [[0.0, 5.0]]}
    weights |= {"log_singular_values": [log(2), log(3)], "shift": [0.5, 0.0]}
    check(LinearSVD(2, 1), [1.0, 1.0], [-1.5, -3.0], log(6), **weights)


def test_triangular():
    weights = {"triangle": [[9.0, 4.0], [5.0, 9.0]], "log_diagonal": [log(2), log(3)]}
    weights |= {"shift": [1.0, 0.0]}
    check(LinearTriangular(2), [1.0, 2.0], [3.0, 11.0], log(6), **weights)
    check(LinearTriangular(2, upper=True), [1.0, 2.0], [11.0, 6.0], log(6), **weights)


# W W' x = (3, 3): y = (2 (1 + 3), 3 (2 + 3)); det = 2 3 (1 + 1 + 1).
def test_low_rank():
    weights = {"w": [[1.0], [1.0]], "log_diagonal": [log(2), log(3)], "shift": [0.0, 1.0]}
    check(LinearLowRank(2), [1.0, 2.0], [8.0, 16.0], log(18), **weights)


# Of 5: pairs (1, 3), (5, 7) and 9 -> averages 4, 12 over sqrt 2, differences -2, -2 over sqrt 2; then 8 and -4.
def test_haar():
    root = 2**0.5
    check(Haar(5), [1.0, 3.0, 5.0, 7.0, 9.0], [8.0, -4.0, -root, -root, 9.0], 0.0)


# Of the block (1 2; 3 6): the sum 12, left less right -4, top less bottom -6, across 2, all halved.
def test_haar_squeeze():
    x = [[[1.0, 2.0], [3.0, 6.0]], [[1.0, 0.0], [0.0, 1.0]]]
    averages, columns, rows, crosses = [6.0, 1.0], [-2.0, 0.0], [-3.0, 0.0], [1.0, 1.0]
    y = [[[value]] for value in averages + columns + rows + crosses]
    check(HaarSqueeze(), x, y, 0.0)


# cos(pi / 4) = sqrt(1/2): of two elements the sum and the difference, over sqrt 2.
def test_discrete_cosine():
    check(DiscreteCosine(2), [3.0, 1.0], [4 / 2**0.5, 2 / 2**0.5], 0.0)


class Fixed(Conditioner):
    """A conditioner that returns the same parameters for everything."""

    def __init__(self, theta):
        super().__init__()
        self.theta = theta

    def forward(self, x, context=None):
        return self.theta


# Log-scales log 2 + c and -log 2 + c: less their mean, the scales are 2 and 1/2.
def test_gin():
    raw = [3 * torch.tensor(value / 3).atanh().item() for value in (log(2) + 0.4, 0.4 - log(2))]
    net = Fixed(torch.tensor([[1.0, raw[0]], [-1.0, raw[1]]]))
    check(GIN(Halves(4), net), [7.0, 8.0, 3.0, 4.0], [7.0, 8.0, 7.0, 1.0], 0.0)


# A kernel with t in the place to the right shifts by one: with S³ = 1 in a row of 3,
# e^{t S} = c_0 + c_1 S + c_2 S², c_j = sum over k = j mod 3 of t^k / k!.
def test_periodic_conv():
    t, kernel = 0.7, torch.zeros(3, 3, 1, 1)
    kernel[1, 2] = t
    c = [sum(t**k / factorial(k) for k in range(j, 40, 3)) for j in range(3)]
    x = [[[0.0, 1.0, 0.0]] * 3]
    check(PeriodicConv(1), x, [[[c[1], c[0], c[2]]] * 3], 0.0, kernel=kernel.tolist())


# A kernel in the centre alone is a matrix exponential of the channels.
def test_periodic_conv_of_single_pixels():
    kernel = [[[[0.5, -0.3], [0.3, 0.5]]]]
    y = [[[exp(0.5) * cos(0.3)] * 2], [[exp(0.5) * sin(0.3)] * 2]]
    check(PeriodicConv(2, 1), [[[1.0] * 2], [[0.0] * 2]], y, 2.0, kernel=kernel)


def test_marginal():
    raw = 3 * torch.tensor(log(2) / 3).atanh().item()
    layer = Marginal(Affine(), 2)
    theta = [[0.0, raw], [0.0, -raw]]
    check(layer, [1.0, 4.0], [2.0, 2.0], 0.0, theta=theta)
