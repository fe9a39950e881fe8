"""Cost of `train.fit` beside a plain torch loop on the same loss, for a network of 300 small tensors."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pyro
import torch
from harness import DEVICE, report
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor
from training import fit_step, loop_step

from pyro_exact.data import Images
from pyro_exact.recipes import Recipe, Training

ROUNDS, STEPS, BATCH = 3, 60, 100
SHAPE = (1, 8, 8)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    images = Images(
        "noise", *(torch.randint(2, (1000, *SHAPE), dtype=torch.uint8) for _ in range(3)), levels=2
    )
    training = Training(steps=STEPS, batch_size=BATCH, validate_every=10 * STEPS, validate_on=1)
    model = {"name": "dense_vae", "latent_dim": 16, "hidden_dims": [64] * 74}
    recipe = Recipe("bench_fit", model, "noise", training)
    tensors = len(list(recipe.build(SHAPE, 2).parameters()))

    def bare() -> Callable[[Tensor], object]:
        net = recipe.build(SHAPE, 2).to(DEVICE)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        elbo = Trace_ELBO()

        def step(x: Tensor) -> None:
            x = x.to(DEVICE)
            plate = pyro.plate("data", len(x))
            loss = elbo.differentiable_loss(plate(net.generate), plate(net.infer), x) / x.numel()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    def svi() -> Callable[[Tensor], object]:
        pyro.clear_param_store()
        net = recipe.build(SHAPE, 2).to(DEVICE)
        stock = SVI(net.model, net.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        return lambda x: stock.step(x.to(DEVICE))

    times: dict[str, list[float]] = {"bare loop": [], "train.fit": [], "SVI.step": []}
    for _ in range(ROUNDS):
        times["bare loop"].append(loop_step(bare(), images, STEPS, BATCH))
        times["train.fit"].append(fit_step(recipe, images))
        times["SVI.step"].append(loop_step(svi(), images, STEPS, BATCH))
    ms = {name: statistics.median(values) for name, values in times.items()}
    ratios = [
        {
            "what": "train.fit / bare loop",
            "value": ms["train.fit"] / ms["bare loop"],
            "bar": "at most 1.1",
        },
        {
            "what": "SVI.step / bare loop",
            "value": ms["SVI.step"] / ms["bare loop"],
            "bar": "for comparison",
        },
    ]
    report(
        "fit",
        f"a training step of a VAE of {tensors} tensors, most of them 64 x 64 or 64, batch {BATCH}",
        ms,
        {},
        ratios,
    )


if __name__ == "__main__":
    main()
