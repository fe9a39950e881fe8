"""One order of the pixels, or all orders: NADE beside DeepNADE and ConvNADE, with completions of images.

NADE is trained for a single order. DeepNADE and ConvNADE are trained for all orders at once, by
stock SVI with an empty or a trivial guide: then any pixels can be observed, and the other pixels
are drawn in any order.

    python examples/orders.py                               # small networks on 8x8 digits, a minute
    python examples/orders.py --runs runs --data_root DATA  # networks that recipes on MNIST trained
    python examples/orders.py --smoke                       # a few steps, for a test
"""

from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

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


def fit(model: GenerativeModel, x: Tensor, steps: int) -> CausalNet:
    """Train by stock SVI, and return the network."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model.initialize(x)

    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 5e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(adam)
    svi = SVI(model.model, model.guide, scheduler, Trace_ELBO())
    for _ in range(steps):
        svi.step(x[torch.randint(len(x), (100,))])
        scheduler.step()

    return model.net.eval()


def train_on_digits(steps: int) -> tuple[dict[str, CausalNet], Tensor]:
    """Return small networks of binarised 8x8 digits, and test images."""
    digits = data.load("digits")
    train, test = ((part > digits.levels // 2).float() for part in (digits.train, digits.test))

    deep_nade = DeepNADE(digits.shape, (200, 200), orders=ORDERS)
    conv_nade = ConvNADE(digits.shape, 16, [3, 3, 3], (200, 200), orders=ORDERS)
    models = {
        "NADE": Density(Autoregressive(NADE(digits.shape, 100))),
        "DeepNADE": OrderAgnostic(deep_nade),
        "ConvNADE": OrderAgnostic(conv_nade),
    }
    return {name: fit(model, train, steps) for name, model in models.items()}, test


def load_from_runs(runs: Path, data_root: Path | None) -> tuple[dict[str, CausalNet], Tensor]:
    """Return the networks of three runs on binarised MNIST, and test images."""
    test = data.load("binarized_mnist", root=data_root).test.float()
    nets = {name: load_model(runs / run / "best.ckpt")[0].net for name, run in RECIPES.items()}
    return nets, test


def complete(net: OrderAgnosticNet, images: Tensor, mask: Tensor) -> Tensor:
    """Return for each image: itself, the observed part, the probability of each other pixel, and completions."""
    # One pass computes the distribution of each unknown pixel given the observed ones.
    with torch.no_grad():
        probabilities = net.conditionals(images, mask).squeeze(-1).sigmoid()
    columns = [images, images.where(mask, 0.5), images.where(mask, probabilities)]

    rest = net.condition_on(images, mask)
    unknown = mask.logical_not().expand_as(images)
    for order in range(ORDERS):
        drawn = images.clone()
        drawn[unknown] = Autoregressive(rest.net, rest.context, order).sample().flatten()
        columns.append(drawn)

    return torch.stack(columns, dim=1).flatten(0, 1)


def dark_on_white(grids: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the inverted images."""
    return {title: 1 - images for title, images in grids.items()}


def main(
    steps: int = 2000,
    runs: Path | None = None,
    data_root: Path | None = None,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Draw samples of three networks, and complete images with the order-agnostic networks.

    Args:
        steps: Number of optimiser steps for each network.
        runs: Optional folder with the runs of the recipes on MNIST; then nothing is trained.
        data_root: Folder of the data for these runs.
        out: Folder for the pictures.
        smoke: Take a few steps only.
    """
    if runs is None:
        nets, test = train_on_digits(2 if smoke else steps)
    else:
        nets, test = load_from_runs(runs, data_root)

    torch.manual_seed(0)
    test = test[torch.randperm(len(test))]
    samples = {name: Autoregressive(net).sample((64,)) for name, net in nets.items()}
    save_grids(dark_on_white({"test images": test[:64], **samples}), 2, out / "orders.png")

    upper = torch.zeros(test.shape[1:], dtype=torch.bool)
    upper[:, : test.shape[2] // 2] = True
    completions = {
        f"{name}, {half} half observed": complete(nets[name], test[:8], mask)
        for name, half, mask in (
            ("DeepNADE", "upper", upper),
            ("DeepNADE", "left", upper.mT),
            ("ConvNADE", "upper", upper),
        )
    }
    save_grids(dark_on_white(completions), 2, out / "inpainting.png", 3 + ORDERS)
    print(f"Wrote {out / 'orders.png'} and {out / 'inpainting.png'}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
