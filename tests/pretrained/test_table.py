"""The table of trained models: each loads, has the score of the record, and fits into the wheel."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from pyro_exact import data, pretrained
from pyro_exact.pretrained import table

SHARED = Path(__file__).parents[3] / "shared" / "data"
MOST_BYTES = 12 * 2**20


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """A function that makes a table with one model, whose weights are at an address."""
    source = pretrained.file_of("diagonal_bilstm_mnist")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()

    def make(sha256=digest):
        entry = {"far": {"sha256": sha256, "url": source.as_uri()}}
        path = tmp_path / "models.json"
        path.write_text(json.dumps(entry))
        monkeypatch.setattr(table, "_TABLE", path)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        table.table.cache_clear()

    yield make
    table.table.cache_clear()


@pytest.mark.parametrize("name", pretrained.names())
def test_model_has_finite_weights_and_a_complete_record(name):
    model = pretrained.load(name)
    assert not model.training
    assert all(weight.isfinite().all() for weight in model.parameters())

    record = pretrained.record(name)
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    assert not record["commit"].endswith("dirty")


@pytest.mark.parametrize("name", pretrained.names())
def test_model_scores_the_test_images_as_the_record_says(name):
    if not SHARED.is_dir():
        pytest.skip("needs the data sets in ../shared/data")
    record = pretrained.record(name)
    test = data.load(record["data"]["name"], root=SHARED).test

    count = 64
    images = test[:: len(test) // count][:count]
    with torch.no_grad():
        nats = -pretrained.load(name).distribution.log_prob(images).mean()

    error = record["metric"]["standard_error"] * (len(test) / count) ** 0.5
    assert abs(nats - record["metric"]["value"]) < 4 * error


def test_weights_fit_into_the_wheel():
    files = [*Path(table._WEIGHTS).iterdir()]
    assert {file.stem for file in files} == {*pretrained.names()}
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES


def test_unknown_name_gets_the_nearest_one():
    with pytest.raises(ValueError, match="Did you mean diagonal_bilstm_mnist"):
        pretrained.load("diagonal_bilstm")


def test_weights_elsewhere_are_downloaded_only_when_asked(moved):
    moved()
    with pytest.raises(FileNotFoundError, match="--download"):
        pretrained.load("far")
    assert pretrained.load("far", download=True).event_shape == (1, 28, 28)
    assert pretrained.load("far").event_shape == (1, 28, 28)


def test_download_with_another_hash_leaves_nothing_behind(moved, tmp_path):
    moved("0" * 64)
    with pytest.raises(RuntimeError, match="hash"):
        pretrained.load("far", download=True)
    assert not [*tmp_path.rglob("*.safetensors")]


def test_changed_file_is_refused(moved):
    moved()
    path = pretrained.file_of("far", download=True)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="has changed"):
        pretrained.load("far")
