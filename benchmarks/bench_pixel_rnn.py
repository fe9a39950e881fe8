"""PixelRNN at the size for MNIST: training beside an eager loop, samples beside whole passes, and the cost by size."""

from collections.abc import Callable

import torch
from harness import DEVICE, alternate, peak_megabytes, report
from torch.nn import functional as F

from pyro_exact.autoregressive import Autoregressive, CausalNet, DiagonalBiLSTM, RowLSTM
from pyro_exact.autoregressive.pixel_rnn.net import Layer, bias

SIDE, BATCH, PASSES = 28, 16, 4
IMAGES = (1, 16, 64)


def skewed(maps: torch.Tensor) -> torch.Tensor:
    """Return a map (N, C, H, W) with row r moved r columns to the right: (N, C, H, H + W - 1)."""
    n, channels, height, width = maps.shape
    wide = F.pad(maps, (0, height)).flatten(2)[..., : height * (height + width - 1)]
    return wide.view(n, channels, height, height + width - 1)


def straight(maps: torch.Tensor) -> torch.Tensor:
    """Return what `skewed` took."""
    height = maps.shape[2]
    width = maps.shape[3] - height + 1
    return F.pad(maps.flatten(2), (0, height)).unflatten(2, (height, height + width))[..., :width]


def states(layer: Layer, maps: torch.Tensor, direction: int) -> torch.Tensor:
    """Sweep one map column by column, as the paper describes it, and leave the gradient to autograd."""
    weight, constant = (
        t.chunk(2)[direction] for t in (layer.inputs.masked(), bias(layer.inputs).squeeze(-1))
    )
    columns, outputs = skewed(F.conv2d(maps, weight, constant)).unbind(-1), []
    h = c = columns[0].new_zeros(len(maps), columns[0].shape[1] // 4, maps.shape[2])
    for column in columns:
        gates = column + F.conv1d(F.pad(h, (1, 0)), layer.states.weight[direction])
        o, f, i, g = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return straight(torch.stack(outputs, dim=-1))


def eager(net: DiagonalBiLSTM, x: torch.Tensor) -> torch.Tensor:
    """The usual implementation of the network, for initial states of zero."""
    maps = net.first(net.scaled(x))
    for layer in net.layers:
        right = states(layer, maps.flip(-1), 1).flip(-1)
        maps = maps + layer.up(states(layer, maps, 0) + F.pad(right[:, :, :-1], (0, 0, 1, 0)))
    for convolution in (*net.head, net.last):
        maps = convolution(maps.relu())
    return maps.unsqueeze(-1)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    shape, settings = (1, SIDE, SIDE), {"levels": 2, "width": 16, "depth": 7, "head_width": 32}
    diagonal, row = (
        DiagonalBiLSTM(shape, **settings).to(DEVICE),
        RowLSTM(shape, **settings).to(DEVICE),
    )
    large = DiagonalBiLSTM((1, 2 * SIDE, 2 * SIDE), **settings).to(DEVICE)
    x, x_large = (
        torch.randint(2, (BATCH, *net.event_shape), device=DEVICE).float()
        for net in (diagonal, large)
    )
    torch.testing.assert_close(eager(diagonal, x), diagonal(x), rtol=1e-4, atol=1e-4)

    def train(
        net: CausalNet, theta: Callable[[], torch.Tensor], x: torch.Tensor
    ) -> Callable[[], object]:
        weights = [p for name, p in net.named_parameters() if not name.endswith(("hidden", "cell"))]
        return lambda: torch.autograd.grad(
            F.binary_cross_entropy_with_logits(theta(), x.unsqueeze(-1)), weights
        )

    training = {
        "training, eager": train(diagonal, lambda: eager(diagonal, x), x),
        "training, ours": train(diagonal, lambda: diagonal(x), x),
        "training, Row LSTM": train(row, lambda: row(x), x),
        f"training, {2 * SIDE} x {2 * SIDE}": train(large, lambda: large(x_large), x_large),
    }
    ms = alternate(training, rounds=5, warmup=1)
    peaks = {name: peak_megabytes(training[name]) for name in ("training, eager", "training, ours")}
    ratios = [
        {
            "what": "training, eager / ours",
            "value": ms["training, eager"] / ms["training, ours"],
            "bar": "for comparison",
        },
        {
            "what": f"training per pixel, {2 * SIDE} x {2 * SIDE} / {SIDE} x {SIDE}",
            "value": ms[f"training, {2 * SIDE} x {2 * SIDE}"] / 4 / ms["training, ours"],
            "bar": "1: linear in width x height",
        },
    ]
    for net in (diagonal, row):
        name, d = type(net).__name__, Autoregressive(net)
        for images in IMAGES:

            def naive(net: CausalNet = net, images: int = images) -> None:
                state, previous = CausalNet.init_state(net, (images,)), None
                for _ in range(PASSES):
                    with torch.no_grad():
                        theta, state = CausalNet.step(net, state, previous)
                    previous = (theta[..., 0] > 0).to(theta.dtype)

            rows = {"naive": naive, "fast": lambda d=d, images=images: d.sample((images,))}
            times = alternate(rows, rounds=3, warmup=1)
            times["naive"] *= net.sites / PASSES
            ms |= {f"{name}, {images} images, {kind}": time for kind, time in times.items()}
            ratios.append(
                {
                    "what": f"{name}, {images} images, naive / fast",
                    "value": times["naive"] / times["fast"],
                    "bar": "at least 50" if net is diagonal else "for comparison",
                }
            )
    what = (
        f"PixelRNN, {SIDE} x {SIDE}, 7 layers, 16 units: the gradient for {BATCH} images, and samples; "
        f"naive is {PASSES} of {diagonal.sites} passes, times {diagonal.sites // PASSES}"
    )
    report("pixel_rnn", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
