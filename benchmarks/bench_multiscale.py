"""Samples of a Multiscale PixelCNN, beside a Gated PixelCNN of as many parameters, and by the side of the image.

- 16 samples of 32x32 and 64x64 pixels of three colours, from a base of 4x4 pixels, and of a Gated
  PixelCNN whose width is chosen so that it has nearly as many parameters. Both keep the features of
  earlier steps, and both have a mixture of discretised logistics over whole pixels.
- A sample of 16, 32, 64 and 128 pixels a side of the Multiscale PixelCNN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness import DEVICE, alternate, report

from pyro_exact.autoregressive import (
    Autoregressive,
    CausalNet,
    GatedPixelCNN,
    MultiscalePixelCNN,
    multiscale_pixel_cnn,
)
from pyro_exact.likelihoods import DiscretizedLogisticMixture

IMAGES, BASE, COMPONENTS = 16, 4, 5
SIDES = 16, 32, 64, 128
COMPARED = 32, 64
DEPTH = 8
WIDTHS = range(16, 257, 2)


def multiscale(side: int) -> MultiscalePixelCNN:
    """Return a small Multiscale PixelCNN of images of a side."""
    return multiscale_pixel_cnn(
        (3, side, side),
        scales=(side // BASE).bit_length() - 1,
        width=32,
        depth=4,
        head_width=64,
        base_width=32,
        base_depth=4,
        base_head_width=64,
        components=COMPONENTS,
    )


def gated(side: int, parameters: int) -> GatedPixelCNN:
    """Return a Gated PixelCNN with as many parameters, as near as its width allows."""

    def of(width: int) -> GatedPixelCNN:
        likelihood = DiscretizedLogisticMixture(3, 256, COMPONENTS)
        shape = 3, side, side
        return GatedPixelCNN(shape, 256, width, DEPTH, head_width=64, likelihood=likelihood)

    width = min(WIDTHS, key=lambda width: abs(count(of(width)) - parameters))
    return of(width)


def count(net: CausalNet) -> int:
    """Return how many parameters a network has."""
    return sum(p.numel() for p in net.parameters())


def sampling(net: CausalNet, images: int) -> Callable[[], Any]:
    """Return a function that draws images."""
    distribution = Autoregressive(net.to(DEVICE).eval())
    return lambda: distribution.sample((images,))


def main() -> None:
    """Measure samples of both networks, and of four sides."""
    ms: dict[str, float] = {}
    ratios: list[dict[str, Any]] = []

    for side in COMPARED:
        ours = multiscale(side)
        theirs = gated(side, count(ours))
        names = {
            net: f"{IMAGES} samples {side}x{side}, {kind}, {net.num_steps} steps, "
            f"{count(net):,} parameters"
            for net, kind in ((ours, "MultiscalePixelCNN"), (theirs, "GatedPixelCNN"))
        }
        contenders = {name: sampling(net, IMAGES) for net, name in names.items()}
        ms |= alternate(contenders, rounds=1, warmup=1)

        ratios.append(
            {
                "what": f"steps of GatedPixelCNN / steps of MultiscalePixelCNN, {side}x{side}",
                "value": theirs.num_steps / ours.num_steps,
                "bar": "at least 20",
            }
        )
        ratios.append(
            {
                "what": f"time of GatedPixelCNN / time of MultiscalePixelCNN, {side}x{side}",
                "value": ms[names[theirs]] / ms[names[ours]],
                "bar": "more than 1",
            }
        )

    nets = {side: multiscale(side) for side in SIDES}
    by_side = {
        f"1 sample {side}x{side}, MultiscalePixelCNN, {net.num_steps} steps": sampling(net, 1)
        for side, net in nets.items()
    }
    ms |= alternate(by_side, rounds=5, warmup=1)

    what = (
        f"samples of images of three colours from a base of {BASE}x{BASE} pixels, mixtures of "
        f"{COMPONENTS} logistics over whole pixels"
    )
    report("multiscale", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
