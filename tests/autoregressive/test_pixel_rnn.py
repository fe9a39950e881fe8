"""Row LSTM and Diagonal BiLSTM: the loop against its formula, what each number depends on, and how many weights."""

import pytest
import torch
from helpers.pixel_nets import dependence, randomised
from torch.testing import assert_close

from pyro_exact.autoregressive import DiagonalBiLSTM, RowLSTM
from pyro_exact.autoregressive.pixel_rnn.conv_lstm import ConvLSTM
from pyro_exact.ops.conv_lstm_scan import lstm_cell

pytestmark = pytest.mark.usefixtures("double")

KINDS = [RowLSTM, DiagonalBiLSTM]

ROWS = [(0, 4)] * 3

DIAGONALS = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]  # of an image of 3 x 3


def plain(lstm, gates, windows):
    """The recurrence as the formula says it, cell by cell."""
    maps, _, units, taps = lstm.weight.shape
    n, row, results = gates.shape[-1], max(last for _, last in windows), []
    for m in range(maps):
        initial = lstm.hidden[m].expand(n, -1), lstm.cell[m].expand(n, -1)
        states, place, result = dict.fromkeys(range(row), initial), 0, []
        for first, last in windows:
            new = dict(states)
            for j in range(first, last):
                seen = [states.get(j - 1 + k, initial)[0] for k in range(taps)]
                a = gates[m, :, place].T + sum(
                    h @ lstm.weight[m, :, :, k].T for k, h in enumerate(seen)
                )
                o, f, i, g = a.split(units, dim=1)
                c = f.sigmoid() * states[j][1] + i.sigmoid() * g.tanh()
                new[j] = o.sigmoid() * c.tanh(), c
                result.append(new[j][0].T)
                place += 1
            states = new
        results.append(torch.stack(result, dim=1))
    return torch.stack(results)


@pytest.mark.parametrize(
    ("taps", "maps", "windows"), [(3, 1, ROWS), (2, 2, DIAGONALS)], ids=["rows", "diagonals"]
)
def test_conv_lstm_loop_and_gradient_are_those_of_the_formula(taps, maps, windows):
    lstm = randomised(ConvLSTM(5, taps, maps), 0)
    gates = torch.randn(
        maps, 20, sum(last - first for first, last in windows), 6, requires_grad=True
    )
    outputs = [lstm(gates, windows), plain(lstm, gates, windows)]
    assert_close(*outputs, rtol=1e-12, atol=1e-12)
    inputs = [gates, *lstm.parameters()]
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((y * weights).sum(), inputs) for y in outputs]
    assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_conv_lstm_cell_of_a_step_is_a_cell_of_the_loop():
    gates, cell = torch.randn(7, 12), torch.randn(7, 3)
    lstm = ConvLSTM(3, 2)
    lstm.cell.data.copy_(cell[:1])
    hidden = lstm(gates.T[None, :, None], [(0, 1)])[0, :, 0].T
    assert_close(lstm_cell(gates, cell[:1].expand(7, -1))[0], hidden, rtol=1e-12, atol=1e-12)


def places(height, width):
    """Offsets of each pixel (second dimension) from each pixel (first): rows up, and columns to the right."""
    row, column = torch.arange(height * width) // width, torch.arange(height * width) % width
    return row[:, None] - row, column - column[:, None]


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("kind", KINDS)
def test_pixel_rnn_colours_see_every_element_before_and_no_other(kind, train):
    found = dependence(lambda: kind((3, 3, 4), 4, width=6, depth=2, head_width=24), train=train)
    assert torch.equal(found, torch.ones_like(found).tril(-1))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_diagonal_bilstm_sees_every_pixel_before_but_one(train):
    height, width = 4, 7
    found = dependence(
        lambda: DiagonalBiLSTM((1, height, width), 2, width=4, depth=1, head_width=8), train=train
    )
    up, right = places(height, width)
    column = torch.arange(height * width) % width
    unseen = (up == 1) & (column == width - 1) & (right > 3)
    assert torch.equal(found, torch.ones_like(found).tril(-1) & ~unseen)


