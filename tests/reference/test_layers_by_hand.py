"""Numbers worked out by hand from the formula of each paper, with nothing of the library in them.

A law cannot see a formula that is wrong but invertible; these can.
"""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import DenseConditioner, PriorConditioner, ScaledConv2d
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Conv1x1,
    Coupling,
    DiagonalAffine,
    FactorOut,
    FixedAffine,
    Flatten,
    Halves,
    Logit,
    Permute,
    Squeeze,
)

pytestmark = pytest.mark.usefixtures("double")


def put(parameter: nn.Parameter, value: object) -> None:
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(value))


def numbers(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


# tanh(0.4) = 0.3799489623, so with t = 0.5, r = 1.2 and b = 3: s = 3 tanh(1.2 / 3) = 1.1398468868,
# e^s = 3.1262896522, and y = 2 e^s + 0.5 = 6.7525793044; with the shift first, y = (2 + 0.5) e^s = 7.8157241305.
def test_affine_with_a_bounded_scale():
    x, theta = torch.tensor(2.0), torch.tensor([0.5, 1.2])
    y, ladj = numbers(*Affine(bound=3.0).forward_and_ladj(x, theta))
    assert_allclose(ladj, 1.1398468868, rtol=1e-9)
    assert_allclose(y, 6.7525793044, rtol=1e-9)
    y, ladj = numbers(*Affine(bound=3.0, shift_first=True).forward_and_ladj(x, theta))
    assert_allclose(ladj, 1.1398468868, rtol=1e-9)
    assert_allclose(y, 7.8157241305, rtol=1e-9)


# With r = -6 and b = 3: s = -6 / (1 + 6 / 3) = -2, so that y = 2 e^-2 + 0.5; at r = 6 it is 2.
def test_affine_with_a_softsign():
    x, theta = torch.tensor([2.0, 2.0]), torch.tensor([[0.5, -6.0], [0.5, 6.0]])
    y, ladj = numbers(*Affine("softsign", bound=3.0).forward_and_ladj(x, theta))
    assert_allclose(ladj, [-2, 2], rtol=1e-12)
    assert_allclose(y, [2 * math.exp(-2) + 0.5, 2 * math.exp(2) + 0.5], rtol=1e-12)


# Glow, table 1 and the official code: z2 = (z2 + shift) sigmoid(h + 2). sigmoid(2.7) = 1 / (1 + e^-2.7) = 0.9370266439.
def test_affine_of_the_official_glow():
    y, ladj = numbers(
        *Affine("sigmoid", shift_first=True).forward_and_ladj(
            torch.tensor(3.0), torch.tensor([1.1, 0.7])
        )
    )
    assert_allclose(y, 4.1 * 0.9370266439, rtol=1e-9)
    assert_allclose(ladj, math.log(0.9370266439), rtol=1e-8)


# The network: hidden = relu((1, -1) 2 + (0, 0.5)) = relu(2, -1.5) = (2, 0);
# theta = ((0.5, -1), (0.25, 1)) (2, 0) + (0.1, 0.2) = (1.1, 0.7), the numbers of the test above.
def test_affine_coupling_with_a_network():
    conditioner = DenseConditioner(1, 1, 2, hidden_dims=(2,))
    put(conditioner.net[0].weight, [[1.0], [-1.0]])
    put(conditioner.net[0].bias, [0.0, 0.5])
    put(conditioner.net[2].weight, [[0.5, -1.0], [0.25, 1.0]])
    put(conditioner.net[2].bias, [0.1, 0.2])
    formula = Affine("sigmoid", shift_first=True)
    y, ladj = numbers(
        *Coupling(Halves(2), formula, conditioner).forward_and_ladj(torch.tensor([2.0, 3.0]))
    )
    assert_allclose(y, [2.0, 4.1 * 0.9370266439], rtol=1e-9)
    assert_allclose(ladj, math.log(0.9370266439), rtol=1e-8)


# Channel 0 holds 1, 3, 5, 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5. Channel 1 holds 0, 0, 2, 2: mean 1, variance 1.
# Each image has 2 positions, so its log-determinant is 2 (-log(5) / 2 - log(1) / 2) = -log 5.
def test_act_norm_of_four_pixels():
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]], [[[5.0, 7.0]], [[2.0, 2.0]]]])
    layer = ActNorm(2, event_dim=3)
    layer.initialize(x)
    y, ladj = numbers(*layer.forward_and_ladj(x))
    root = math.sqrt(5)
    expected = [[[[-3 / root, -1 / root]], [[-1.0, -1.0]]], [[[1 / root, 3 / root]], [[1.0, 1.0]]]]
    assert_allclose(y, expected, rtol=1e-12)
    assert_allclose(ladj, [-math.log(5)] * 2, rtol=1e-12)


