"""Runs that are killed, and folders that have one run at a time."""

import os
import signal
from pathlib import Path

import pytest
from helpers.runs import contents, curve, edited, fit, recipe, same

from pyro_exact import train
from pyro_exact.train import callbacks
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import LOCK, folder_lock

NO_PROCESS = 2**22 + 1  # above the largest number that Linux gives


class KilledError(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def killed(monkeypatch):
    """Returns a function after which the process dies where it would rename a file to a name, for the nth time."""
    replace = Path.replace

    def at(name, nth):
        seen = []

        def until_now(self, target):
            seen.append(None) if target.name == name else None
            if target.name == name and len(seen) == nth:
                raise KilledError
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", until_now)

    return at


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run of four looks that was not killed."""
    folder = tmp_path_factory.mktemp("straight")
    fit(recipe(ema_decay=0.9, validate_every=5), folder)
    return folder


@pytest.mark.parametrize(("name", "nth"), [(train.BEST, 1), (train.BEST, 2), (train.LAST, 3)])
def test_run_that_was_killed_while_it_saved_ends_as_one_that_was_not(
    tmp_path, killed, straight, name, nth
):
    killed(name, nth)
    with pytest.raises(KilledError):
        fit(recipe(ema_decay=0.9, validate_every=5), tmp_path)
    killed("", 0)
    fit(recipe(ema_decay=0.9, validate_every=5), tmp_path, resume=True)
    for file in (train.BEST, train.LAST):
        ours, theirs = contents(tmp_path, file), contents(straight, file)
        assert ours["global_step"] == theirs["global_step"]
        assert curve(ours) == curve(theirs)
        for part in ("state_dict", "current_model_state", "averaging_state"):
            assert same(ours[part], theirs[part]), part
        assert same(ours["optimizer_states"][0]["state"], theirs["optimizer_states"][0]["state"])


def test_run_replaces_a_lost_best_state_by_the_best_that_is_known(tmp_path, straight):
    (tmp_path / train.LAST).write_bytes((straight / train.LAST).read_bytes())
    (tmp_path / train.BEST).write_bytes(b"damaged")
    fit(recipe(ema_decay=0.9, validate_every=5), tmp_path, resume=True)
    assert (tmp_path / train.BEST).read_bytes() == (tmp_path / train.LAST).read_bytes()

    (tmp_path / train.BEST).unlink()
    edited(
        tmp_path / train.LAST, lambda values: values["pyro_exact"]["curve"]["valid"].pop()
    )  # between two looks
    with pytest.warns(
        UserWarning,
        match=r"There is no .*best\.ckpt of this run: the best state from here on is kept",
    ):
        fit(recipe(ema_decay=0.9, validate_every=5, steps=21), tmp_path, resume=True)
    assert contents(tmp_path, train.BEST)["global_step"] == 21


def test_run_removes_what_a_killed_one_left(tmp_path):
    for process in (NO_PROCESS, os.getppid()):  # its number may belong to another process by now
        (tmp_path / f".checkpoint.{process}.partial.ckpt").touch()
        (tmp_path / f".train.{process}.partial.json").touch()
    (tmp_path / LOCK).touch()
    fit(recipe(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [train.BEST, train.LAST]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_run_saves_on_a_notice_to_end_as_on_ctrl_c(tmp_path, monkeypatch, number):
    begin, before = TrainingModule.on_train_batch_start, signal.getsignal(number)

    def on_train_batch_start(self, batch, batch_idx):
        begin(self, batch, batch_idx)
        if self.global_step == 12:
            signal.raise_signal(number)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", on_train_batch_start)
    with pytest.raises(KeyboardInterrupt, match=r"after 13 steps.*--resume"):
        fit(recipe(), tmp_path)
    assert contents(tmp_path)["global_step"] == 13
    assert signal.getsignal(number) == before


def test_run_leaves_a_signal_that_the_process_ignores_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with callbacks.Interrupts(lambda: None).heard():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_run_has_a_folder_to_itself(tmp_path):
    message = rf"in use by another run, process {os.getpid()} on .*--out"
    with folder_lock(tmp_path), pytest.raises(ValueError, match=message):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    fit(recipe(steps=1), tmp_path)


def test_run_that_dies_lets_go_of_its_folder(tmp_path):
    child = os.fork()
    if child == 0:
        with folder_lock(tmp_path):
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_does_not_overwrite_the_best_state_of_another(tmp_path):
    (tmp_path / train.BEST).touch()
    with pytest.raises(
        ValueError, match=r"best\.ckpt exists, of a run whose last state is gone\. Choose another"
    ):
        fit(recipe(), tmp_path)
