"""The command line on images in files: sizes, levels, records, and runs that resume exactly."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pyro_exact.data import image_rows
from pyro_exact.recipes import load_recipe
from pyro_exact.train import read_checkpoint
from tests.cli.conftest import SMALL


@pytest.fixture
def photos(here):
    """A folder of colour photographs of two sizes and two classes."""
    for i in range(24):
        folder = here / "pictures" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        size = (9, 7, 3) if i % 3 else (6, 10, 3)
        pixels = np.random.default_rng(i).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return "pictures"


def test_train_on_photographs_of_any_size(run, photos):
    flags = ["--size", "4", "--fit", "pad", "--levels", "32", "--out", "o"]
    code, out, err = run(
        "train", "glow_digits", "--data", photos, *flags, "--training.steps", "2", *SMALL
    )
    assert code == 0, err
    assert "read as 2 classes: 0 cat, 1 dog" in out + err
    record = json.loads(open("o/train.json").read())
    assert record["data"]["name"] == "pictures_32_levels"

    code, out, err = run("evaluate", "o", "--split", "test")
    assert (code, "2 images" in out) == (0, True), err

    # A file of arrays has a size of its own.
    pixels = np.random.default_rng(0).integers(0, 32, (6, 3, 4, 4), dtype=np.uint8)
    np.savez("others.npz", train=pixels, test=pixels, levels=32)
    code, out, err = run("evaluate", "o", "--data", "others.npz")
    assert (code, "6 images" in out) == (0, True), err


def test_train_on_files_resumes_exactly(run, photos, monkeypatch):
    """Images that workers decode: 4 steps at once, and 2 and 2 steps."""
    monkeypatch.setattr(image_rows, "MOST_IN_MEMORY", 100)
    flags = ["train", "glow_digits", "--data", photos, "--size", "4", *SMALL]
    flags += ["--training.decay", "constant"]
    assert run(*flags, "--out", "whole", "--training.steps", "4")[0] == 0
    assert run(*flags, "--out", "parts", "--training.steps", "2")[0] == 0
    assert run(*flags, "--out", "parts", "--training.steps", "4", "--resume")[0] == 0

    whole, parts = (read_checkpoint(f"{name}/checkpoint.ckpt") for name in ("whole", "parts"))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_train_on_an_array_in_a_file(run, here):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 3), dtype=np.uint8)
    np.save("x.npy", pixels)
    code, _, err = run(
        "train", "glow_digits", "--data", "x.npy", "--out", "o", "--training.steps", "2", *SMALL
    )
    assert code == 0, err
    record = json.loads(open("o/train.json").read())
    assert (record["data"]["name"], record["paper"]) == ("x", None)


def test_train_leaves_the_result_of_the_paper_to_the_data_of_the_paper(run, here):
    small = ["--model.scales", "1", "--model.steps", "1", "--model.width", "4"]
    code, _, err = run(
        *("train", "glow_cifar10", "--data", "toy.npz", "--out", "o", "--training.steps", "1"),
        *small,
        *("--training.batch-size", "8"),
    )
    assert code == 0, err
    paper = json.loads(open("o/train.json").read())["paper"]
    assert paper["value"] is None
    assert "Glow" in paper["reference"]


def test_train_takes_the_levels_of_a_recipe(run, here):
    np.save("x.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4), dtype=np.uint8))
    recipe = load_recipe("glow_digits").to_dict() | {"data": "x.npy", "levels": 32}
    (here / "coarse.yaml").write_text(yaml.safe_dump(recipe))
    code, _, err = run("train", "coarse.yaml", "--out", "o", "--training.steps", "2", *SMALL)
    assert code == 0, err
    record = json.loads(open("o/train.json").read())
    assert record["data"]["name"] == "x_32_levels"
    assert run("evaluate", "o")[0] == 0
