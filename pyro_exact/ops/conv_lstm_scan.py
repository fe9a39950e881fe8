r"""A convolutional LSTM over the rows or diagonals of a map, with a hand-written gradient.

A row of cells is moved over a map; each step updates a window of these cells. Maps are stored in
the order of the steps, the cells of a step together, so that a step is a matrix product for all
cells and for the whole batch. `conv_lstm_scan_reference` is the plain formula, which autograd
differentiates; `conv_lstm_scan` computes the same, faster, and should be used in networks.

Shape (for both):
    - gates: (maps, 4 units, places, n), the terms of the inputs in the gates o, f, i and g.
    - weight: (maps, 4 units, units, taps), the kernel of the hidden states.
    - hidden, cell: (maps, units), the initial state.
    - result: the hidden states, (maps, units, places, n).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Window = tuple[int, int]  # the first cell of a step, and the cell behind its last one

BEFORE = 1  # cells of padding in front: the first tap sees the cell before, none sees two before


def conv_lstm_scan(
    gates: Tensor,
    weight: Tensor,
    hidden: Tensor,
    cell: Tensor,
    windows: Sequence[Window],
) -> Tensor:
    """Return the hidden states of all places; see the module for shapes.

    Args:
        gates: Terms of the inputs in the gates.
        weight: Kernel of the hidden states.
        hidden: Initial hidden state, which is used for cells outside of the row.
        cell: Initial cell.
        windows: The cells that each step updates.
    """
    states: Tensor = ConvLSTMScan.apply(
        gates,
        weight,
        hidden,
        cell,
        windows,
    )
    return states


def conv_lstm_scan_reference(
    gates: Tensor,
    weight: Tensor,
    hidden: Tensor,
    cell: Tensor,
    windows: Sequence[Window],
) -> Tensor:
    """Compute `conv_lstm_scan` cell by cell, as the formula says."""
    maps = len(hidden)
    taps = weight.shape[-1]
    n = gates.shape[-1]
    row = max(last for _, last in windows)

    result = []
    for m in range(maps):
        # A cell of padding in front, and behind as far as the last tap sees.
        initial_h = hidden[m].expand(n, -1)
        initial_c = cell[m].expand(n, -1)
        states = [initial_h] * (row + taps - 1)
        cells = [initial_c] * row
        outputs = []
        place = 0

        for first, last in windows:
            before = list(states)
            for j in range(first, last):
                # a + sum of W_k h_k
                a = gates[m, :, place].T
                for k in range(taps):
                    h = before[j + k]
                    kernel = weight[m, :, :, k]
                    a = a + h @ kernel.T

                h, c = lstm_cell(a, cells[j])
                states[j + BEFORE] = h
                cells[j] = c
                outputs.append(h.T)
                place += 1

        result.append(torch.stack(outputs, dim=1))

    return torch.stack(result)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hidden state and the cell: (..., 4 units), (..., units) -> (..., units) twice."""
    units = cell.shape[-1]
    sigmoids = gates[..., : 3 * units].sigmoid()
    o, f, i = sigmoids.chunk(3, -1)
    g = gates[..., 3 * units :].tanh()

    # c = f * c + i * g,  h = o * tanh(c)
    cell = torch.addcmul(i * g, f, cell)

    return o * cell.tanh(), cell