# W = ((2, 1), (1, 3)) has determinant 5. The pixel (1, -1) becomes (2 - 1, 1 - 3) = (1, -2); 6 pixels: 6 log 5.
def test_plain_convolution():
    layer = Conv1x1(2, factorized=False)
    put(layer.theta.weight, [[2.0, 1.0], [1.0, 3.0]])
    x = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 2, 3)
    y, ladj = numbers(*layer.forward_and_ladj(x))
    assert_allclose(y, np.broadcast_to(np.array([1.0, -2.0])[:, None, None], (2, 2, 3)))
    assert_allclose(ladj, 6 * math.log(5), rtol=1e-12)


# P swaps the rows, L = ((1, 0), (0.5, 1)), U + diag = ((2, 1), (0, -3)):
# L U = ((2, 1), (1, -2.5)), W = ((1, -2.5), (2, 1)), |det W| = |1 + 5| = 6 = 2 * 3.
def test_factorised_convolution():
    layer = Conv1x1(2)
    put(layer.permutation, [[0.0, 1.0], [1.0, 0.0]])
    put(layer.signs, [1.0, -1.0])
    put(layer.theta.lower, [[0.0, 0.0], [0.5, 0.0]])
    put(layer.theta.upper, [[0.0, 1.0], [0.0, 0.0]])
    put(layer.theta.log_diagonal, [math.log(2), math.log(3)])
    y, ladj = numbers(*layer.forward_and_ladj(torch.tensor([2.0, 4.0]).view(2, 1, 1)))
    assert_allclose(y.flatten(), [2 - 10, 4 + 4], rtol=1e-12)
    assert_allclose(ladj, math.log(6), rtol=1e-12)


def test_squeeze_of_two_channels():
    x = torch.arange(16.0).view(
        2, 2, 4
    )  # channel 0: 0 1 2 3 / 4 5 6 7; channel 1: 8 9 10 11 / 12 13 14 15
    (y,) = numbers(Squeeze()(x))
    expected = [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11], [12, 14], [13, 15]]
    assert y.reshape(8, 2).tolist() == expected


# The official code, channels last: reshape to (H/f, f, W/f, f, C), transpose to (H/f, W/f, C, f, f), reshape.
def test_squeeze_has_the_order_of_the_official_code():
    x = np.random.default_rng(0).normal(size=(6, 9, 4))
    official = x.reshape(2, 3, 3, 3, 4).transpose(0, 2, 4, 1, 3).reshape(2, 3, 36)
    (y,) = numbers(Squeeze(3)(torch.from_numpy(x.transpose(2, 0, 1).copy())))
    assert np.array_equal(y, official.transpose(2, 0, 1))


# p = 0.05 + 0.9 x / 256. At 0: log(0.05 / 0.95) = log(1 / 19) = -2.9444389792. At 64: p = 0.275, log(11 / 29).
# dy/dx = (0.9 / 256) / (p (1 - p)): at 0 it is 0.9 / (256 * 0.0475), at 128 it is 0.9 / (256 / 4) = 0.0140625.
def test_logit_at_known_points():
    x = torch.tensor([0.0, 64.0, 128.0, 256.0])
    y, ladj = numbers(*Logit(256, event_dim=0).forward_and_ladj(x))
    assert_allclose(y, [-2.9444389792, math.log(11 / 29), 0, 2.9444389792], rtol=1e-9, atol=1e-12)
    ends = math.log(0.9 / 256 / 0.0475)
    assert_allclose(
        ladj, [ends, math.log(0.9 / 256 / (0.275 * 0.725)), math.log(0.0140625), ends], rtol=1e-12
    )


def test_logit_of_an_image_adds_up():
    x = torch.tensor([0.0, 64.0, 128.0, 256.0]).view(1, 2, 2)
    _, ladj = numbers(*Logit(256).forward_and_ladj(x))
    product = (0.9 / 256) ** 4 / (0.0475 * 0.275 * 0.725 * 0.25 * 0.0475)
    assert_allclose(ladj, math.log(product), rtol=1e-12)


def test_logit_is_exact_far_out_in_float32():
    layer = Logit(1, margin=0, event_dim=0)
    y = torch.tensor([-80.0, 80.0], dtype=torch.float32)
    _, ladj = numbers(*layer.inverse_and_ladj(y))
    assert_allclose(
        ladj, [-80.0, -80.0], rtol=1e-6
    )  # log sigma(y) + log sigma(-y) = -|y| up to e^-80


