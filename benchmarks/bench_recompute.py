"""The memory of a training step of Glow against its depth, with ``recompute`` and without; draws a picture of it."""

from __future__ import annotations

from pathlib import Path

import torch
from harness import DEVICE, alternate, peak_megabytes, report
from matplotlib.figure import Figure

from pyro_exact.flows import glow
from pyro_exact.transforms import Bijection

SHAPE, BATCH, WIDTH, DEPTHS = (3, 32, 32), 16, 32, (4, 8, 16, 32)
NAMES = {False: "all activations stored", True: "recompute"}
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "recompute_memory.png"


def step(flow: Bijection, images: torch.Tensor) -> None:
    """Run a training step."""
    flow.zero_grad()
    z, ladj = flow.forward_and_ladj(images)
    (z.square().sum(-1) / 2 - ladj).mean().backward()


def draw(activations: dict[bool, list[float]]) -> None:
    """Draw the memory of the activations over the depth."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axis = figure.subplots()
    for recompute, marker in ((False, "o"), (True, "s")):
        axis.plot(DEPTHS, activations[recompute], marker=marker, label=NAMES[recompute])
    axis.set(xlabel="K, steps of Glow", ylabel="activations of a training step, MB", xticks=DEPTHS)
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.savefig(PICTURE, dpi=150)


def main() -> None:
    """Measure, draw and report."""
    torch.manual_seed(0)
    images = 256 * torch.rand(BATCH, *SHAPE, device=DEVICE)
    peaks: dict[str, float] = {}
    steps = {}
    activations: dict[bool, list[float]] = {False: [], True: []}
    for recompute, found in activations.items():
        for depth in DEPTHS:
            flow = glow(
                SHAPE, scales=1, steps=depth, width=WIDTH, scale="sigmoid", recompute=recompute
            ).to(DEVICE)
            flow.initialize(images)
            name = f"K = {depth}, {NAMES[recompute]}"
            steps[name] = lambda flow=flow: step(flow, images)
            gradients = 4 * sum(p.numel() for p in flow.parameters()) / 1e6
            peaks[name] = peak_megabytes(steps[name]) - gradients
            found.append(peaks[name])
    draw(activations)
    ms = alternate(steps, rounds=5, warmup=2)
    ratios = [
        {
            "what": f"activations for K = 32 / K = 4, {NAMES[recompute]}",
            "value": found[-1] / found[0],
            "bar": bar,
        }
        for (recompute, found), bar in zip(
            activations.items(), ("for comparison", "about 1"), strict=True
        )
    ]
    times = [ms[f"K = {DEPTHS[-1]}, {name}"] for name in NAMES.values()]
    ratios.append(
        {
            "what": "K = 32: time with recompute / without",
            "value": times[1] / times[0],
            "bar": "none",
        }
    )
    what = (
        f"Training step of Glow with 1 scale, K steps and width {WIDTH}, batch {BATCH} of 3x32x32; the memory is that "
        f"of the activations, without the gradients of the parameters"
    )
    report("recompute", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
