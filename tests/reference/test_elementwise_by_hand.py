"""The formulas of couplings and autoregressive layers against numbers worked out by hand from the papers."""

from math import atanh, exp, log

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn import Conditioner, MaskedDense
from pyro_exact.transforms import (
    Additive,
    Affine,
    Checkerboard,
    Coupling,
    Elementwise,
    Halves,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
)

pytestmark = pytest.mark.usefixtures("double")


def check(formula: Elementwise, theta, x, y, ladj):
    """Both directions map as said, each number with the same parameters."""
    x, y, ladj, theta = (torch.tensor(value, dtype=torch.float64) for value in (x, y, ladj, theta))
    theta = theta.expand(*x.shape, -1)
    assert_close(formula.forward_and_ladj(x, theta), (y, ladj), rtol=1e-12, atol=1e-12)
    assert_close(formula.inverse_and_ladj(y, theta), (x, -ladj), rtol=1e-12, atol=1e-12)


class Fixed(Conditioner):
    """A conditioner with a hand-written function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, context=None):
        return self.function(x)


# NICE, equations 6 and 7: y_2 = x_2 + m(x_1), here with m(x_1) = x_1².
def test_additive_coupling():
    layer = Coupling(Halves(2), Additive(), Fixed(lambda x: x.square().unsqueeze(-1)))
    y, ladj = layer.forward_and_ladj(torch.tensor([3.0, 0.5]))
    assert (y.tolist(), ladj.item()) == ([3, 9.5], 0)
    assert layer.inverse_and_ladj(y)[0].tolist() == [3, 0.5]


# Flow++, equations 13 to 15. One logistic: logit(F(x)) = (x - mu) / s, so that y = (x - mu) / s e^a + b.
# With mu = 1, s = 2, tanh(r) = 1/2, b = 3 and x = 5: y = 2 sqrt(e) + 3.
def test_mixture_of_one_component_is_affine():
    theta = [3.0, atanh(0.5), 7.0, 1.0, 7 * atanh(log(2) / 7)]
    check(MixtureCDF(1), theta, [5.0, 1.0], [2 * exp(0.5) + 3, 3.0], [0.5 - log(2)] * 2)


# Two logistics: weights 1/4 and 3/4, means -1 and 2, scales 1/2 and 2. At x = 1
#     F = 1/4 sigmoid(4) + 3/4 sigmoid(-1/2),  logit F = 0.1147615837229036,
#     F' = 1/4 2 sigmoid(4) sigmoid(-4) + 3/4 1/2 sigmoid(1/2) sigmoid(-1/2),
#     log F' / (F (1 - F)) = -0.9438949009058359.
# At -60 the second component is e^80 times greater than the first: log F = log(3/4) - 31; likewise at 60,
# log (1 - F) = log(3/4) - 29. There the slope is that of the second component, 1/2, but for terms of order e^-29.
def test_mixture_of_two_components_and_its_tails():
    means = [
        -1 + 0.5,
        2 - 0.5,
    ]  # less the spread of the formula, which for two components is -1/2, 1/2
    log_scales = [7 * atanh(s / 7) for s in (-log(2), log(2))]
    theta = [0.0, 0.0, log(1 / 4), log(3 / 4), *means, *log_scales]
    u = [-31 + log(3 / 4), 0.1147615837229035641, 29 - log(3 / 4)]
    check(MixtureCDF(2), theta, [-60.0, 1.0, 60.0], u, [-log(2), -0.94389490090583581, -log(2)])


# Durkan et al., equations 4 and 5, on [-1, 1] with the knots (-1, -1), (0, 1/2), (1, 1) and the derivatives 1, 2, 1.
# Left bin: s = 3/2. At x = -1/2, xi = 1/2:  y = -1 + 3/2 (3/8 + 1/4) / (3/2 + (1 + 2 - 3) / 4) = -1 + 5/8 = -3/8,
#           slope = 9/4 (2/4 + 2 3/2 1/4 + 1/4) / (3/2)² = 3/2.
# Right bin: s = 1/2. At x = 1/2, xi = 1/2:  y = 1/2 + 1/2 (1/8 + 2/4) / (1/2 + (2 + 1 - 1) / 4) = 1/2 + 5/16 = 13/16,
#           slope = 1/4 (1/4 + 2 1/2 1/4 + 2/4) / 1² = 1/4.
# Right bin at x = 1/4, xi = 1/4, xi (1 - xi) = 3/16: denominator 1/2 + 2 3/16 = 7/8;
#           y = 1/2 + 1/2 (1/2 1/16 + 2 3/16) / (7/8) = 1/2 + 13/56,
#           slope = 1/4 (1/16 + 3/16 + 2 9/16) / (7/8)² = 22/49.
def test_spline():
    least = 1e-3
    tall, low = (log((h / 2 - least) / (1 - 2 * least)) for h in (1.5, 0.5))
    theta = [0.0, 0.0, tall, low, log(exp(2 - least) - 1) - log(exp(1 - least) - 1)]
    x = [-1.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 4.0]
    y = [-1.5, -1.0, -3 / 8, 1 / 2, 1 / 2 + 13 / 56, 13 / 16, 1.0, 4.0]
    slopes = [1, 1, 3 / 2, 2, 22 / 49, 1 / 4, 1, 1]
    check(Spline(2, bound=1.0), theta, x, y, [log(slope) for slope in slopes])


# RealNVP, figure 3 on the left: neighbours have different colours. The corner is fixed.
def test_the_colours_of_the_checkerboard():
    image = torch.arange(8.0).view(1, 2, 4)
    fixed, free = Checkerboard(1).split(image)
    assert sorted(fixed.flatten().tolist()) == [0, 2, 5, 7]
    assert sorted(free.flatten().tolist()) == [1, 3, 4, 6]
    assert sorted(Checkerboard(1, swap=True).split(image)[0].flatten().tolist()) == [1, 3, 4, 6]


# An autoregressive layer with t_1 = 1, s_1 = 0, and t_2 = 2 x_1, s_2 = log 3 where it is written as in `Affine`,
# y_i = x_i e^s_i + t_i. For x = (4, 5): y = (4 + 1, 3 5 + 8) = (5, 23), and the log-determinant is log 3.
def test_autoregressive_affine():
    net = MaskedDense(2, 2, hidden_dims=())
    with torch.no_grad():
        net.layers[0].weight.copy_(
            torch.tensor([[9.0, 9], [2, 9], [9, 9], [0, 9]])
        )  # t_1, t_2, s_1, s_2; 9: masked
        net.layers[0].bias.copy_(torch.tensor([1, 0, 0, 3 * atanh(log(3) / 3)]))
    layer = MaskedAutoregressive(Affine(bound=3.0), net)
    y, ladj = layer.forward_and_ladj(torch.tensor([4.0, 5.0]))
    assert_close((y, ladj), (torch.tensor([5.0, 23.0]), torch.tensor(log(3))))
    assert_close(layer.inverse_and_ladj(y), (torch.tensor([4.0, 5.0]), torch.tensor(-log(3))))


# MADE, equations 12 and 13, with the degrees 1, 1, 2, 2 of four hidden units for three inputs.
def test_the_masks_of_made():
    net = MaskedDense(3, 1, hidden_dims=(4,))
    hidden, output = (layer.mask().tolist() for layer in net.layers)
    assert hidden == [[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0]]
    assert output == [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
