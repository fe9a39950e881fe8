"""The life of a run: killed, told to end, alone in its folder, and shared by processes."""

import json
import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_train import contents, curve, edited, fit, images, recipe, same

from pyro_exact import recipes, train
from pyro_exact.files import UnwritableError, atomic_write, write_json
from pyro_exact.models import GenerativeModel
from pyro_exact.train import callbacks
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import LOCK, folder_lock
from pyro_exact.train.processes import fail_together

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
def test_a_run_that_was_killed_while_it_saved_ends_as_one_that_was_not(
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


def test_a_best_state_that_is_lost_is_replaced_by_the_best_that_is_known(tmp_path, straight):
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


def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path):
    for process in (NO_PROCESS, os.getppid()):  # its number may belong to another process by now
        (tmp_path / f".checkpoint.{process}.partial.ckpt").touch()
        (tmp_path / f".train.{process}.partial.json").touch()
    (tmp_path / LOCK).touch()
    fit(recipe(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [train.BEST, train.LAST]


def test_a_file_is_written_without_what_an_earlier_process_left_of_it(tmp_path):
    left, of_the_living, other = (
        tmp_path / f".{name}.partial.json"
        for name in (f"a.{NO_PROCESS}", f"a.{os.getppid()}", f"b.{NO_PROCESS}")
    )
    for path in (left, of_the_living, other):
        path.touch()
    write_json({}, tmp_path / "a.json")
    assert (left.exists(), of_the_living.exists(), other.exists()) == (False, True, True)


def test_json_has_no_number_that_is_not_finite(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.json expects finite numbers, as JSON does; got rows\.1\.value = nan"
    ):
        write_json({"rows": [{"value": 1.0}, {"value": float("nan")}]}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_is_said_to_be(tmp_path):
    with atomic_write(tmp_path / ("n" * 250)) as partial:  # its partial file has a shorter one
        partial.touch()
    with pytest.raises(
        UnwritableError,
        match=r"File name too long\. There is none before it\. Choose a shorter name",
    ):
        write_json({}, tmp_path / ("n" * 300))
    with pytest.raises(UnwritableError, match="cannot be written: File name too long"):
        fit(recipe(), tmp_path / ("n" * 300))


# Signals
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_notice_to_end_saves_as_ctrl_c_does(tmp_path, monkeypatch, number):
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


def test_a_signal_that_the_process_ignores_is_left_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with callbacks.Interrupts(lambda: None).heard():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# One writer
# -----------------------------------------------------------------------------------------------------------


def test_a_folder_has_one_run_at_a_time(tmp_path):
    message = rf"in use by another run, process {os.getpid()} on .*--out"
    with folder_lock(tmp_path), pytest.raises(ValueError, match=message):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    fit(recipe(steps=1), tmp_path)


def test_a_run_that_dies_lets_go_of_its_folder(tmp_path):
    child = os.fork()
    if child == 0:
        with folder_lock(tmp_path):
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / LOCK).exists()
    with folder_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_best_state_of_another_run_is_not_overwritten(tmp_path):
    (tmp_path / train.BEST).touch()
    with pytest.raises(
        ValueError, match=r"best\.ckpt exists, of a run whose last state is gone\. Choose another"
    ):
        fit(recipe(), tmp_path)


# Several processes
# ----------------------------------------------------------------------------------------------------


def a_glow() -> GenerativeModel:
    return recipe().build((1, 4, 4), 4)


def an_order_agnostic_net() -> GenerativeModel:
    model = {"name": "deep_nade", "hidden_dims": [5, 5], "dropout": 0.3}
    return recipes.Recipe.from_dict({"name": "t", "model": model, "data": "toy"}, "the test").build(
        (1, 4, 4), 2
    )


@pytest.mark.parametrize("make", [a_glow, an_order_agnostic_net])
def test_the_loss_of_a_batch_is_the_mean_of_its_parts_on_several_processes(
    tmp_path, monkeypatch, make
):
    model, x = make().train(), images().train[:8].clamp(max=1)
    run = train.RunRecord(recipe(), (1, 4, 4), 4, "", 0, "")
    whole = TrainingModule(model, run, tmp_path).bits_per_dim(x)
    parts = []
    for rank, part in enumerate(x.chunk(4)):
        monkeypatch.setattr(TrainingModule, "global_rank", rank)
        parts.append(TrainingModule(model, run, tmp_path, processes=4).bits_per_dim(part))
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_processes_divide_a_batch_evenly(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"batch_size expects a multiple of the number of processes .*; got 8 for 3",
    ):
        fit(recipe(), tmp_path / "out", devices=3)
    with pytest.raises(ValueError, match=r"devices from 1 to \d+; got 0\. Choose"):
        fit(recipe(), tmp_path / "out", devices=0)
    assert not (tmp_path / "out").exists()


TWO = SimpleNamespace(
    world_size=2, strategy=SimpleNamespace(launcher=None)
)  # a trainer, as far as it matters


def test_a_socket_that_lost_its_other_end_says_that_a_process_died():
    with pytest.raises(ConnectionError, match=r"Another process of this run has died\. Go on so\."):
        with fail_together(TWO, "Go on so."):
            raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    with pytest.raises(RuntimeError, match="another reason"), fail_together(TWO, ""):
        raise RuntimeError("another reason")


def test_a_process_that_waits_for_one_that_died_ends():
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.dup2(write, 2)
            with fail_together(TWO, "Go on so."):
                time.sleep(30)  # as behind a GPU
            os.write(2, b"waited in vain")
        time.sleep(0.2)
        os._exit(0)
    os.wait()
    os.close(write)
    with open(read) as said:  # until its end, which is that of the process
        assert said.read() == "\npyro-exact: Another process of this run has died. Go on so.\n"


# Weights that are not finite
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"), [(float("nan"), "NaN"), (float("inf"), "infinite elements")]
)
def test_a_score_from_weights_that_are_not_finite_names_the_layer(value, kind):
    model = a_glow()
    name, weight = next((n, p) for n, p in model.named_parameters() if n.endswith("bias"))
    torch.nn.init.constant_(weight, value)
    message = (
        rf"evaluate expects finite weights; got {kind} in bias of {name.rpartition('.')[0]} \("
    )
    with pytest.raises(train.NotFiniteError, match=message):
        train.evaluate(model, images().test)


def test_one_clause_catches_all_that_is_not_finite():
    model = recipe().build((1, 4, 4), 4)
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(ValueError, match="finite weights"):
        train.evaluate(model, torch.zeros(2, 1, 4, 4, dtype=torch.uint8))


def test_a_score_that_is_not_finite_names_the_image():
    values = {"name": "t", "model": {"name": "nade", "width": 2}, "data": "toy"}
    model = recipes.Recipe.from_dict(values, "the test").build((1, 2, 2), 2)
    torch.nn.init.constant_(model.distribution.net.b, 1e38)
    torch.nn.init.constant_(model.distribution.net.V, 0.0)
    x = torch.ones(5, 1, 2, 2)
    x[3] = 0
    with pytest.raises(
        train.NotFiniteError, match="got 1 of 5 that are not, first inf nats of image 3"
    ):
        train.evaluate(model, x, batch_size=2)


def test_a_record_of_one_image_has_no_error(tmp_path):
    score = train.evaluate(a_glow(), images().test[:1])
    assert score.standard_error is None
    assert str(score).endswith(" bits/dim (elbo, k = 1, 1 image)")
    write_json(score.metric("nats"), tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["standard_error"] is None
