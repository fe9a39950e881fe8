"""Checkpoints: enough to rebuild a model, safe to read, never half written."""

import errno
import os
import pickle
import resource

import pytest
import torch
from helpers.runs import LEVELS, contents, edited, fit, images, recipe

from pyro_exact import data, recipes, train
from pyro_exact.files import UnwritableError
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.checksum import write_checksum


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of 20 steps with averaged weights; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    fit(recipe(ema_decay=0.9), folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """The same, to be spoilt."""
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_checkpoint_is_enough_to_rebuild_the_model(finished):
    model, run = train.load_model(finished / train.LAST)
    assert (run.shape, run.levels, run.seed, run.step) == ((1, 4, 4), LEVELS, 0, 20)
    assert run.recipe == recipe(ema_decay=0.9).filled()
    score = train.evaluate(model, images().valid, batch_size=8)
    assert score.bits_per_dim == run.curve["valid"][-1][2]


def test_long_run_is_read(finished):
    """Checked point by point, as the other fields are, the curve would take hours."""
    values = train.read_checkpoint(finished / train.LAST)["pyro_exact"]
    values["curve"]["train"] = [[step, 0.1 * step, 1.0] for step in range(100_000)]
    run = train.RunRecord.from_dict(values, "the test")
    assert run.curve["train"][-1][0] == 99_999


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_checkpoint_that_is_truncated_is_refused(copied, part):
    path = copied / train.LAST
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match="truncated"):
        train.load_model(path)
    with pytest.raises(ValueError, match="truncated"):
        fit(recipe(ema_decay=0.9), copied, resume=True)


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def sealed(value, path):
    torch.save(value, path)
    write_checksum(path)


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (sealed, "never runs code"),
        (torch.save, "without a checksum"),
        (
            lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2)),
            "without a checksum",
        ),
    ],
)
def test_checkpoint_that_is_malicious_runs_no_code(copied, save, message):
    path, target = copied / train.LAST, copied / "ran"
    save({**contents(copied), "callbacks": Malicious(target)}, path)
    with pytest.raises(ValueError, match=rf"refused.*{message}"):
        train.load_model(path)
    with pytest.raises(ValueError, match=rf"refused.*{message}"):
        fit(recipe(ema_decay=0.9), copied, resume=True)
    assert not target.exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["pyro_exact"]["model"].update(name="os.system"),
            "name expects one of .*glow.*; got 'os.system'",
        ),
        (
            lambda c: c["pyro_exact"]["model"].update(class_path="os"),
            "unknown key 'class_path'",
        ),
        (
            lambda c: c["pyro_exact"]["model"].update(width=8),
            "do not fit its recipe 'toy'",
        ),
        (lambda c: c["pyro_exact"].pop("shape"), "lacks shape"),
        (lambda c: c["pyro_exact"].update(levels="many"), "levels expects int .*None; got 'many'"),
        (lambda c: c.update(pyro_exact=3), "the field pyro_exact expects .*; got 3"),
        (lambda c: c.pop("pyro_exact"), "the field pyro_exact is missing"),
        (lambda c: c["state_dict"].clear(), "expects the shapes of the weights"),
    ],
)
def test_checkpoint_that_is_edited_is_refused(copied, edit, message):
    edited(copied / train.LAST, edit)
    with pytest.raises(ValueError, match=message):
        train.load_model(copied / train.LAST)


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_checkpoint_survives_a_full_disk(copied, monkeypatch):
    before = (copied / train.LAST).read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        UnwritableError, match=r"No space left on device\. The previous one is kept"
    ):
        fit(recipe(steps=30, ema_decay=0.9), copied, resume=True)
    assert (copied / train.LAST).read_bytes() == before
    assert sorted(path.name for path in copied.iterdir()) == [train.BEST, train.LAST]


def test_checkpoint_survives_a_disk_that_fills_up_while_it_is_written(tmp_path):
    path = tmp_path / train.LAST
    AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(10)}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100_000, limits[1])
    )  # what is written beyond fails, as on a full disk
    try:
        with pytest.raises(
            UnwritableError,
            match=r"could not be written: File too large\. The previous one is kept",
        ):
            AtomicCheckpointIO().save_checkpoint({"x": torch.zeros(10**6)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UnwritableError, match="There is none before it"):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [train.load_model, recipes.load_recipe, data.load])
@pytest.mark.parametrize("name", [None, 3, b"name"])
def test_load_refuses_what_is_no_path(read, name):
    with pytest.raises(
        TypeError, match=r"expects .* as a string or a path; got .*\. Pass the name of a file"
    ):
        read(name)
