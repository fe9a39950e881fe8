"""Flow++ and RealNVP, number by number from the papers' formulas and the official code's order of operations."""

import math

import pytest
import torch
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import FlowDequantizer
from pyro_exact.nn import ResidualConditioner, WeightNormConv2d
from pyro_exact.nn.attention import ChannelNorm, GatedAttention, GatedConv
from pyro_exact.ops.concat_elu import concat_elu
from pyro_exact.transforms import Affine, Columns, Conv1x1, Coupling, Parallel, SigmoidToCell

pytestmark = pytest.mark.usefixtures("double")


def fill(parameter, *values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values).view(parameter.shape))


def elu(x):
    return x if x > 0 else math.exp(x) - 1


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_concat_elu_of_two_numbers():
    x = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    expected = [1.0, math.exp(-2) - 1, math.exp(-1) - 1, 2.0]  # ELU(1), ELU(-2), ELU(-1), ELU(2)
    assert_close(concat_elu(x, dim=1).flatten(), torch.tensor(expected))


def test_gated_convolution_of_one_pixel():
    """One channel and one pixel: of a 3x3 kernel only the centre meets the image."""
    block = GatedConv(1, context_channels=1)
    with torch.no_grad():
        block.first.weight.fill_(9)  # what lies around the centre must not matter
    for i, w in enumerate((0.5, -0.25)):
        with torch.no_grad():
            block.first.weight[0, i, 1, 1] = w
    fill(block.first.bias, 0.1)
    fill(block.context.weight, 0.3, 0.2)
    fill(block.context.bias, 0.0)
    fill(block.last.weight, 0.7, -0.4, 0.6, 0.8)
    fill(block.last.bias, 0.05, -0.3)
    x, c = -1.5, 2.0
    h = 0.5 * elu(x) - 0.25 * elu(-x) + 0.1 + 0.3 * elu(c) + 0.2 * elu(-c)
    a = 0.7 * elu(h) - 0.4 * elu(-h) + 0.05
    b = 0.6 * elu(h) + 0.8 * elu(-h) - 0.3
    y = block(torch.tensor(x).view(1, 1, 1, 1), torch.tensor(c).view(1, 1, 1, 1))
    assert_close(y.item(), x + a * sigmoid(b))


def test_gated_attention_of_two_positions_and_two_heads():
    """The 3 x 2 outputs of the first layer are query, key and value, each with one channel a head."""
    block = GatedAttention(2, heads=2)
    weight = torch.randn(6, 2)
    with torch.no_grad():
        block.first.weight.copy_(weight.view(6, 2, 1, 1))
        block.first.bias.copy_(torch.randn(6))
    x, position = torch.randn(2, 2), torch.randn(2, 2)  # channels, positions
    parts = weight @ (x + position) + block.first.bias.detach()[:, None]
    attended = torch.zeros(2, 2)
    for head in range(2):
        query, key, value = (parts[2 * i + head].tolist() for i in range(3))
        for t in range(2):
            scores = [
                math.exp(query[t] * key[u]) for u in range(2)
            ]  # one channel a head: divided by sqrt(1)
            attended[head, t] = sum(s * v for s, v in zip(scores, value, strict=True)) / sum(scores)
    gates = block.last.weight.detach().view(4, 2) @ attended + block.last.bias.detach()[:, None]
    expected = x + gates[:2] * gates[2:].sigmoid()
    assert_close(block(x.view(1, 2, 1, 2), position.view(2, 1, 2)).view(2, 2), expected)


def test_attention_is_scaled_by_the_square_root_of_the_channels_of_a_head():
    block = GatedAttention(4, heads=1)
    with torch.no_grad():
        block.first.weight.zero_()
        block.first.bias[:4] = 1.0  # every query is 1, 1, 1, 1
        block.first.weight[4, 0] = 1.0  # a key is its first channel, and so is a value
        block.first.weight[8, 0] = 1.0
        block.last.weight.zero_()
        block.last.weight[0, 0] = 1.0
        block.last.bias[4:] = 100.0  # gates open
    x = torch.zeros(1, 4, 1, 2)
    x[0, 0, 0, 1] = 3.0
    weight = math.exp(3 / 2) / (1 + math.exp(3 / 2))
    assert_close(block(x, torch.zeros(4, 1, 2))[0, 0, 0, 0].item(), 3 * weight)


def test_channel_norm_of_one_position():
    x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    root = math.sqrt(1 + 1e-5)  # the biased variance is 1
    assert_close(ChannelNorm(2)(x).flatten(), torch.tensor([-1 / root, 1 / root]))


def test_columns_of_a_small_image():
    fixed, free = Columns(1).split(torch.arange(8.0).view(1, 2, 4))
    assert fixed.tolist() == [[[0, 2], [4, 6]]]
    assert free.tolist() == [[[1, 3], [5, 7]]]


