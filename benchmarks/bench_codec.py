"""Compression by PixelCNN++ of the size of pixel_cnn_pp_cifar10_small: encode, decode, and sample.

The weights are random: the steps take the same time with any weights. The images are draws.
"""

from __future__ import annotations

import torch
from harness import alternate, report

from pyro_exact.autoregressive import Autoregressive, PixelCNNpp
from pyro_exact.codec import compress, decompress
from pyro_exact.models import Density
from pyro_exact.recipes import load_recipe

IMAGES, SHAPE = 64, (3, 32, 32)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    settings = dict(load_recipe("pixel_cnn_pp_cifar10_small").model)
    settings.pop("name")
    net = PixelCNNpp(SHAPE, 256, **settings)
    net.initialize(torch.randint(256, (8, *SHAPE)).float())
    model = Density(Autoregressive(net)).eval()

    images = model.sample(IMAGES).to(torch.uint8)
    data = compress(model, images, block_size=IMAGES)
    contenders = {
        "sample": lambda: model.sample(IMAGES),
        "compress": lambda: compress(model, images, block_size=IMAGES),
        "decompress": lambda: decompress(model, data),
    }
    ms = alternate(contenders, rounds=1, warmup=0)

    ratios = [
        {"what": f"{name} / sample", "value": ms[name] / ms["sample"], "bar": "at most 2"}
        for name in ("compress", "decompress")
    ]
    what = f"{IMAGES} images of 3x32x32 by PixelCNN++ of 32 filters, coded and drawn step by step"
    report("codec", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
