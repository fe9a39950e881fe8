"""Fixtures of the command line."""

import numpy as np
import pytest

from pyro_exact.cli import main

SMALL = [
    "--model.scales",
    "1",
    "--model.steps",
    "1",
    "--model.width",
    "4",
    "--training.batch-size",
    "8",
]

SMALL += [
    "--training.minutes",
    "null",
    "--training.validate-every",
    "2",
    "--training.warmup-steps",
    "50",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory with a data set of two splits: each pixel 3 or near it, of 8 bits."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 6, (40, 4, 4), dtype=np.uint8)
    np.savez("toy.npz", train=pixels[:30], test=pixels[30:])
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def call(*arguments):
        try:
            main(arguments)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def trained(run):
    """The folder of a short run on toy.npz."""
    code, _, err = run(
        "train", "glow_digits", "--data", "toy.npz", "--out", "out", "--training.steps", "3", *SMALL
    )
    assert (code, err) == (0, "")
    return "out"
