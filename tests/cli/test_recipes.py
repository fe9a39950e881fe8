"""The commands recipes and new."""

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from pyro_exact.recipes import registry
from pyro_exact.recipes.families import FAMILIES, summaries
from pyro_exact.recipes.models import MODELS


def test_recipes_describe_one_with_its_command_and_our_run(run):
    code, out, err = run("recipes", "nade_mnist")
    assert (code, err) == (0, "")
    assert "pyro-exact train nade_mnist --data-root FOLDER" in out
    assert re.search(
        r"our run +\d+\.\d\d nats \(exact\) on 10,000 test images of binarized_mnist", out
    )
    assert "Uria, Côté, Gregor, Murray and Larochelle (2016)" in out


def test_recipes_describe_all_of_a_model(run):
    out = run("recipes", "nade")[1]
    assert re.findall(r"^(\w+): nade on", out, re.MULTILINE) == ["nade_debd", "nade_mnist"]
    code, _, err = run("recipes", "nad")
    assert (code, "There is no recipe 'nad'. Did you mean 'nade'" in err) == (1, True)


def test_recipes_have_a_family():
    named = [model for models in FAMILIES.values() for model in models]
    assert len(named) == len({*named})
    assert {recipe.model["name"] for recipe in summaries()} <= {*named}
    assert {*MODELS} <= {*named}


def test_recipes_list_registered_builders(run, monkeypatch):
    monkeypatch.setattr(registry, "_builders", {"my_flow": lambda shape, levels: None})
    assert re.search(r"Other models\n +my_flow +my_flow\n", run("recipes")[1])
    assert "pyro-exact train my_flow --data FILE" in run("recipes", "my_flow")[1]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("maf", "train maf --data TABLE.csv\n"),
        ("glow_digits", "train glow_digits\n"),
        ("glow_cifar10", "train glow_cifar10 --data-root FOLDER --download\n"),
        ("made_debd", "train made_debd --data nltcs.npz\n"),
    ],
)
def test_recipes_say_where_the_data_come_from(run, name, command):
    assert command in run("recipes", name)[1]


def test_recipes_are_listed_without_torch():
    code = "import sys; from pyro_exact.cli import main; main(['recipes']); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "False"


def pixels(count, side, levels, **arrays):
    rng = np.random.default_rng(0)
    images = rng.integers(0, levels, (count, side, side), dtype=np.uint8)
    return {"train": images, "test": images, "levels": levels, **arrays}


def test_new_fits_a_flow_to_the_data(here, run):
    np.savez("mine.npz", **pixels(20, 12, 32))
    code, out, err = run("new", "mine", "--like", "glow_cifar10_small", "--data", "mine.npz")
    assert (code, err) == (0, "")
    assert "scales 2: sides of 12 x 12 pixels are 3 x 3 at the smallest scale; 3 scales" in out
    written = yaml.safe_load(open("mine.yaml"))
    assert (written["name"], written["model"]["scales"], written["paper"]) == ("mine", 2, None)
    small = ["--model.steps", "1", "--model.width", "4", "--training.batch_size", "8"]
    assert run("train", "mine.yaml", "--training.steps", "2", *small)[0] == 0

    code, _, err = run("new", "mine", "--like", "glow_cifar10_small", "--data", "mine.npz")
    assert (code, "mine.yaml exists" in err) == (1, True)


def test_new_takes_classes_and_categories_from_the_data(here, run):
    labels = np.arange(20) % 4
    np.savez("named.npz", **pixels(20, 8, 5, train_labels=labels, test_labels=labels))
    np.savez("plain.npz", **pixels(20, 8, 5))
    for data, classes in (("named", 4), ("plain", None)):
        command = ["new", data, "--like", "glow_digits_by_class", "--data", f"{data}.npz"]
        assert run(*command)[0] == 0
        assert yaml.safe_load(open(f"{data}.yaml"))["model"].get("context_dim") == classes

    out = run("new", "rows", "--like", "nade_mnist", "--data", "plain.npz")[1]
    assert "likelihood categorical: a category for each of the 5 levels" in out
    assert "training.batch_size 18: there are 18 training images" in out


@pytest.mark.parametrize(
    ("like", "levels", "side", "message"),
    [
        ("nade_mnist", 256, 4, "at most 64 levels; got 256. Use --binarize"),
        ("glow_cifar10_small", 256, 5, "A recipe like glow_cifar10_small does not fit Images"),
    ],
)
def test_new_says_why_a_recipe_does_not_fit(here, run, like, levels, side, message):
    np.savez("mine.npz", **pixels(20, side, levels))
    code, _, err = run("new", "mine", "--like", like, "--data", "mine.npz")
    assert (code, message in err) == (1, True)
    assert not (here / "mine.yaml").exists()
