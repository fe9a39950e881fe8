"""A run on two processes, for test_train: Lightning starts this script once more for the second.

python tests/two_processes.py FOLDER/two

The processes say who they are by a file each, first and second, in FOLDER.
"""

import sys
from pathlib import Path

from pyro.distributions import Delta
from torch import nn

from pyro_exact import data, models, recipes, train
from pyro_exact.recipes.recipe import MODELS, Family


class Middle(nn.Module):
    """No noise: two batches of 8 then have the gradient of one batch of 16."""

    def forward(self, x):
        return Delta(x + 0.5, event_dim=3)


def noiseless(shape, levels, **settings):
    model = MODELS["glow"].build(shape, levels, **settings)
    return models.Dequantized(model.flow, levels, Middle())


FAMILY = Family(noiseless, MODELS["glow"].settings)


def run(folder, devices):
    model = {"name": "noiseless", "scales": 1, "depth": 1, "width": 4}
    training = {"steps": 5, "batch_size": 16, "validate_every": 2, "ema_decay": 0.5, "flip": True}
    training |= {"gradient_clip": 1.0, "minutes": 10.0, "decay": "cosine", "learning_rate": 1e-2}
    recipe = recipes.Recipe.from_dict({"name": "t", "model": model, "data": "toy", "training": training}, "the test")
    digits = data.load("digits")
    images = data.Images("few", digits.train[:64], digits.valid[:8], digits.test[:8], digits.levels)
    train.fit(recipe, images, folder, progress=False, device="cpu", devices=devices)


if __name__ == "__main__":
    MODELS["noiseless"] = FAMILY
    run(sys.argv[1], devices=2)
    Path(sys.argv[1]).with_name("first" if train.first_process() else "second").touch()
