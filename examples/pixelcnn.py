"""Gated PixelCNN on 8x8 digits with stock Pyro: train it by class, score it, and complete halves of images.

There is no latent, so the guide is empty and the ELBO is log p(x | class) itself.

    python examples/pixelcnn.py          # half a minute on one core; writes
    runs/examples/pixelcnn.png python examples/pixelcnn.py --smoke  # a few steps, to see that it
    runs
"""

from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO

from pyro_exact import data
from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN
from pyro_exact.plots import save_grids


def main(steps: int = 1000, out: Path = Path("runs/examples"), smoke: bool = False) -> None:
    """Train a Gated PixelCNN on digits of 17 levels.

    Args:
        steps: Optimiser steps.
        out: Folder for the picture.
        smoke: Whether to take a few steps only.
    """
    steps = 2 if smoke else steps
    pyro.set_rng_seed(0)
    torch.set_num_threads(1)
    digits = data.load("digits")
    net = GatedPixelCNN(
        digits.shape,
        digits.levels,
        width=24,
        depth=3,
        kernel_size=3,
        head_width=48,
        context_shape=10,
    )
    net.initialize(digits.train)

    def given(label: torch.Tensor) -> Autoregressive:
        """p(image | class)."""
        return Autoregressive(net, context=torch.eye(10)[label])

    def model(x: torch.Tensor, label: torch.Tensor) -> None:
        pyro.module("net", net)
        with pyro.plate("data", len(x)):
            pyro.sample("x", given(label), obs=x)

    pyro.clear_param_store()
    schedule = {
        "optimizer": torch.optim.AdamW,
        "optim_args": {"lr": 3e-3, "weight_decay": 0.1},
        "T_max": steps,
    }
    scheduler = pyro.optim.CosineAnnealingLR(schedule)
    svi = SVI(model, lambda x, label: None, scheduler, Trace_ELBO())
    for step in range(steps):
        batch = torch.randint(len(digits.train), (32,))
        loss = svi.step(digits.train[batch], digits.train_labels[batch]) / 32
        scheduler.step()
        if step % 200 == 0:
            print(f"step {step:5}  {loss:.1f} nats per image")

    with torch.no_grad():
        print(
            f"test        {-given(digits.test_labels).log_prob(digits.test).mean():.1f} nats per image"
        )

    # The upper half comes first, so what is drawn below it is a sample of p(lower half | upper
    # half, class).
    upper = torch.zeros(digits.shape, dtype=torch.bool)
    upper[:, :4] = True
    eight = digits.test[:8].float()
    drawn = given(digits.test_labels[:8]).sample((6,), observed=eight, mask=upper)
    seen = eight.where(upper, torch.tensor(8.0))
    grids = {
        "test images": digits.test[:64],
        "samples, a class in each row": given(torch.arange(8).repeat_interleave(8)).sample(),
        "seen, six completions, image": torch.cat((seen[None], drawn, eight[None]))
        .transpose(0, 1)
        .flatten(0, 1),
    }
    save_grids(
        {title: 16 - images for title, images in grids.items()}, 17, out / "pixelcnn.png"
    )  # dark ink on white
    print(f"Wrote {out / 'pixelcnn.png'}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
