"""Glow (3 scales, 4 steps) on CIFAR-sized images: a training step and sampling beside normflows, nflows and the floor
below all, the convolutions of the networks alone; and the same for RealNVP and Flow++, which have no peer."""

from __future__ import annotations

from math import prod

import torch
from bench_glow_step import bare_convolutions
from glow_cifar10_normflows import bits_per_dim
from glow_cifar10_normflows import glow as normflows_glow
from harness import DEVICE, alternate, peak_megabytes, report
from nflows.distributions import StandardNormal as NflowsNormal
from nflows.flows import Flow as NflowsFlow
from nflows.nn.nets import ConvResidualNet
from nflows.transforms import (
    ActNorm,
    AffineCouplingTransform,
    CompositeTransform,
    MultiscaleCompositeTransform,
    OneByOneConvolution,
    SqueezeTransform,
)

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import flow_pp, glow, image_real_nvp
from pyro_exact.transforms import Bijection

SHAPE, BATCH, SAMPLES, DEPTH, WIDTH = (3, 32, 32), 16, 64, 4, 64


def nflows_glow(width: int) -> NflowsFlow:
    """nflows' parts of Glow: its couplings have residual networks, here of one block."""
    channels, height, breadth = SHAPE
    multiscale = MultiscaleCompositeTransform(num_transforms=3)
    for index in range(3):
        channels, height, breadth = 4 * channels, height // 2, breadth // 2
        mask = torch.ones(channels)
        mask[: channels // 2] = -1
        steps = [SqueezeTransform()]
        for _ in range(DEPTH):
            net = lambda inputs, outputs: ConvResidualNet(inputs, outputs, width, num_blocks=1)  # noqa: E731
            steps += [
                ActNorm(channels),
                OneByOneConvolution(channels),
                AffineCouplingTransform(mask, net),
            ]
        shape = multiscale.add_transform(CompositeTransform(steps), (channels, height, breadth))
        if index < 2:
            channels = shape[0]
    return NflowsFlow(multiscale, NflowsNormal([prod(SHAPE)]))


def count(module: torch.nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


def matched(parameters: int) -> NflowsFlow:
    """Return nflows' Glow with the width whose number of parameters is nearest to ours."""
    width = min(range(16, 129, 2), key=lambda width: abs(count(nflows_glow(width)) - parameters))
    return nflows_glow(width)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (BATCH, *SHAPE), dtype=torch.uint8, device=DEVICE)

    def noisy() -> torch.Tensor:
        return images.float() + torch.rand(images.shape, device=DEVICE)

    def ours(bijection: Bijection) -> Flow:
        flow = Flow(StandardNormal(prod(SHAPE)), bijection.inv).to(DEVICE)
        bijection.initialize(noisy())
        return flow

    flows = {
        "glow": ours(glow(SHAPE, scales=3, steps=DEPTH, width=WIDTH, scale="sigmoid")),
        "real_nvp": ours(image_real_nvp(SHAPE, width=16, depth=2)),
        "flow_pp": ours(flow_pp(SHAPE, width=16, depth=1, components=4)),
    }
    peer = normflows_glow(scales=3, depth=DEPTH, width=WIDTH, shape=SHAPE).to(DEVICE)
    other = matched(count(flows["glow"])).to(DEVICE)
    with torch.no_grad():
        bits_per_dim(peer, images)
        other.log_prob(noisy() / 256 - 0.5)

    def step(module: torch.nn.Module, loss) -> None:
        module.zero_grad()
        loss().mean().backward()

    @torch.no_grad()
    def sample(draw) -> None:
        draw()

    steps = {
        "step, normflows glow": lambda: step(peer, lambda: bits_per_dim(peer, images)),
        "step, nflows glow": lambda: step(other, lambda: -other.log_prob(noisy() / 256 - 0.5)),
    }
    steps |= {
        f"step, {name}": lambda flow=flow: step(flow, lambda: -flow().log_prob(noisy()))
        for name, flow in flows.items()
    }
    samples = {
        "sample, normflows glow": lambda: sample(lambda: peer.sample(SAMPLES)),
        "sample, nflows glow": lambda: sample(lambda: other.sample(SAMPLES)),
    }
    samples |= {
        f"sample, {name}": lambda flow=flow: sample(lambda: flow().sample((SAMPLES,)))
        for name, flow in flows.items()
    }
    floors = {
        "step, glow's convolutions": bare_convolutions(depth=DEPTH, width=WIDTH, batch=BATCH),
        "sample, glow's convolutions": torch.no_grad()(
            bare_convolutions(depth=DEPTH, width=WIDTH, batch=SAMPLES, backward=False)
        ),
    }
    ms = alternate(steps | samples | floors, rounds=7, warmup=2)
    peaks = {name: peak_megabytes(run) for name, run in steps.items()}

    ratios = [
        {
            "what": f"{peer}: {action}",
            "value": ms[f"{action}, {peer} glow"] / ms[f"{action}, glow"],
            "bar": bar,
        }
        for peer in ("normflows", "nflows")
        for action, bar in (("step", "at least 2.5"), ("sample", "at least 2"))
    ]
    ratios += [
        {
            "what": f"normflows / the convolutions alone: {action}",
            "value": ms[f"{action}, normflows glow"] / ms[f"{action}, glow's convolutions"],
            "bar": "none",
        }
        for action in ("step", "sample")
    ]
    parameters = f"{count(flows['glow']) / 1e6:.2f}, {count(peer) / 1e6:.2f} and {count(other) / 1e6:.2f} million"
    what = (
        f"Glow with 3 scales and {DEPTH} steps of ours, normflows and nflows ({parameters} parameters): "
        f"a training step on {BATCH} images of 3x32x32, and a sample of {SAMPLES}"
    )
    report("image_flows", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