def test_scaling_of_an_image():
    y, ladj = numbers(
        *FixedAffine(-1 / 256, 0.5).forward_and_ladj(torch.tensor([[[64.0, 128.0, 0.0]]]))
    )
    assert_allclose(y, [[[0.25, 0.0, 0.5]]])
    assert_allclose(ladj, -3 * math.log(256), rtol=1e-12)


def test_permute():
    (y,) = numbers(Permute([2, 0, 1])(torch.tensor([10.0, 11.0, 12.0])))
    assert y.tolist() == [12, 10, 11]


# (3 - 1) e^-log 2 = 1, (4 - 0) e^0 = 4; ladj = -log 2.
def test_top_prior():
    layer = DiagonalAffine((2, 1, 1))
    put(layer.theta.mean, torch.tensor([1.0, 0.0]).view(2, 1, 1))
    put(layer.theta.log_scale, torch.tensor([math.log(2), 0.0]).view(2, 1, 1))
    y, ladj = numbers(*layer.forward_and_ladj(torch.tensor([3.0, 4.0]).view(2, 1, 1)))
    assert_allclose(y.flatten(), [1, 4])
    assert_allclose(ladj, -math.log(2), rtol=1e-12)


# One image of one pixel, so that only the middle of the kernel meets it and the other 8 numbers meet padding, where the
# edge channel is 1. With weight 2 in the middle, 0.5 everywhere on the edge, bias 0.25 and log-scale 0.1:
# (2 * 3 + 8 * 0.5 + 0.25) e^{3 * 0.1} = 10.25 e^0.3.
def test_scaled_convolution_of_one_pixel():
    layer = ScaledConv2d(1, 1, zero=True)
    put(layer.weight[0, 0, 1, 1], 2.0)
    put(layer.edge_weight, torch.full((1, 1, 3, 3), 0.5))
    put(layer.bias, [0.25])
    put(layer.log_scale, [0.1])
    (y,) = numbers(layer(torch.full((1, 1, 1, 1), 3.0)))
    assert_allclose(y.item(), 10.25 * math.exp(0.3), rtol=1e-12)


# Channels a = 0.7 and b = -1.3 of a single pixel. The prior: t = 2 a + 0.5 = 1.9 and r = -a + 0.1 = -0.6, so
# s = 3 tanh(-0.2), and b has the density N(t, e^{2 s}). That of a is standard normal.
def test_factor_out_scores_the_second_half_under_its_learned_prior():
    prior = PriorConditioner(1, 1, edge=False)
    put(prior.conv.weight[0, 0, 1, 1], 2.0)
    put(prior.conv.weight[1, 0, 1, 1], -1.0)
    put(prior.conv.bias, [0.5, 0.1])
    layer = FactorOut((2, 1, 1), Flatten((1, 1, 1)), prior)
    a, b = 0.7, -1.3
    t, s = 1.9, 3 * math.tanh(-0.2)

    y, ladj = numbers(*layer.forward_and_ladj(torch.tensor([a, b]).view(2, 1, 1)))
    assert_allclose(y, [a, (b - t) * math.exp(-s)], rtol=1e-12)
    assert_allclose(ladj, -s, rtol=1e-12)

    mean, std = t, math.exp(s)
    half_log_two_pi = 0.5 * math.log(2 * math.pi)
    expected = (
        -0.5 * a**2
        - half_log_two_pi
        - 0.5 * ((b - mean) / std) ** 2
        - math.log(std)
        - half_log_two_pi
    )
    density = Flow(StandardNormal(2), layer.inv)()
    (log_prob,) = numbers(density.log_prob(torch.tensor([a, b]).view(2, 1, 1)))
    assert_allclose(log_prob, expected, rtol=1e-12)


# The coarsest scale stands first, and each scale in row-major order.
def test_factor_out_keeps_the_first_half_and_shows_its_scales():
    inner = FactorOut((2, 1, 1), Flatten((1, 1, 1)))
    layer = FactorOut((4, 1, 1), Compose([inner]))
    y = layer(torch.tensor([10.0, 11.0, 12.0, 13.0]).view(4, 1, 1))
    assert y.tolist() == [10, 11, 12, 13]
    assert [scale.tolist() for scale in layer.per_scale(y)] == [[10], [11], [12, 13]]


# y = 3 z + 1 has the density N(1, 9): at 4, log p = -0.5 - log 3 - log(2 pi) / 2.
def test_density_of_a_scaled_normal():
    flow = Flow(StandardNormal(1), FixedAffine(3.0, 1.0, event_dim=1))
    (log_prob,) = numbers(flow().log_prob(torch.tensor([4.0])))
    assert_allclose(log_prob, -0.5 - math.log(3) - 0.5 * math.log(2 * math.pi), rtol=1e-12)