def test_row_lstm_sees_a_triangle():
    height, width, layers = 5, 12, 2
    found = dependence(lambda: RowLSTM((1, height, width), 2, width=4, depth=layers, head_width=8))
    up, right = places(height, width)
    triangle = (up > 0) & (right <= up + 2) & (-right <= up + 3 + layers)
    assert torch.equal(found, triangle | ((up == 0) & (right < 0) & (-right <= 3 + layers)))


def looks_ahead(make):
    return dependence(make).triu().any()


def test_diagonal_bilstm_map_from_the_right_in_its_row_is_seen_to_leak():
    def leaky():
        net = DiagonalBiLSTM((1, 3, 4), 2, width=4, depth=1, head_width=8)
        net.from_above.copy_(net.mirror)
        return net

    assert looks_ahead(leaky)


def test_diagonal_bilstm_padding_below_the_image_is_seen_to_leak(monkeypatch):
    def make():
        return DiagonalBiLSTM((1, 3, 4), 2, width=4, depth=1, head_width=8)

    assert not looks_ahead(make)
    monkeypatch.setattr("pyro_exact.ops.conv_lstm_scan.BEFORE", 0)
    assert looks_ahead(make)


def test_pixel_rnn_gates_that_mix_the_colours_are_seen_to_leak():
    def leaky():
        net = RowLSTM((3, 2, 2), 4, width=6, depth=1, head_width=24)
        net.layers[0].inputs.mask.fill_(True)
        return net

    assert looks_ahead(leaky)


@pytest.mark.parametrize(
    ("kind", "taps", "maps", "seen"), [(RowLSTM, 3, 1, 2), (DiagonalBiLSTM, 2, 2, 1)]
)
def test_pixel_rnn_for_mnist_has_as_many_weights_as_the_paper_says(kind, taps, maps, seen):
    net = kind((1, 28, 28), 2, width=16, depth=7, head_width=32)
    first = 32 * (3 * 7 + 3) + 32  # three rows, and three pixels on the left
    gates = maps * 64 * (32 * seen + 1 + 16 * taps)
    initial, up = maps * 2 * 16, 32 * (16 + 1)
    head = 2 * 32 * (32 + 1) + 32 + 1
    hidden = 32 * (
        1 + 3
    )  # of the kernel of the first convolution: the pixel itself, and what is on its right
    assert (
        sum(p.numel() for p in net.parameters()) - hidden
        == first + 7 * (gates + initial + up) + head
    )
    assert (
        sum(p.numel() for p in net.parameters()) - hidden
        == {RowLSTM: 57_601, DiagonalBiLSTM: 65_441}[kind]
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 9, 5), (3, 4, 7)], ids=str)
def test_pixel_rnn_steps_in_float32_are_close_to_whole_passes(kind, shape):
    net = kind(shape, 5, width=8, depth=3, head_width=8).float()
    x = torch.randint(5, (2, *shape)).float()
    theta, state, previous = net(x).flatten(1, -2), net.init_state((2,)), None
    for site in net.orders[0].tolist():
        logits, state = net.step(state, previous)
        assert_close(logits.squeeze(1), theta[:, site], rtol=1e-4, atol=1e-4)
        previous = x.flatten(1)[:, [site]]


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_rnn_keeps_the_precision_of_the_recurrence_under_autocast(kind):
    net = kind((1, 4, 5), 2, width=4, depth=2, head_width=8).float()
    x = torch.randint(2, (3, 1, 4, 5)).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = net(x)
    assert_close(inside, net(x))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda kind: kind((8, 8)), r"expects a shape \(C, H, W\); got \(8, 8\)"),
        (lambda kind: kind((1, 8, 8), levels=1), r"expects levels from 2 to \d+; got 1"),
        (
            lambda kind: kind((3, 8, 8), width=2, head_width=3),
            "at least 3 channels, one for each colour; got 2",
        ),
        (lambda kind: kind((1, 8, 8), depth=0), r"expects depth from 1 to \d+; got 0"),
        (
            lambda kind: kind((1, 8, 8), 2)(torch.zeros(5, 8, 8)),
            r"expects x of shape \(\*batch, 1, 8, 8\); got \(5, 8, 8\)",
        ),
    ],
)
def test_pixel_rnn_refuses_impossible_settings(kind, run, message):
    with pytest.raises(ValueError, match=message):
        run(kind)
