"""NADE, MADE, DeepNADE or ConvNADE on binarised 8x8 digits with stock Pyro: training, scores, samples and completions.

The guide is empty, or for DeepNADE and ConvNADE draws the subset of known pixels, so the ELBO is
log p(x) itself.

    python examples/nade.py                     # half a minute on one core
    python examples/nade.py --net conv_nade     # or made, or deep_nade
    python examples/nade.py --smoke             # a few steps, for a test

It writes runs/examples/nade.png.
"""

from pathlib import Path
from typing import Literal

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

from pyro_exact import data
from pyro_exact.autoregressive import MADE, NADE, Autoregressive, ConvNADE, DeepNADE
from pyro_exact.models import Density, GenerativeModel, OrderAgnostic
from pyro_exact.plots import save_grids

SHAPE = (1, 8, 8)

# DeepNADE and ConvNADE are trained for all orders. They are scored and sampled in this order.
ROW_BY_ROW = [range(64)]

MODELS = {
    "nade": lambda: Density(Autoregressive(NADE(SHAPE, width=100))),
    "made": lambda: Density(Autoregressive(MADE(SHAPE, hidden_dims=(200,)))),
    "deep_nade": lambda: OrderAgnostic(DeepNADE(SHAPE, hidden_dims=(100, 100), orders=ROW_BY_ROW)),
    "conv_nade": lambda: OrderAgnostic(
        ConvNADE(SHAPE, hidden_dims=(100, 100), width=16, kernels=[3, 3], orders=ROW_BY_ROW)
    ),
}


def fit(model: GenerativeModel, x: Tensor, steps: int) -> None:
    """Train by stock SVI."""
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 5e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(adam)
    svi = SVI(model.model, model.guide, scheduler, Trace_ELBO())

    for step in range(steps):
        loss = svi.step(x[torch.randint(len(x), (100,))]) / 100
        scheduler.step()

        if step % 500 == 0:
            print(f"step {step:5}  {loss:.2f} nats per image")


def complete(distribution: Autoregressive, images: Tensor) -> Tensor:
    """Return eight images for each image, with the lower half drawn anew."""
    # The upper half comes first in the order, so a completion is a sample of
    # p(lower half | upper half).
    upper = torch.zeros(SHAPE, dtype=torch.bool)
    upper[:, :4] = True
    return distribution.sample(observed=images.repeat_interleave(8, 0), mask=upper)


def main(
    net: Literal["nade", "made", "deep_nade", "conv_nade"] = "nade",
    steps: int = 2000,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Train a network on digits of black and white pixels.

    Args:
        net: Name of the network.
        steps: Number of optimiser steps.
        out: Folder for the picture.
        smoke: Take a few steps only.
    """
    steps = 2 if smoke else steps
    pyro.set_rng_seed(0)

    digits = data.load("digits")
    train, test = ((images > digits.levels // 2).float() for images in (digits.train, digits.test))

    # The network computes p(x_d | x_<d) for each pixel; the distribution is their product.
    model = MODELS[net]()
    model.initialize(train)
    fit(model, train, steps)

    model.eval()
    distribution = Autoregressive(model.net)
    with torch.no_grad():
        print(f"test        {-distribution.log_prob(test).mean():.2f} nats per image")

    grids = {
        "test images": test[:64],
        "samples": distribution.sample((64,)),
        "eight test images, lower halves drawn": complete(distribution, test[:8]),
    }
    dark_on_white = {title: 1 - images for title, images in grids.items()}
    picture = out / f"{net}.png"
    save_grids(dark_on_white, 2, picture)
    print(f"Wrote {picture}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
