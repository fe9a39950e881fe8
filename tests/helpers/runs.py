"""A small recipe on toy images, its runs, and what they leave."""

import torch

from pyro_exact import data, recipes, train
from pyro_exact.train.checkpoint import AtomicCheckpointIO

LEVELS = 4


def images(name="toy", size=4, count=64, channels=1):
    """Images with something to learn: a slope from left to right, and a little noise."""
    slope = torch.linspace(0, LEVELS - 1, size).expand(count, channels, size, size)
    noise = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))
    pixels = (slope + noise - 0.5).round().clamp(0, LEVELS - 1).to(torch.uint8)
    return data.Images(name, train=pixels, valid=pixels[:16], test=pixels[:16], levels=LEVELS)


def recipe(model=None, **training):
    settings = {
        "steps": 20,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "validate_every": 10,
        **training,
    }
    model = {
        "name": "glow",
        "scales": 1,
        "steps": 1,
        "width": 4,
        "factorized": True,
        **(model or {}),
    }
    return recipes.Recipe.from_dict(
        {"name": "toy", "model": model, "data": "toy", "training": settings}, "the test"
    )


def fit(settings, folder, **options):
    options = {"progress": False, "device": "cpu", **options}
    return train.fit(settings, images(), out=folder, **options)


def record(settings, shape=(1, 4, 4), levels=LEVELS, seed=0):
    """The record of a run of a recipe that has not begun."""
    return train.RunRecord(
        name=settings.name,
        model=settings.filled().model,
        training=settings.training,
        shape=shape,
        levels=levels,
        unit="bits/dim",
        dataset=settings.data,
        data="",
        seed=seed,
        hardware="",
        paper=settings.paper,
    )


def contents(folder, name=train.LAST):
    return train.read_checkpoint(folder / name)


def curve(checkpoint):
    """Steps and values; the seconds differ from run to run."""
    points = checkpoint["pyro_exact"]["curve"].items()
    return {name: [(step, value) for step, _, value in split] for name, split in points}


def same(a, b):
    """Return True if two nested structures of tensors are equal bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def edited(path, edit):
    """Change what a checkpoint says of its run."""
    checkpoint = train.read_checkpoint(path)
    edit(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)
