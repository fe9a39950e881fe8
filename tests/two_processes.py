"""A run that goes on on two processes, for test_fit: Lightning starts this script for the second.

python tests/two_processes.py FOLDER/two

The processes say who they are by a file each, first and second, in FOLDER.
"""

import sys
from pathlib import Path

from pyro_exact import data, recipes, train


def run(folder, devices, steps=5, resume=False):
    model = {"name": "glow", "scales": 1, "steps": 1, "width": 4}
    training = {
        "steps": steps,
        "batch_size": 16,
        "validate_every": 2,
        "ema_decay": 0.5,
        "flip": True,
    }
    training |= {"gradient_clip": 1.0, "learning_rate": 1e-2}
    recipe = recipes.Recipe.from_dict(
        {"name": "t", "model": model, "data": "toy", "training": training}, "the test"
    )
    digits = data.load("digits")
    images = data.Images("few", digits.train[:64], digits.valid[:8], digits.test[:8], digits.levels)
    train.fit(
        recipe, images, out=folder, resume=resume, progress=False, device="cpu", devices=devices
    )


if __name__ == "__main__":
    run(sys.argv[1], devices=2, resume=True)
    Path(sys.argv[1]).with_name("first" if train.first_process() else "second").touch()