class ConvLSTMScan(torch.autograd.Function):
    r"""The scan and the gradient.

    With the gates :math:`(o, f, i, g) = (\sigma, \sigma, \sigma, \tanh)(a + \sum_k W_k h_k)`, a
    step computes :math:`c' = f c + i g` and :math:`h' = o \tanh c'`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        weight: Tensor,
        hidden: Tensor,
        cell: Tensor,
        windows: list[Window],
    ) -> Tensor:
        """Return the hidden states."""
        maps, units = hidden.shape
        taps = weight.shape[-1]
        places, n = gates.shape[2:]
        row = max(last for _, last in windows)

        # The current row of cells, with padding for the taps.
        padded = row + taps - 1
        states = hidden[..., None, None].repeat(1, 1, padded, n)
        cells = cell[..., None, None].repeat(1, 1, row, n)

        # Kept for the gradient, place by place: activated gates, hidden states that the kernel
        # sees, cells before the step, and tanh of the cells after it.
        activated = gates.clone()
        matrix = weight.flatten(2)
        seen = gates.new_empty(maps, units, taps, places, n)
        before = gates.new_empty(maps, units, places, n)
        tanh_c = torch.empty_like(before)
        result = torch.empty_like(before)

        for (first, last), span in zip(windows, _spans(windows), strict=True):
            near = states[:, :, first : last + taps - 1]
            neighbours = near.unfold(2, taps, 1)
            seen[:, :, :, span] = neighbours.movedim(-1, 2)

            # a + W h
            now = activated[:, :, span]
            columns = seen[:, :, :, span].flatten(1, 2)
            now.flatten(2).baddbmm_(matrix, columns.flatten(2))

            c = cells[:, :, first:last]
            before[:, :, span] = c
            h = result[:, :, span]
            _step(now, c, tanh_c[:, :, span], h)
            states[:, :, first + BEFORE : last + BEFORE] = h

        ctx.save_for_backward(weight, activated, seen, before, tanh_c)
        ctx.windows = windows
        ctx.row = row

        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        """Return the gradients of the gates, the weights and the initial state."""
        weight, activated, seen, before, tanh_c = ctx.saved_tensors
        maps, units, taps, _, n = seen.shape

        # Gradients of the current row of cells, from all later steps.
        padded = ctx.row + taps - 1
        grad_h = grad.new_zeros(maps, units, padded, n)
        grad_c = grad.new_zeros(maps, units, ctx.row, n)
        grad_gates = torch.empty_like(activated)
        transposed = weight.flatten(2).transpose(1, 2).contiguous()

        spans = _spans(ctx.windows)
        steps = list(zip(ctx.windows, spans, strict=True))
        for (first, last), span in reversed(steps):
            # dh' is the gradient of the result, and that of the later steps.
            later = grad_h[:, :, first + BEFORE : last + BEFORE]
            d_h = grad[:, :, span] + later
            later.zero_()

            out = grad_gates[:, :, span]
            _differentiate_step(
                activated[:, :, span],
                before[:, :, span],
                tanh_c[:, :, span],
                d_h,
                grad_c[:, :, first:last],
                out,
            )

            # dh of the neighbours: W^T times the gradient of the gates
            back = torch.bmm(transposed, out.flatten(2))
            back = back.view(maps, units, taps, -1, n)
            _add_by_tap(grad_h, back, first, last)

        # dW = sum of da h^T
        rows = seen.flatten(1, 2).flatten(2)
        grad_weight = torch.bmm(grad_gates.flatten(2), rows.transpose(1, 2))
        grad_hidden = grad_h.sum((2, 3))
        grad_cell = grad_c.sum((2, 3))

        return grad_gates, grad_weight.view_as(weight), grad_hidden, grad_cell, None


def _add_by_tap(grad_h: Tensor, back: Tensor, first: int, last: int) -> None:
    """Add the gradients of the neighbours of a step, (maps, units, taps, cells, n), to a row."""
    for tap in range(back.shape[2]):
        seen = slice(first + tap, last + tap)
        neighbours = grad_h[:, :, seen]
        neighbours += back[:, :, tap]


def _step(gates: Tensor, cell: Tensor, tanh_c: Tensor, hidden: Tensor) -> None:
    """Activate the gates, turn c into c', and write tanh(c') and h', in place."""
    # (o, f, i, g) = (sigmoid, sigmoid, sigmoid, tanh)(a + W h)
    units = cell.shape[1]
    gates[:, : 3 * units].sigmoid_()
    o, f, i, g = gates.chunk(4, 1)
    _tanh(g, out=g)

    # c' = f * c + i * g
    cell.mul_(f).addcmul_(i, g)

    # h' = o * tanh(c')
    _tanh(cell, out=tanh_c)
    torch.mul(o, tanh_c, out=hidden)


def _differentiate_step(
    gates: Tensor,
    cell: Tensor,
    tanh_c: Tensor,
    d_h: Tensor,
    d_c: Tensor,
    out: Tensor,
) -> None:
    """Write the gradient of the gates of a step into ``out``, and turn dc' into dc, in place.

    Args:
        gates: The activated gates o, f, i and g.
        cell: The cells c before the step.
        tanh_c: The tanh of the cells c' after the step.
        d_h: The gradient of h'.
        d_c: The gradient of c' from the later steps.
        out: The gradient of the gates.
    """
    units = cell.shape[1]
    o, f, i, g = gates.chunk(4, 1)
    d_o, d_f, d_i, d_g = out.chunk(4, 1)

    # h' = o tanh(c'):  dc' += dh' o (1 - tanh(c')^2)
    d_h_tanh = d_h * tanh_c
    d_c.addcmul_(d_h, o)
    d_c.addcmul_(d_h_tanh * tanh_c, o, value=-1)

    # do = dh' tanh(c'), df = dc' c, di = dc' g, each times s (1 - s) for the sigmoid s
    s = gates[:, : 3 * units]
    torch.addcmul(
        s,
        s,
        s,
        value=-1,
        out=out[:, : 3 * units],
    )
    d_o.mul_(d_h_tanh)
    d_f.mul_(d_c).mul_(cell)
    d_i.mul_(d_c).mul_(g)

    # dg = dc' i (1 - g^2)
    torch.addcmul(
        i,
        i * g,
        g,
        value=-1,
        out=d_g,
    )
    d_g.mul_(d_c)

    # dc = dc' f
    d_c.mul_(f)


def _spans(windows: Sequence[Window]) -> list[slice]:
    """Return the places of each step in a map."""
    lengths = [last - first for first, last in windows]
    ends = accumulate(lengths, initial=0)
    return [slice(first, last) for first, last in pairwise(ends)]


def _tanh(x: Tensor, out: Tensor) -> Tensor:
    """Compute tanh(x) = 2 sigmoid(2 x) - 1, which takes an eighth of the time of tanh on a CPU."""
    torch.mul(x, 2, out=out)
    out.sigmoid_()
    return out.mul_(2).sub_(1)
