"""A class-conditional Gated PixelCNN of 8x8 digits with stock Pyro: training, scores and completions of images.

There is no latent, so the guide is empty, and the ELBO is log p(x | class) itself.

    python examples/pixelcnn.py              # half a minute on one core
    python examples/pixelcnn.py --smoke      # a few steps, for a test

It writes runs/examples/pixelcnn.png.
"""

from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

from pyro_exact import data
from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN
from pyro_exact.data import Images
from pyro_exact.plots import save_grids

CLASSES = 10


class PixelCNNByClass:
    """A Gated PixelCNN of digits given their class, as a Pyro model without latents."""

    def __init__(self, digits: Images) -> None:
        self.net = GatedPixelCNN(
            digits.shape,
            digits.levels,
            width=24,
            depth=3,
            kernel_size=3,
            head_width=48,
            context_shape=CLASSES,
        )
        self.net.initialize(digits.train)

    def given(self, label: Tensor) -> Autoregressive:
        """Return p(image | class)."""
        return Autoregressive(self.net, context=torch.eye(CLASSES)[label])

    def model(self, x: Tensor, label: Tensor) -> None:
        pyro.module("net", self.net)
        with pyro.plate("data", len(x)):
            pyro.sample("x", self.given(label), obs=x)

    def guide(self, x: Tensor, label: Tensor) -> None:
        """Sample nothing, as the model has no latents."""


def fit(pixel_cnn: PixelCNNByClass, digits: Images, steps: int) -> None:
    """Train by stock SVI."""
    pyro.clear_param_store()
    adam = {
        "optimizer": torch.optim.AdamW,
        "optim_args": {"lr": 3e-3, "weight_decay": 0.1},
        "T_max": steps,
    }
    scheduler = pyro.optim.CosineAnnealingLR(adam)
    svi = SVI(pixel_cnn.model, pixel_cnn.guide, scheduler, Trace_ELBO())

    for step in range(steps):
        batch = torch.randint(len(digits.train), (32,))
        loss = svi.step(digits.train[batch], digits.train_labels[batch]) / 32
        scheduler.step()

        if step % 200 == 0:
            print(f"step {step:5}  {loss:.1f} nats per image")


def complete(pixel_cnn: PixelCNNByClass, images: Tensor, labels: Tensor) -> Tensor:
    """Return for each image the upper half, six completions, and the image itself."""
    # The upper half comes first in the order, so a completion is a sample of
    # p(lower half | upper half, class).
    upper = torch.zeros(images.shape[1:], dtype=torch.bool)
    upper[:, :4] = True

    images = images.float()
    drawn = pixel_cnn.given(labels).sample((6,), observed=images, mask=upper)
    half = images.where(upper, torch.tensor(8.0))
    return torch.cat((half[None], drawn, images[None])).transpose(0, 1).flatten(0, 1)


def main(steps: int = 1000, out: Path = Path("runs/examples"), smoke: bool = False) -> None:
    """Train a Gated PixelCNN on digits with 17 levels.

    Args:
        steps: Number of optimiser steps.
        out: Folder for the picture.
        smoke: Take a few steps only.
    """
    steps = 2 if smoke else steps
    pyro.set_rng_seed(0)
    torch.set_num_threads(1)

    digits = data.load("digits")
    pixel_cnn = PixelCNNByClass(digits)
    fit(pixel_cnn, digits, steps)

    with torch.no_grad():
        nats = -pixel_cnn.given(digits.test_labels).log_prob(digits.test).mean()
    print(f"test        {nats:.1f} nats per image")

    classes = torch.arange(8).repeat_interleave(8)
    grids = {
        "test images": digits.test[:64],
        "samples, a class in each row": pixel_cnn.given(classes).sample(),
        "upper half, six completions, image": complete(
            pixel_cnn, digits.test[:8], digits.test_labels[:8]
        ),
    }
    dark_on_white = {title: 16 - images for title, images in grids.items()}
    save_grids(dark_on_white, digits.levels, out / "pixelcnn.png")
    print(f"Wrote {out / 'pixelcnn.png'}.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
