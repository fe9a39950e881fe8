"""Runs on two processes, in a single launch: a recipe, one's own model, a Pyro pair, a registered builder."""

import os
import subprocess
import sys
import time

import pytest
import torch
import two_processes
from helpers.runs import contents, curve

from pyro_exact import train
from pyro_exact.recipes import registry

NAMES = list(two_processes.MODELS)


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder of runs that were killed on one process and went on on two, and how these ended."""
    folder = tmp_path_factory.mktemp("two")

    def launch(*arguments):
        return subprocess.run(
            [sys.executable, two_processes.__file__, str(folder), *arguments],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    alone = launch("alone")
    assert alone.returncode == 0, alone.stderr
    for name in NAMES:
        assert (folder / f"{name} died").exists()
        assert contents(folder / name)["global_step"] == 2

    done = launch()
    return folder, done, time.time()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_builders", {"of_two_processes": two_processes.builder})


def test_two_processes_reach_the_end(launched):
    folder, done, _ = launched
    assert (folder / "first").exists(), done.stderr
    assert (folder / "second").exists(), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_as_one(launched, tmp_path, name):
    folder, *_ = launched
    straight = two_processes.run(name, tmp_path)
    one, two = contents(tmp_path / name), contents(folder / name)
    for key in ("state_dict", "current_model_state"):
        for weight, value in one[key].items():
            torch.testing.assert_close(two[key][weight], value, rtol=0, atol=1e-6)

    assert [step for step, _ in curve(two)["valid"]] == [2, 4, 5]
    assert curve(two)["valid"][-1][1] == pytest.approx(curve(one)["valid"][-1][1], abs=1e-5)
    assert two["pyro_exact"]["recent"] == pytest.approx(one["pyro_exact"]["recent"], abs=1e-5)

    each = torch.load(folder / f"{name}.pt")  # scored by both processes
    assert len(each) == two_processes.ROWS
    torch.testing.assert_close(each, two_processes.score(straight, name), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_run_of_two_processes_goes_on_on_one(launched, tmp_path, name):
    folder, *_ = launched
    resumed = two_processes.run(name, folder, steps=6, resume=True)
    straight = two_processes.run(name, tmp_path, steps=6)
    for weight, value in straight.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[weight], value, rtol=0, atol=1e-6)


def test_two_processes_begin_as_one(launched, tmp_path):
    """Initialisation from data, and the first steps."""
    folder, *_ = launched
    two_processes.run("own", tmp_path, steps=2)
    one, two = contents(tmp_path / "own"), contents(folder / "killed" / "own")
    for weight, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][weight], value, rtol=0, atol=1e-6)


def test_process_ends_with_an_error_soon_after_another_has_died(launched):
    folder, done, ended = launched
    assert done.returncode != 0
    assert "Another process of this run has died" in done.stderr
    assert "checkpoint.ckpt is the last checkpoint" in done.stderr
    assert ended - (folder / "died").stat().st_mtime < 60

    assert contents(folder / "killed" / "own")["global_step"] == 2
    run = two_processes.run("own", folder / "killed", resume=True)
    assert run.record.step == 5
    assert train.load_weights(two_processes.own(), run.last).step == 5
