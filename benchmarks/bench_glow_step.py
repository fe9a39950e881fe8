"""A training step of Glow (3 scales, 8 steps, width 128) on 16 CIFAR-sized images: ours and normflows'.

The third contender is the floor below both: the convolutions of the couplings' networks, and
nothing else.
"""

import math

import torch
from glow_cifar10_normflows import bits_per_dim
from glow_cifar10_normflows import glow as normflows_glow
from harness import DEVICE, alternate, peak_megabytes, report
from torch.nn import functional as F

from pyro_exact.flows import glow

SHAPE = (3, 32, 32)


def bare_convolutions(
    scales: int = 3, depth: int = 8, width: int = 128, batch: int = 16, backward: bool = True
):
    """The convolutions of that Glow's networks, on random numbers of the right shapes."""
    pairs = []
    for scale in range(1, scales + 1):
        half, side = 3 * 2**scale, SHAPE[1] // 2**scale
        for inputs, outputs, size in ((half, width, 3), (width, width, 1), (width, 2 * half, 3)):
            x = torch.randn(batch, inputs, side, side, device=DEVICE).contiguous(
                memory_format=torch.channels_last
            )
            weight = torch.randn(outputs, inputs, size, size, device=DEVICE)
            pairs.append(
                (
                    x.requires_grad_(),
                    weight.contiguous(memory_format=torch.channels_last).requires_grad_(),
                )
            )

    def run() -> None:
        for x, weight in pairs * depth:
            y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
            if backward:
                torch.autograd.grad(y, (x, weight), torch.ones_like(y))

    return run


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (16, *SHAPE), dtype=torch.uint8, device=DEVICE)
    peer = normflows_glow(scales=3, depth=8, width=128, shape=SHAPE).to(DEVICE)
    flows = {
        name: glow(
            SHAPE,
            scales=3,
            steps=8,
            width=128,
            scale="sigmoid",
            recompute=name == "ours, recompute",
        ).to(DEVICE)
        for name in ("ours", "ours, recompute")
    }

    def loss(flow: torch.nn.Module) -> torch.Tensor:
        z, ladj = flow.forward_and_ladj(images.float() + torch.rand(images.shape, device=DEVICE))
        log_p = -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1) + ladj
        return -log_p.mean() / (z.shape[-1] * math.log(2))

    def step(module: torch.nn.Module, run) -> None:
        module.zero_grad()
        run().backward()

    with torch.no_grad():
        for flow in flows.values():
            flow.initialize(images.float())
        bits_per_dim(peer, images)
    contenders = {"normflows": lambda: step(peer, lambda: bits_per_dim(peer, images).mean())}
    contenders |= {
        name: lambda flow=flow: step(flow, lambda: loss(flow)) for name, flow in flows.items()
    }
    peaks = {name: peak_megabytes(run) for name, run in contenders.items()}
    ms = alternate({**contenders, "the convolutions alone": bare_convolutions()}, rounds=15)
    ratios = [
        {"what": "normflows / ours", "value": ms["normflows"] / ms["ours"], "bar": "at least 2.5"},
        {
            "what": "peak memory, ours with recompute / normflows",
            "value": peaks["ours, recompute"] / peaks["normflows"],
            "bar": "at most 0.5",
        },
        {
            "what": "normflows / the convolutions alone",
            "value": ms["normflows"] / ms["the convolutions alone"],
            "bar": "none",
        },
        {
            "what": "normflows / ours with recompute",
            "value": ms["normflows"] / ms["ours, recompute"],
            "bar": "none",
        },
    ]
    what = "training step (forward, backward) of Glow, 3 scales, 8 steps, width 128, batch 16 of 3x32x32"
    report("glow_step", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
