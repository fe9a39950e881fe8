"""One fixed order of the pixels, or any: NADE, DeepNADE and ConvNADE side by side, and half an image completed by them.

NADE knows one order. DeepNADE and ConvNADE are trained on all of them at once, by stock SVI with an
empty or a trivial
guide: then any pixels can be observed, and the others follow in whichever order.

    python examples/orders.py                                 # small networks on 8x8 digits, a
    minute on one core python examples/orders.py --runs runs --data_root DATA    # those that three
    recipes on MNIST left in runs/ python examples/orders.py --smoke                         # a few
    steps, to see
    that it runs
"""

from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO

from pyro_exact import data
from pyro_exact.autoregressive import (
    NADE,
    Autoregressive,
    CausalNet,
    ConvNADE,
    DeepNADE,
    OrderAgnosticNet,
)
from pyro_exact.models import Density, GenerativeModel, OrderAgnostic
from pyro_exact.plots import save_grids
from pyro_exact.train import load_model

RECIPES = {"NADE": "nade_mnist", "DeepNADE": "deep_nade_mnist", "ConvNADE": "conv_nade_mnist_small"}
ORDERS = 5


def train(model: GenerativeModel, images: torch.Tensor, steps: int) -> CausalNet:
    """Train with stock SVI; returns the network."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model.initialize(images)
    schedule = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 5e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(schedule)
    svi = SVI(model.model, model.guide, scheduler, Trace_ELBO())
    for _ in range(steps):
        svi.step(images[torch.randint(len(images), (100,))])
        scheduler.step()
    return model.net.eval()


def complete(net: OrderAgnosticNet, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """For each image: itself, what is observed, the probability of each other pixel, and completions in some orders."""
    with torch.no_grad():
        alone = (
            net.conditionals(images, mask).squeeze(-1).sigmoid()
        )  # one pass: each unknown pixel given the observed
    columns = [images, images.where(mask, 0.5), images.where(mask, alone)]
    rest = net.condition_on(images, mask)
    for order in range(ORDERS):
        drawn = images.clone()
        drawn[mask.logical_not().expand_as(images)] = (
            Autoregressive(rest.net, rest.context, order).sample().flatten()
        )
        columns.append(drawn)
    return torch.stack(columns, dim=1).flatten(0, 1)


def main(
    steps: int = 2000,
    runs: Path | None = None,
    data_root: Path | None = None,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Draw samples of three networks, and complete images with those that take any order.

    Args:
        steps: Optimiser steps for each network.
        runs: Folder in which the recipes on MNIST left their checkpoints; nothing is trained then.
        data_root: Folder of the data for that.
        out: Folder for the pictures.
        smoke: Whether to take a few steps only.
    """
    if runs is None:
        digits = data.load("digits")
        images, test = ((part > digits.levels // 2).float() for part in (digits.train, digits.test))
        models = {
            "NADE": Density(Autoregressive(NADE(digits.shape, 100))),
            "DeepNADE": OrderAgnostic(DeepNADE(digits.shape, (200, 200), orders=ORDERS)),
            "ConvNADE": OrderAgnostic(
                ConvNADE(digits.shape, 16, [3, 3, 3], (200, 200), orders=ORDERS)
            ),
        }
        nets = {name: train(model, images, 2 if smoke else steps) for name, model in models.items()}
    else:
        test = data.load("binarized_mnist", root=data_root).test.float()
        nets = {
            name: load_model(runs / recipe / "best.ckpt")[0].net for name, recipe in RECIPES.items()
        }

    torch.manual_seed(0)
    test = test[torch.randperm(len(test))]
    grids = {"test images": test[:64]} | {
        name: Autoregressive(net).sample((64,)) for name, net in nets.items()
    }
    save_grids(
        {title: 1 - grid for title, grid in grids.items()}, 2, out / "orders.png"
    )  # dark ink on white

    upper = torch.zeros(test.shape[1:], dtype=torch.bool)
    upper[:, : test.shape[2] // 2] = True
    masks = {"upper": upper, "left": upper.mT}
    grids = {
        f"{name}, {half} half observed": complete(nets[name], test[:8], mask)
        for name in ("DeepNADE", "ConvNADE")
        for half, mask in masks.items()
        if (name, half) != ("ConvNADE", "left")
    }
    save_grids(
        {title: 1 - grid for title, grid in grids.items()}, 2, out / "inpainting.png", 3 + ORDERS
    )
    print(f"Wrote {out / 'orders.png'} and {out / 'inpainting.png'}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
