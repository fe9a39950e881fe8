"""The record of a run."""

import importlib.util
import json
import math
import re
from pathlib import Path

import pytest
import torch
from helpers.runs import LEVELS, fit, images, recipe, record
from pyro.distributions import Categorical
from torch import nn

from pyro_exact import models, recipes, train
from pyro_exact.files import write_json
from pyro_exact.provenance import commit, hardware


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 20 steps with averaged weights; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    fit(recipe(ema_decay=0.9), folder)
    return folder


class Pixels(nn.Module):
    """Independent pixels: an exact likelihood."""

    def __init__(self, shape=(1, 4, 4)):
        super().__init__()
        self.logits = nn.Parameter(torch.randn(*shape, LEVELS))

    def forward(self):
        return Categorical(logits=self.logits).to_event(3)


@pytest.fixture
def exact():
    return models.Density(Pixels())


@pytest.fixture
def make_results():
    path = Path(__file__).parents[2] / "docs" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_run_record_is_what_the_page_of_results_wants(finished, tmp_path, make_results):
    model, run = train.load_model(finished / train.LAST)
    score = train.evaluate(model, images().test)
    record = run.result({"name": "toy", "split": "test", "images": 16, "note": "small"}, score, 7)
    write_json(record, tmp_path / "docs" / "results" / "toy.json")
    assert json.loads((tmp_path / "docs" / "results" / "toy.json").read_text()) == record
    make_results.main([], tmp_path / "docs")
    page = (tmp_path / "docs" / "results.md").read_text()
    assert re.search(r"^\| .*`toy`.* test, 16 images; small \|", page, re.MULTILINE)
    assert record["settings"]["log_scale_factor"] == 3.0  # defaults too: they may change
    assert record["training"]["ema_decay"] == 0.9
    assert record["torch"] == torch.__version__
    assert record["commit"] == commit()
    assert record["valid"] == [
        [step, round(seconds, 1), bits] for step, seconds, bits in run.curve["valid"]
    ]


def test_run_record_curve_has_the_unit_of_its_metric(exact):
    run = record(recipes.load_recipe("nade_mnist"), (1, 2, 3), 2)
    run.curve["valid"].append([5, 1.23, 0.5])
    result = run.result({}, train.evaluate(exact, images().test), 7)
    assert result["valid"] == [[5, 1.2, pytest.approx(0.5 * 6 * math.log(2))]]


def test_run_record_unit_is_that_of_the_paper(exact):
    score = train.evaluate(exact, images().test)
    assert score.metric("nats")["value"] == score.nats
    assert score.metric("bits/dim")["standard_error"] == score.standard_error


def test_hardware_counts_devices():
    assert hardware("cpu", 2) == f"2 x {hardware('cpu')}"
    assert "CPU thread" in hardware("cpu")


def test_json_is_written_atomic_write(tmp_path):
    path = tmp_path / "record.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
