"""The command demo."""

import json
import re

import numpy as np
import pytest

from pyro_exact.recipes import load_recipe
from pyro_exact.train.lock import folder_lock

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


def test_demo_shows_what_it_learned(here, run, monkeypatch):
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe",
        lambda name: load_recipe(name).changed({"steps": 1, "width": 4}, {}),
    )
    code, out, err = run("demo", "--training.steps", "4", "--out", "demo", *SMALL[6:8], *SMALL[12:])
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (here / "demo").iterdir()) == [
        "best.ckpt", "checkpoint.ckpt", "curve.png", "metrics.json", "samples.png",
    ]  # fmt: skip
    metrics = json.loads((here / "demo" / "metrics.json").read_text())
    assert metrics["data"]["images"] == 400
    assert metrics["baselines"]["uniform code"] == pytest.approx(np.log2(17))
    assert metrics["baselines"]["independent pixels"] == pytest.approx(2.43, abs=0.05)
    assert f"{metrics['metric']['value']:.4f} ± {metrics['metric']['standard_error']:.4f}" in out
    assert "test bits/dim of best.ckpt, the state after 4 of 4 steps" in out
    assert run("demo", "--training.steps", "1", "--out", "demo")[0] == 0  # it replaces what it left


@pytest.mark.parametrize("lost", [[], ["recipe.yaml", "train.json"]])
def test_demo_leaves_another_run_alone(here, trained, run, monkeypatch, lost):
    same = {"scales": 1, "steps": 1, "width": 4}  # a run of `train`, though of the same model
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe", lambda name: load_recipe(name).changed(same, {})
    )
    for name in lost:  # as of a run that was killed
        (here / trained / name).unlink()
    before = {path.name: path.read_bytes() for path in (here / trained).iterdir()}
    code, out, err = run("demo", "--training.steps", "1", "--out", trained)
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"pyro-exact: out expects nothing, or an earlier demo; got .* of another run.*--out.*\n",
        err,
    )
    assert {path.name: path.read_bytes() for path in (here / trained).iterdir()} == before


def test_demo_leaves_a_damaged_checkpoint_alone(here, run):
    (here / "out").mkdir()
    (here / "out" / "best.ckpt").write_bytes(b"mine")
    code, out, err = run("demo", "--out", "out")
    assert (code, out) == (1, "")
    assert "A demo replaces only an earlier demo. Choose another folder (--out)." in err
    assert (here / "out" / "best.ckpt").read_bytes() == b"mine"


def test_demo_keeps_its_folder_to_the_end(here, run, monkeypatch):
    def save_curve(*arguments):
        with pytest.raises(ValueError, match="in use by another run"), folder_lock(here / "demo"):
            pass
        seen.append(arguments)

    seen = []
    monkeypatch.setattr("pyro_exact.plots.save_curve", save_curve)
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe",
        lambda name: load_recipe(name).changed({"steps": 1, "width": 4}, {}),
    )
    assert run("demo", "--training.steps", "1", "--out", "demo")[0] == 0
    assert len(seen) == 1
