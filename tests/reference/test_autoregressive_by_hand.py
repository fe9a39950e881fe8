"""Probabilities of tiny autoregressive models, worked out by hand from the papers' formulas."""

from math import log

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import MADE, NADE, Autoregressive
from pyro_exact.likelihoods import GaussianLikelihood

pytestmark = pytest.mark.usefixtures("double")

EVERY = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])


def fill(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values, dtype=parameter.dtype))


# NADE, algorithm 1 of Larochelle and Murray, with one hidden unit, c = 0, W_1 = log 3, V = (2 log 3, 4/3 log 4), b = 0.
# a_1 = 0, h_1 = 1/2: p(x_1 = 1) = sigma(log 3) = 3/4.
# After x_1 = 1, a_2 = log 3, h_2 = 3/4: p(x_2 = 1) = sigma(log 4) = 4/5.
# After x_1 = 0, h_2 = 1/2: p(x_2 = 1) = sigma(log 4^(2/3)) = r / (1 + r), r = 4^(2/3).
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_nade(order):
    net = NADE(2, 1, order)
    fill(net.W, [[log(3)], [9.0]])  # 9: the last dimension has none after it
    fill(net.V, [[[2 * log(3)]], [[4 / 3 * log(4)]]])
    r = 4 ** (2 / 3)
    expected = torch.tensor([1 / 4 / (1 + r), 1 / 4 * r / (1 + r), 3 / 4 * 1 / 5, 3 / 4 * 4 / 5])
    assert_close(Autoregressive(net).log_prob(EVERY[:, order]).exp(), expected)


# The gradient of log p(1, 1) of that NADE: with g_d = x_d - p_d, g = (1/4, 1/5),
# db = g; dV_d = g_d h_d = (1/8, 3/20); dW_1 = x_1 g_2 V_2 h_2 (1 - h_2) = 1/5 (4/3 log 4) 3/16 = log(4) / 20;
# dc = dW_1 + g_1 V_1 h_1 (1 - h_1) = log(4) / 20 + log(3) / 8.
def test_the_gradient_of_nade():
    net = NADE(2, 1)
    fill(net.W, [[log(3)], [9.0]])
    fill(net.V, [[[2 * log(3)]], [[4 / 3 * log(4)]]])
    Autoregressive(net).log_prob(torch.ones(2)).backward()
    assert_close(net.b.grad, torch.tensor([[1 / 4], [1 / 5]]))
    assert_close(net.V.grad, torch.tensor([[[1 / 8]], [[3 / 20]]]))
    assert_close(net.W.grad, torch.tensor([[log(4) / 20], [0]]))
    assert_close(net.c.grad, torch.tensor([log(4) / 20 + log(3) / 8]))


# A MADE with two masks of opposite orders, and no weights but the direct ones between its two bits, log 9 both ways.
# The first: p(x_1 = 1) = 1/2, p(x_2 = 1 | x_1) = 9/10 after a 1, else 1/2; the second the same with the bits exchanged.
# Their mixture gives (0, 0) 1/4; (0, 1) and (1, 0) the mean of 1/4 and 1/20; (1, 1) 9/20: in sum 1.
# Averaged logits, the mistake in some programs, give each bit sigma(log 3) = 3/4 beside a 1: in sum
# 1/4 + 2 (1/2) (1/4) + (3/4)^2 = 17/16.
def test_an_ensemble_averages_joint_probabilities():
    seeds = (
        seed
        for seed in range(50)
        if MADE(2, (1,), masks=2, seed=seed).orders.tolist() == [[0, 1], [1, 0]]
    )
    net = MADE(2, (1,), masks=2, seed=next(seeds))
    fill(net.dense.direct.weight, [[7, log(9)], [log(9), 7]])  # 7: masked
    fill(net.dense.layers[1].weight, [[0.0], [0.0]])
    p = Autoregressive(net).log_prob(EVERY).exp()
    assert_close(p, torch.tensor([5, 3, 3, 9]) / 20)
    logits = (net(EVERY.double(), member=0) + net(EVERY.double(), member=1)) / 2
    assert_close(
        net.likelihood.log_prob(logits, EVERY.double()).sum(-1).exp().sum(), torch.tensor(17 / 16)
    )


# A Gaussian MADE with x_1 ~ N(1, 1), and x_2 ~ N(2 x_1, e^{2 x_1}) where the weights are direct.
# At (0, 3): log p = -1/2 - log(2 pi) - 9/2.
def test_a_gaussian_made():
    net = MADE(2, (1,), likelihood=GaussianLikelihood())
    fill(net.dense.direct.weight, [[7, 7], [7, 7], [2, 7], [1, 7]])
    fill(net.dense.layers[1].weight, [[0.0]] * 4)
    fill(net.dense.layers[1].bias, [1.0, 0, 0, 0])
    assert_close(
        Autoregressive(net).log_prob(torch.tensor([0.0, 3])), torch.tensor(-5 - log(2 * torch.pi))
    )
