"""Samples and scores of each datum as arrays."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.two_pixels import perturb

from pyro_exact.cli.arrays import write_arrays
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import maf
from pyro_exact.models import Density

COLUMNS = {"label": np.array([3, 5]), "x": np.array([[0.5, 1.0], [-2.0, 1 / 3]])}


def test_write_arrays_to_npz_and_npy(tmp_path):
    write_arrays(COLUMNS, tmp_path / "a.npz")
    found = np.load(tmp_path / "a.npz")
    assert {name: found[name].tolist() for name in found} == {
        name: array.tolist() for name, array in COLUMNS.items()
    }
    write_arrays(COLUMNS, tmp_path / "a.npy")
    assert (np.load(tmp_path / "a.npy") == COLUMNS["x"]).all()


def test_write_arrays_to_csv_that_reads_back_exactly(tmp_path):
    write_arrays(COLUMNS, tmp_path / "a.csv")
    head, *rows = csv.reader((tmp_path / "a.csv").open())
    assert head == ["label", "x0", "x1"]
    assert [[float(cell) for cell in row] for row in rows] == [
        [label, *x] for label, x in zip(*map(np.ndarray.tolist, COLUMNS.values()), strict=True)
    ]


def test_evaluate_writes_the_score_of_each_image(here, trained, run):
    for name in ("scores.npz", "scores.csv"):
        code, out, err = run("evaluate", "out/best.ckpt", "--per-item", name)
        assert (code, err, f"Wrote {name}." in out) == (0, "", True)
    scores, record = np.load("scores.npz"), json.loads((here / "out/best-test.json").read_text())
    nats = record["metric"]["value"] * 16 * np.log(2)
    assert scores["index"].tolist() == list(range(10))
    assert scores["nats"].mean() == pytest.approx(nats)
    rows = list(csv.DictReader(open("scores.csv")))
    assert [float(row["nats"]) for row in rows] == scores["nats"].tolist()


def test_evaluate_writes_the_label_of_each_image(run):
    code, _, err = run("train", "glow_digits", "--training.steps", "1", "--model.width", "2",
                       "--model.steps", "1", "--training.batch_size", "8")  # fmt: skip
    assert code == 0, err
    assert run("evaluate", "runs/glow_digits", "--per-item", "s.csv", "--split", "valid")[0] == 0
    labels = {row["label"] for row in csv.DictReader(open("s.csv"))}
    assert labels == set("0123456789")


def test_sample_writes_arrays(trained, run):
    command = ["sample", "out/best.ckpt", "--n", "5"]
    assert run(*command, "--out", "x.npz", "--temperature", "[0.5, 1]")[0] == 0
    found = np.load("x.npz")
    assert found["temperature"].tolist() == [0.5] * 5 + [1.0] * 5
    assert found["x"].shape == (10, 1, 4, 4)

    assert run(*command, "--out", "x.npy")[0] == 0
    assert (np.load("x.npy") == found["x"][5:]).all()
    assert run(*command, "--out", "x.csv")[0] == 0
    rows = list(csv.reader(open("x.csv")))
    assert (len(rows), len(rows[0])) == (6, 16)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sample out/best.ckpt --out x.txt", "--out expects the name of a .png, .npz, .npy or .c"),
        ("sample out/best.ckpt --out x.npz --nearest", "--nearest with a .png file"),
        ("evaluate out/best.ckpt --per-item x.npy", "--per-item expects the name of a .npz or .c"),
    ],
)
def test_cli_refuses_files_of_another_format_before_the_work(trained, run, command, message):
    code, _, err = run(*command.split())
    assert (code, message in err) == (1, True)


def test_sample_draws_given_a_context(here, run, monkeypatch):
    flow = Flow(StandardNormal(2), maf(2, context_dim=3).inv)
    model = perturb(Density(flow, context_dim=3), 0.1)
    record = SimpleNamespace(shape=(2,), levels=None, model=None)
    monkeypatch.setattr("pyro_exact.cli.sample.load_checkpoint", lambda source: (model, record))
    command = ["sample", "any.ckpt", "--n", "4", "--out", "x.npy"]
    drawn = []
    for context in ("[0, 1, 2]", "[5, 1, 2]"):
        assert run(*command, "--context", context)[::2] == (0, "")
        drawn.append(np.load("x.npy"))
    assert drawn[0].shape == (4, 2)
    assert not np.allclose(*drawn)

    code, _, err = run(*command)
    assert (code, "sample expects --context of 3 elements" in err) == (1, True)
    code, _, err = run("sample", "any.ckpt", "--context", "[0, 1, 2]", "--out", "x.png")
    assert (code, "A picture expects a model of images with levels" in err) == (1, True)