def test_each_part_has_a_matrix_of_its_own():
    layer = Parallel(Columns(1), Conv1x1(1, factorized=False), Conv1x1(1, factorized=False))
    fill(layer.fixed.theta.weight, 2.0)
    fill(layer.free.theta.weight, -5.0)
    y, ladj = layer.forward_and_ladj(torch.ones(1, 3, 4))
    assert_close(y, torch.tensor([2.0, -5.0, 2.0, -5.0]).expand(1, 3, 4))
    assert_close(ladj.item(), 6 * math.log(2) + 6 * math.log(5))


def test_a_matrix_of_flow_pp_starts_near_the_identity():
    weight = Conv1x1(50, factorized=False, rotated=False).theta.weight.detach()
    noise = weight - torch.eye(50)
    assert 0.0009 < noise.std() < 0.0011


def test_noise_of_zero_is_the_middle_of_the_cell():
    """A slope of 1/4 in each of two pixels."""
    v, ladj = SigmoidToCell(context_shape=(1, 1, 2)).forward_and_ladj(
        torch.zeros(1, 1, 2), torch.tensor([[[3.0, 7.0]]])
    )
    assert v.flatten().tolist() == [3.5, 7.5]
    assert_close(ladj.item(), 2 * math.log(0.25))


def test_density_of_the_noise():
    """log q(v | x) = log N(eps) - log|dv / d eps|; the steps are taken out, so that only the sigmoid is left."""
    noise = FlowDequantizer(SigmoidToCell(event_dim=1, context_shape=(2,)))
    x, eps = torch.tensor([3.0, 7.0]), torch.tensor([0.5, -1.0])
    expected = sum(
        -(e**2) / 2 - math.log(2 * math.pi) / 2 - math.log(sigmoid(e) * sigmoid(-e))
        for e in eps.tolist()
    )
    assert_close(noise(x).log_prob(x + eps.sigmoid()).item(), expected)


def test_the_affine_step_of_the_ablation():
    """y = (x + t) exp(tanh s), where s and t are outputs of the network."""
    formula = Affine(bound=1.0, shift_first=True)
    y, ladj = formula.forward_and_ladj(torch.tensor(2.0), torch.tensor([0.5, 3.0]))
    assert_close(y.item(), 2.5 * math.exp(math.tanh(3)))
    assert_close(ladj.item(), math.tanh(3))
    built = [
        m
        for m in flows.flow_pp((1, 2, 4), width=4, formula="affine").modules()
        if isinstance(m, Coupling)
    ]
    assert {repr(c.elementwise) for c in built} == {repr(formula)}


# RealNVP --------------------------------------------------------------------------------------------------------------


def test_the_learned_multiple_of_tanh():
    formula = Affine("learned", shift_first=True)
    fill(formula.multiple, -2.0)
    y, ladj = formula.forward_and_ladj(torch.tensor(1.0), torch.tensor([0.25, 0.7]))
    assert_close(ladj.item(), -2 * math.tanh(0.7))
    assert_close(y.item(), 1.25 * math.exp(-2 * math.tanh(0.7)))


def test_weight_normalisation_of_one_filter():
    """Direction (3, 4) has length 5; with magnitude 10 the weights are (6, 8)."""
    conv = WeightNormConv2d(2, 1, 1)
    fill(conv.direction, 3.0, 4.0)
    fill(conv.magnitude, 10.0)
    fill(conv.bias, 0.5)
    assert_close(conv(torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)).item(), 6 - 16 + 0.5)


def test_residual_network_of_one_pixel_and_one_channel():
    net = ResidualConditioner(1, 1, 1, width=1, depth=1)

    def set_centre(conv, *weights, bias):
        """Make the centre of the kernel these weights: direction along them, with their length as magnitude."""
        with torch.no_grad():
            conv.direction.zero_()
            centre = conv.direction.shape[-1] // 2
            conv.direction[0, :, centre, centre] = torch.tensor(weights)
            conv.magnitude.fill_(math.hypot(*weights))
            conv.bias.fill_(bias)

    set_centre(net.first, 0.5, 0.25, bias=0.1)
    set_centre(net.blocks[0][1], 2.0, bias=-0.3)
    set_centre(net.blocks[0][3], 0.7, bias=0.2)
    set_centre(net.skips[0], 1.5, bias=0.0)
    set_centre(net.skips[1], 0.6, bias=0.4)
    set_centre(net.last, 3.0, bias=-1.0)
    x = -2.0
    h = 0.5 * max(x, 0) + 0.25 * max(-x, 0) + 0.1
    after = h + 0.7 * max(2 * max(h, 0) - 0.3, 0) + 0.2
    output = 1.5 * h + 0.6 * after + 0.4
    assert_close(net(torch.tensor(x).view(1, 1, 1)).item(), 3 * max(output, 0) - 1)
