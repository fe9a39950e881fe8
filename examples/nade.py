"""NADE, MADE, DeepNADE or ConvNADE on binarised 8x8 digits with stock Pyro: train, score, sample, and complete images.

The guide is empty, or for DeepNADE and ConvNADE draws which pixels are known, so the ELBO is log
p(x) itself.

    python examples/nade.py                     # half a minute on one core; writes
    runs/examples/nade.png python examples/nade.py --net conv_nade     # or made, or deep_nade
    python examples/nade.py --smoke             # a few steps, to see that it runs
"""

from pathlib import Path
from typing import Literal

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO

from pyro_exact import data
from pyro_exact.autoregressive import MADE, NADE, Autoregressive, ConvNADE, DeepNADE
from pyro_exact.models import Density, OrderAgnostic
from pyro_exact.plots import save_grids

SHAPE = (1, 8, 8)
ROW_BY_ROW = [
    range(64)
]  # DeepNADE and ConvNADE know all orders: they are scored and sampled in this one

MODELS = {
    "nade": lambda: Density(Autoregressive(NADE(SHAPE, width=100))),
    "made": lambda: Density(Autoregressive(MADE(SHAPE, hidden_dims=(200,)))),
    "deep_nade": lambda: OrderAgnostic(DeepNADE(SHAPE, hidden_dims=(100, 100), orders=ROW_BY_ROW)),
    "conv_nade": lambda: OrderAgnostic(
        ConvNADE(SHAPE, hidden_dims=(100, 100), width=16, kernels=[3, 3], orders=ROW_BY_ROW)
    ),
}


def main(
    net: Literal["nade", "made", "deep_nade", "conv_nade"] = "nade",
    steps: int = 2000,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Train a network on digits of black and white pixels.

    Args:
        net: Which network.
        steps: Optimiser steps.
        out: Folder for the picture.
        smoke: Whether to take a few steps only.
    """
    steps = 2 if smoke else steps
    pyro.set_rng_seed(0)
    digits = data.load("digits")
    train, test = ((images > digits.levels // 2).float() for images in (digits.train, digits.test))

    # The network gives p(x_d | x_<d) for each pixel, row by row; the distribution is their product.
    model = MODELS[net]()
    distribution = Autoregressive(model.net)
    model.initialize(train)

    schedule = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 5e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(schedule)
    svi = SVI(model.model, model.guide, scheduler, Trace_ELBO())
    for step in range(steps):
        loss = svi.step(train[torch.randint(len(train), (100,))]) / 100
        scheduler.step()
        if step % 500 == 0:
            print(f"step {step:5}  {loss:.2f} nats per image")

    model.eval()
    with torch.no_grad():
        print(f"test        {-distribution.log_prob(test).mean():.2f} nats per image")

    # The upper half comes first in the order, so what is drawn is a sample of p(lower half | upper
    # half).
    upper = torch.zeros(SHAPE, dtype=torch.bool)
    upper[:, :4] = True
    completed = distribution.sample(observed=test[:8].repeat_interleave(8, 0), mask=upper)
    grids = {
        "test images": test[:64],
        "samples": distribution.sample((64,)),
        "eight test images, lower halves drawn": completed,
    }
    picture = out / f"{net}.png"
    save_grids(
        {title: 1 - images for title, images in grids.items()}, 2, picture
    )  # dark ink on white
    print(f"Wrote {picture}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
