"""Training, evaluation and checkpoints, on a Glow of a few hundred weights."""

import errno
import importlib.util
import json
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
import two_processes
from pyro.distributions import Categorical
from torch import nn

from pyro_exact import data, models, recipes, train
from pyro_exact.files import UnwritableError, write_json
from pyro_exact.provenance import commit, hardware
from pyro_exact.train import callbacks, data_module, lightning_module
from pyro_exact.train.baselines import independent_bits_per_dim, uniform_bits_per_dim
from pyro_exact.train.budget import learning_rate_factor
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.checksum import write_checksum
from pyro_exact.train.divergence import all_finite
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.run_record import RunRecord
from pyro_exact.transforms import Conv1x1

LEVELS = 4


def images(name="toy", size=4, count=64, channels=1):
    """Images with something to learn: a slope from left to right, and a little noise."""
    slope = torch.linspace(0, LEVELS - 1, size).expand(count, channels, size, size)
    noise = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))
    pixels = (slope + noise - 0.5).round().clamp(0, LEVELS - 1).to(torch.uint8)
    return data.Images(name, train=pixels, valid=pixels[:16], test=pixels[:16], levels=LEVELS)


def recipe(model=None, **training):
    settings = {
        "steps": 20,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "validate_every": 10,
        **training,
    }
    model = {
        "name": "glow",
        "scales": 1,
        "steps": 1,
        "width": 4,
        "factorized": True,
        **(model or {}),
    }
    return recipes.Recipe.from_dict(
        {"name": "toy", "model": model, "data": "toy", "training": settings}, "the test"
    )


def fit(settings, folder, **options):
    return train.fit(settings, images(), folder, **{"progress": False, "device": "cpu", **options})


def contents(folder, name=train.LAST):
    return train.read_checkpoint(folder / name)


def curve(checkpoint):
    """Steps and values; the seconds differ from run to run."""
    points = checkpoint["pyro_exact"]["curve"].items()
    return {name: [(step, value) for step, _, value in split] for name, split in points}


def same(a, b):
    """Whether two nests of tensors are equal bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


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


# Resuming and interrupting
# --------------------------------------------------------------------------------------------


@pytest.fixture
def interrupt(monkeypatch):
    """Returns a function after which Ctrl-C is pressed in the middle of a step, some number of times."""
    begin, handler = TrainingModule.on_train_batch_start, signal.getsignal(signal.SIGINT)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which a process in the background does not have

    def at(step, times=1):
        def on_train_batch_start(self, batch, batch_idx):
            begin(self, batch, batch_idx)
            for _ in range(times if self.global_step == step - 1 else 0):
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(TrainingModule, "on_train_batch_start", on_train_batch_start)

    yield at
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(("step", "ema"), [(10, 0.9), (13, 0.9), (15, None)])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, interrupt, step, ema):
    settings = recipe(ema_decay=ema, warmup_steps=5, decay="cosine", flip=True, gradient_clip=1.0)
    straight = fit(settings, tmp_path / "straight")
    interrupt(step)
    with pytest.raises(KeyboardInterrupt, match=f"after {step} steps.*--resume"):
        fit(settings, tmp_path / "resumed")
    assert contents(tmp_path / "resumed")["global_step"] == step
    interrupt(0)
    torch.rand(3)  # nothing depends on the state in which the caller left torch
    resumed = fit(settings, tmp_path / "resumed", resume=True)
    a, b = contents(tmp_path / "straight"), contents(tmp_path / "resumed")
    assert curve(a) == curve(b)
    for key in ("state_dict", "current_model_state", "averaging_state"):
        assert same(a.get(key), b.get(key)), key
    assert same(a["optimizer_states"][0]["state"], b["optimizer_states"][0]["state"])
    assert same(straight.state_dict(), resumed.state_dict())


def test_a_finished_run_is_resumed_with_a_larger_budget(tmp_path):
    fit(recipe(steps=20, ema_decay=0.9), tmp_path / "straight")
    fit(recipe(steps=10, ema_decay=0.9), tmp_path / "resumed")
    fit(recipe(steps=20, ema_decay=0.9), tmp_path / "resumed", resume=True)
    assert same(
        contents(tmp_path / "straight")["state_dict"], contents(tmp_path / "resumed")["state_dict"]
    )


def test_a_finished_run_that_is_resumed_stays_as_it_is(copied):
    before = contents(copied)
    model = fit(recipe(ema_decay=0.9), copied, resume=True)
    assert same(
        before["state_dict"], {f"model.{name}": value for name, value in model.state_dict().items()}
    )
    assert contents(copied)["global_step"] == 20


def test_the_second_interrupt_stops_at_once_and_leaves_the_last_checkpoint(tmp_path, interrupt):
    handler = signal.getsignal(signal.SIGINT)
    interrupt(15, times=2)
    with pytest.raises(KeyboardInterrupt, match="last checkpoint"):
        fit(recipe(), tmp_path)
    assert contents(tmp_path)["global_step"] == 10
    assert signal.getsignal(signal.SIGINT) is handler
    train.load_model(tmp_path / train.LAST)


def test_the_second_interrupt_says_that_there_is_no_checkpoint_yet(tmp_path, interrupt):
    interrupt(2, times=2)
    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet"):
        fit(recipe(), tmp_path)


def test_an_interrupt_is_left_alone_outside_the_main_thread():
    import threading

    def enter():
        with callbacks.Interrupts(lambda: None).heard():
            entered.append(signal.getsignal(signal.SIGINT))

    handler, entered = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [handler]


# One run
# --------------------------------------------------------------------------------------------------------------


def test_training_learns_and_says_where_it_is(tmp_path, capsys):
    fit(recipe(steps=60), tmp_path, progress=True)
    points = curve(contents(tmp_path))
    assert [step for step, _ in points["train"]] == [10, 20, 30, 40, 50, 60]
    assert points["valid"][-1][1] < points["valid"][0][1] - 0.2
    out = capsys.readouterr().out
    assert "Training: 100%" in out
    assert "60/60" in out
    assert "valid bits/dim=" in out


def test_looking_at_the_validation_split_does_not_disturb_training(tmp_path):
    fit(recipe(validate_every=3), tmp_path / "often")
    fit(recipe(validate_every=20), tmp_path / "rarely")
    a, b = contents(tmp_path / "often"), contents(tmp_path / "rarely")
    assert same(a["state_dict"], b["state_dict"])
    assert curve(a)["train"] == curve(b)["train"]
    assert [step for step, _ in curve(a)["valid"]] == [3, 6, 9, 12, 15, 18, 20]


def test_the_average_of_the_weights_is_what_is_kept(tmp_path, monkeypatch):
    seen = []
    end = TrainingModule.on_train_batch_end

    def on_train_batch_end(self, outputs, batch, batch_idx):
        end(self, outputs, batch, batch_idx)
        seen.append(
            {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        )

    monkeypatch.setattr(TrainingModule, "on_train_batch_end", on_train_batch_end)
    model = fit(recipe(ema_decay=0.9, steps=12), tmp_path)
    for name, value in model.state_dict().items():
        expected = seen[0][name]
        if name in dict(model.named_parameters()):
            for n, weights in enumerate(seen[1:], start=1):
                decay = min(0.9, (1 + n) / (10 + n))
                expected = decay * expected + (1 - decay) * weights[name]
        torch.testing.assert_close(
            value, expected
        )  # the permutation of Conv1x1, a buffer, is not averaged
    assert not model.training
    weights, run = train.load_model(tmp_path / train.LAST)
    assert same(weights.state_dict(), model.state_dict())
    assert run.step == 12


def test_a_budget_of_minutes_stops_the_run(tmp_path):
    settings = recipe(steps=10**6, minutes=0.005, decay="cosine", validate_every=10**5)
    fit(settings, tmp_path)
    checkpoint = contents(tmp_path)
    assert 0.3 <= checkpoint["pyro_exact"]["seconds"] < 5
    assert curve(checkpoint)["valid"][0][0] == checkpoint["global_step"]
    fit(settings, tmp_path, resume=True)
    assert contents(tmp_path)["global_step"] == checkpoint["global_step"]


def test_on_a_cpu_the_budget_is_the_time_of_computing(tmp_path, monkeypatch):
    training_step = TrainingModule.training_step

    def after_a_rest(*args):
        time.sleep(0.2)
        return training_step(*args)

    monkeypatch.setattr(TrainingModule, "training_step", after_a_rest)
    fit(recipe(steps=10, minutes=1), tmp_path)
    run = contents(tmp_path)["pyro_exact"]
    assert run["clock"] == "computing"
    assert 0 < run["seconds"] < 10 * 0.2


def labelled(labels=True):
    """Dark and bright images, and which is which."""
    classes = torch.arange(64) % 2
    pixels = (2 * classes.view(-1, 1, 1, 1) + torch.rand(64, 1, 4, 4).round()).to(torch.uint8)
    named = {"train_labels": classes, "valid_labels": classes[:16]} if labels else {}
    return data.Images(
        "toy", train=pixels, valid=pixels[:16], test=pixels[:16], levels=LEVELS, **named
    )


def test_a_class_conditional_model_learns_its_classes(tmp_path):
    images = labelled()
    settings = recipe({"context_dim": 2}, steps=40)
    model = train.fit(settings, images, tmp_path, progress=False, device="cpu")
    labels = train.labels_for(model, images, "valid")
    right, wrong = (
        train.evaluate(model, images.valid, labels=given) for given in (labels, 1 - labels)
    )
    assert right.bits_per_dim < wrong.bits_per_dim - 0.5
    assert curve(contents(tmp_path))["valid"][-1][1] == pytest.approx(right.bits_per_dim)
    again = train.evaluate(model, images.valid, labels=labels, batch_size=5)
    assert again.bits_per_dim == pytest.approx(right.bits_per_dim, rel=0.1)


def test_a_class_conditional_model_needs_labels(tmp_path):
    with pytest.raises(
        ValueError, match="toy, train expects a label for each image, for a model of 2 classes"
    ):
        train.fit(
            recipe({"context_dim": 2}),
            labelled(labels=False),
            tmp_path,
            progress=False,
            device="cpu",
        )
    assert train.labels_for(recipe().build((1, 4, 4), LEVELS), labelled(), "train") is None


def test_the_best_state_is_kept_beside_the_last(tmp_path, monkeypatch):
    scores = iter([3.0, 1.0, 2.0])
    real = train.evaluate

    def evaluate(*args, **kwargs):
        score = real(*args, **kwargs)
        return train.Evaluation(**{**vars(score), "bits_per_dim": next(scores)})

    monkeypatch.setattr(lightning_module, "evaluate", evaluate)
    fit(recipe(steps=30), tmp_path)
    assert contents(tmp_path)["global_step"] == 30
    assert contents(tmp_path, train.BEST)["global_step"] == 20


def test_a_look_while_training_is_at_some_of_the_validation_images(tmp_path, monkeypatch):
    seen = []
    real = train.evaluate
    monkeypatch.setattr(
        lightning_module,
        "evaluate",
        lambda model, x, **options: seen.append(len(x)) or real(model, x, **options),
    )
    fit(recipe(validate_on=5), tmp_path / "some")
    fit(recipe(validate_on=None), tmp_path / "all")
    assert seen == [5, 5, 16, 16]


def test_the_images_of_a_look_are_spread_over_a_split_that_may_be_sorted():
    images = data.Images(
        "toy", *(torch.zeros(n, 1, 2, 2, dtype=torch.uint8) for n in (4, 9, 4)), levels=4
    )
    assert data_module.validation_subset(images, recipes.Training(validate_on=3)).tolist() == [
        0,
        4,
        8,
    ]
    for everything in (None, 9, 100):
        assert data_module.validation_subset(
            images, recipes.Training(validate_on=everything)
        ).tolist() == list(range(9))


def test_nothing_else_is_written_or_said(tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    fit(recipe(), Path("out"))
    assert sorted(str(path) for path in Path().rglob("*")) == [
        "out",
        "out/best.ckpt",
        "out/checkpoint.ckpt",
    ]
    assert capsys.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_bf16_stays_close_to_float32(tmp_path):
    for precision in ("float32", "bf16"):
        fit(recipe(precision=precision), tmp_path / precision)
    a, b = (curve(contents(tmp_path / precision)) for precision in ("float32", "bf16"))
    assert a != b
    for (_, exact), (_, rounded) in zip(
        a["train"] + a["valid"], b["train"] + b["valid"], strict=True
    ):
        assert rounded == pytest.approx(exact, abs=0.02)


def test_the_precision_of_products_is_that_of_the_recipe_while_it_trains(tmp_path, monkeypatch):
    found = set()

    def bits_per_dim(task, batch):
        found.add(torch.get_float32_matmul_precision())
        return loss(task, batch)

    loss = TrainingModule.bits_per_dim
    monkeypatch.setattr(TrainingModule, "bits_per_dim", bits_per_dim)
    fit(recipe(matmul_precision="medium", steps=2), tmp_path)
    assert found == {"medium"}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu_does(tmp_path):
    for device in ("cpu", "cuda"):
        fit(recipe(), tmp_path / device, device=device)
    a, b = (curve(contents(tmp_path / device)) for device in ("cpu", "cuda"))
    assert a["valid"][-1][1] == pytest.approx(
        b["valid"][-1][1], abs=0.1
    )  # the noise of the two differs


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax"])
def test_every_optimiser_trains(tmp_path, optimizer):
    fit(recipe(optimizer=optimizer, steps=2, weight_decay=0.1), tmp_path)
    assert contents(tmp_path)["global_step"] == 2


def test_a_run_goes_on_on_two_processes_as_on_one(tmp_path):
    two_processes.run(tmp_path / "two", devices=1, steps=2)
    script = [sys.executable, two_processes.__file__, str(tmp_path / "two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        script,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second", "two"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [train.BEST, train.LAST]
    two_processes.run(tmp_path / "one", devices=1)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for key in ("state_dict", "current_model_state"):
        for name, value in one[key].items():
            torch.testing.assert_close(two[key][name], value, rtol=0, atol=1e-6)
    assert [step for step, _ in curve(two)["valid"]] == [2, 4, 5]
    assert curve(two)["valid"][-1][1] == pytest.approx(curve(one)["valid"][-1][1], abs=1e-5)
    assert two["pyro_exact"]["recent"] == pytest.approx(one["pyro_exact"]["recent"], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "step", "seconds", "factor"),
    [
        ({}, 500, 0.0, 1.0),
        ({"warmup_steps": 10}, 0, 0.0, 0.1),
        ({"warmup_steps": 10}, 9, 0.0, 1.0),
        ({"decay": "cosine"}, 0, 0.0, 1.0),
        ({"decay": "cosine"}, 500, 0.0, 0.5),
        ({"decay": "cosine"}, 1000, 0.0, 0.0),
        ({"decay": "cosine", "minutes": 2.0}, 0, 60.0, 0.5),
        ({"decay": "cosine", "minutes": 2.0}, 750, 30.0, 0.5 * (1 + math.cos(0.75 * math.pi))),
        ({"decay": "cosine", "minutes": 2.0}, 0, 130.0, 0.0),
    ],
)
def test_the_learning_rate(settings, step, seconds, factor):
    assert learning_rate_factor(recipes.Training(**settings), step, seconds) == pytest.approx(
        factor
    )


# What bad input gets
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "found", "message"),
    [
        (recipe(), images(size=5), r"multiples of 2\^scales = 2; got .*\(1, 5, 5\)"),
        (recipe(batch_size=65), images(), "at most 64, the number of images; got 65"),
    ],
)
def test_what_does_not_fit_the_recipe_is_refused_before_anything_is_written(
    tmp_path, settings, found, message
):
    with pytest.raises(ValueError, match=message):
        train.fit(settings, found, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten(copied):
    with pytest.raises(ValueError, match=r"checkpoint\.ckpt exists.*--resume"):
        fit(recipe(), copied)


def test_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        fit(recipe(), tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "found", "seed", "message"),
    [
        (recipe({"width": 8}, ema_decay=0.9), images(), 0, r"model\.width \(4 there, 8 here\)"),
        (recipe(ema_decay=0.8), images(), 0, r"training\.ema_decay \(0\.9 there, 0\.8 here\)"),
        (recipe(ema_decay=0.9), images(count=32), 0, "data"),
        (recipe(ema_decay=0.9), images(), 1, r"seed \(0 there, 1 here\)"),
    ],
)
def test_the_checkpoint_of_another_run_is_not_resumed(copied, settings, found, seed, message):
    before = (copied / train.LAST).read_bytes()
    with pytest.raises(ValueError, match=f"another run.*{message}"):
        train.fit(settings, found, copied, seed, resume=True, progress=False)
    assert (copied / train.LAST).read_bytes() == before


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written: Not a directory.*--out"):
        fit(recipe(), tmp_path / "file" / "out")


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    def write_bytes(self, _):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UnwritableError, match="Permission denied"):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gpu", "tpu", pytest.param("cuda", id="absent")])
def test_a_device_that_is_not_there_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device (expects auto, cpu or cuda|is cuda, but)"):
        fit(recipe(), tmp_path / "out", device=name)


# Divergence
# -----------------------------------------------------------------------------------------------------------


def spoilt(method, from_step, spoil):
    """A method of a layer that goes wrong after some training steps."""
    steps = 0

    def transform(self, x, context=None):
        nonlocal steps
        y, ladj = method(self, x, context)
        steps += torch.is_grad_enabled()
        return (spoil(y), ladj) if steps > from_step else (y, ladj)

    return transform


def nan_gradient(y):
    if y.requires_grad:
        y.register_hook(lambda gradient: math.nan * gradient)
    return y


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda y: math.nan * y,
            r"after 13 steps; first so is the output of \S+ \(Conv1x1\)\. The last good checkpoint",
        ),
        (
            nan_gradient,
            r"after 13 steps; first so is the gradient of \S+\. The last good checkpoint",
        ),
    ],
)
def test_a_run_that_diverges_names_step_and_layer_and_keeps_the_last_checkpoint(
    tmp_path, monkeypatch, spoil, message
):
    fit(recipe(steps=10), tmp_path)
    before = (tmp_path / train.LAST).read_bytes()
    monkeypatch.setattr(Conv1x1, "transform", spoilt(Conv1x1.transform, 3, spoil))
    with pytest.raises(train.DivergedError, match=message):
        fit(recipe(steps=20), tmp_path, resume=True)
    assert (tmp_path / train.LAST).read_bytes() == before
    monkeypatch.undo()
    assert fit(recipe(steps=12), tmp_path, resume=True) is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_number_that_is_not_finite_is_found_among_tensors_of_any_precision(bad, dtype):
    tensors = [torch.full((2, 3), 1e30), torch.zeros(0), torch.ones(3, 4, dtype=dtype).T]
    before = [tensor.clone() for tensor in tensors]
    assert all_finite(tensors)
    assert all(map(torch.equal, tensors, before))
    tensors[2][3, 1] = bad
    assert not all_finite(tensors)


def test_an_absurd_learning_rate_diverges_before_there_is_a_checkpoint(tmp_path):
    with pytest.raises(
        train.DivergedError, match=r"There is no checkpoint yet\. Lower training\.learning_rate"
    ):
        fit(recipe(learning_rate=1e5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_validation_loss_that_is_not_finite_is_not_saved(tmp_path):
    with pytest.raises(
        train.DivergedError,
        match=r"validation loss is not finite after 1 steps; first so is the output",
    ):
        fit(recipe(learning_rate=1e30, validate_every=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


# Checkpoints
# ----------------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_enough_to_rebuild_the_model(finished):
    model, run = train.load_model(finished / train.LAST)
    assert (run.shape, run.levels, run.seed, run.step) == ((1, 4, 4), LEVELS, 0, 20)
    assert run.recipe == recipe(ema_decay=0.9).filled()
    score = train.evaluate(model, images().valid, batch_size=8)
    assert score.bits_per_dim == run.curve["valid"][-1][2]


def test_a_long_run_is_read_quickly(finished):
    values = train.read_checkpoint(finished / train.LAST)["pyro_exact"]
    values["curve"]["train"] = [[step, 0.1 * step, 1.0] for step in range(100_000)]
    start = time.process_time()
    run = train.RunRecord.from_dict(values, "the test")
    assert time.process_time() - start < 5  # checked point by point it would take hours
    assert run.curve["train"][-1][0] == 99_999


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(copied, part):
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
def test_a_malicious_checkpoint_runs_no_code(copied, save, message):
    path, target = copied / train.LAST, copied / "ran"
    save({**contents(copied), "callbacks": Malicious(target)}, path)
    with pytest.raises(ValueError, match=rf"refused.*{message}"):
        train.load_model(path)
    with pytest.raises(ValueError, match=rf"refused.*{message}"):
        fit(recipe(ema_decay=0.9), copied, resume=True)
    assert not target.exists()


def edited(path, edit):
    """Change what a checkpoint says of its run."""
    checkpoint = train.read_checkpoint(path)
    edit(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda c: c["pyro_exact"]["recipe"]["model"].update(name="os.system"),
            "name expects one of .*glow.*; got 'os.system'",
        ),
        (
            lambda c: c["pyro_exact"]["recipe"]["model"].update(class_path="os"),
            "unknown key 'class_path'",
        ),
        (
            lambda c: c["pyro_exact"]["recipe"]["model"].update(width=8),
            "do not fit its recipe 'toy'",
        ),
        (lambda c: c["pyro_exact"].pop("shape"), "lacks shape"),
        (lambda c: c["pyro_exact"].update(levels="many"), "levels expects int; got 'many'"),
        (lambda c: c.update(pyro_exact=3), "the field pyro_exact expects .*; got 3"),
        (lambda c: c.pop("pyro_exact"), "the field pyro_exact is missing"),
        (lambda c: c["state_dict"].clear(), "expects the shapes of the weights"),
    ],
)
def test_an_edited_checkpoint_is_refused(copied, edit, message):
    edited(copied / train.LAST, edit)
    with pytest.raises(ValueError, match=message):
        train.load_model(copied / train.LAST)


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_previous_checkpoint_survives_a_full_disk(copied, monkeypatch):
    before = (copied / train.LAST).read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(
        UnwritableError, match=r"No space left on device\. The previous one is kept"
    ):
        fit(recipe(steps=30, ema_decay=0.9), copied, resume=True)
    assert (copied / train.LAST).read_bytes() == before
    assert sorted(path.name for path in copied.iterdir()) == [train.BEST, train.LAST]


def test_the_previous_checkpoint_survives_a_disk_that_fills_up_while_it_is_written(tmp_path):
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


def test_a_first_checkpoint_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UnwritableError, match="There is none before it"):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# Evaluation
# -----------------------------------------------------------------------------------------------------------


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


def test_the_score_is_an_exact_sum_over_an_exact_count(exact):
    x = images(count=37).train
    log_p = torch.log_softmax(exact.distribution.logits.double(), -1).expand(37, -1, -1, -1, -1)
    nats = -log_p.gather(-1, x.long().unsqueeze(-1)).flatten(1).sum(1)
    for batch_size in (1, 10, 37, 100):  # the last batch of 10 is not full
        score = train.evaluate(exact, x, batch_size=batch_size)
        assert score.nats == pytest.approx(nats.mean().item(), rel=1e-6)
        assert score.bits_per_dim == pytest.approx(
            nats.mean().item() / (16 * math.log(2)), rel=1e-6
        )
        error = nats.std().item() / math.sqrt(37)
        assert score.standard_error_nats == pytest.approx(error, rel=1e-5)
        assert score.standard_error == pytest.approx(error / (16 * math.log(2)), rel=1e-5)
        assert (score.images, score.dims, score.bound) == (37, 16, "exact")


def test_the_mean_is_taken_in_float64(exact):
    x = torch.zeros(50_000, 1, 4, 4, dtype=torch.uint8)
    one = train.evaluate(exact, x[:1]).nats
    assert train.evaluate(exact, x, batch_size=10_000).nats == pytest.approx(one, rel=1e-9)


def test_more_samples_give_a_tighter_bound(finished):
    model, _ = train.load_model(finished / train.LAST)
    x = images(count=2000).train
    elbo, bound = (train.evaluate(model, x, k=k, batch_size=8000) for k in (1, 4))
    assert (elbo.bound, elbo.k, bound.bound, bound.k) == ("elbo", 1, "importance-weighted", 4)
    assert bound.nats < elbo.nats - 0.01
    torch.manual_seed(0)
    weights = model.log_weight(x, samples=4).double()
    assert bound.nats == pytest.approx(math.log(4) - weights.logsumexp(0).mean().item(), rel=1e-6)


def test_the_noise_is_that_of_the_seed_and_the_state_of_the_caller_is_left_alone(finished):
    model, _ = train.load_model(finished / train.LAST)
    model.train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (train.evaluate(model, images().test, seed=seed) for seed in (1, 1, 2))
    assert a == b != c
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda x: x[:0], ValueError, "at least one image"),
        (lambda x: x + LEVELS, ValueError, "pixel levels from 0 to 3"),
        (lambda x: x - 1.0, ValueError, "pixel levels from 0 to 3"),
        (lambda x: x / 2.0, ValueError, "whole pixel levels"),
        (lambda x: x * math.nan, ValueError, "to be finite; got 256 of 256 elements NaN"),
        (lambda x: x.expand(-1, 3, -1, -1), ValueError, r"\(\*, 1, 4, 4\); got \(\d+, 3, 4, 4\)"),
        (lambda x: x[..., :3], ValueError, r"\(\*, 1, 4, 4\); got \(\d+, 1, 4, 3\)"),
        (lambda x: x > 1, TypeError, "got torch.bool"),
    ],
)
def test_images_that_the_model_cannot_score_are_refused(finished, spoil, error, message):
    model, _ = train.load_model(finished / train.LAST)
    with pytest.raises(error, match=message):
        train.evaluate(model, spoil(images().test))


SEEDS = [{"seed": seed} for seed in ("a", None, 2**70, 1.5)]


@pytest.mark.parametrize(
    "arguments", [{"k": 0}, {"k": 2.0}, {"batch_size": 0}, {"batch_size": math.nan}, *SEEDS]
)
def test_senseless_numbers_are_refused(exact, arguments):
    with pytest.raises(
        (ValueError, TypeError), match=r"evaluate expects (k|batch_size|seed) .*; got .*\. \w+"
    ):
        train.evaluate(exact, images().test, **arguments)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (None, TypeError, "expects images as a tensor; got NoneType"),
        (np.zeros((2, 1, 4, 4)), TypeError, "expects images as a tensor; got ndarray"),
        (torch.tensor(1), ValueError, r"images of shape \(N, \.\.\.\); got .*\(\)\. Stack them"),
    ],
)
def test_what_is_no_batch_is_not_scored(exact, given, error, message):
    with pytest.raises(error, match=message):
        train.evaluate(exact, given)


def test_only_models_are_scored():
    with pytest.raises(
        TypeError, match=r"evaluate expects a GenerativeModel; got Linear\. Pass one"
    ):
        train.evaluate(torch.nn.Linear(2, 2), images().test)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.zeros(3, int), TypeError, "labels as a tensor; got ndarray"),
        ([0, 1, 0], TypeError, "labels as a tensor; got list"),
        (
            torch.zeros(2, dtype=torch.long),
            ValueError,
            r"labels of shape \(3,\), one an image; got \(2,\)\. Pass",
        ),
        (
            torch.zeros(3, 1, dtype=torch.long),
            ValueError,
            r"labels of shape \(3,\), one an image; got \(3, 1\)\. Pass",
        ),
        (torch.zeros(3), ValueError, r"integer classes from 0 to 2; got torch\.float32\. Use"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, error, message):
    settings = {
        "name": "gated_pixel_cnn",
        "width": 2,
        "depth": 1,
        "head_width": 2,
        "context_shape": 3,
    }
    model = recipes.Recipe("t", settings, "toy").build((1, 4, 4), LEVELS)
    with pytest.raises(error, match=message):
        train.evaluate(model, images().test[:3], labels=labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *((seed, "fit expects seed .*; got") for seed in [*SEEDS, {"seed": -1}]),
        ({"recipe": "glow_digits"}, "fit expects a Recipe; got str. Read one with load_recipe"),
        ({"images": torch.zeros(3, 1, 4, 4)}, "fit expects Images; got Tensor. Use data.load"),
        ({"out": None}, "fit expects out as a string or a path; got None"),
        ({"devices": 0}, "fit expects devices from 1"),
        ({"nodes": 1.5}, "fit expects nodes as an integer"),
        ({"device": "tpu"}, "device expects auto, cpu or cuda; got 'tpu'. Choose one"),
    ],
)
def test_a_run_with_wrong_arguments_does_not_begin(tmp_path, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        train.fit(**{"recipe": recipe(), "images": images(), "out": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [train.load_model, recipes.load_recipe, data.load])
@pytest.mark.parametrize("name", [None, 3, b"name"])
def test_what_is_no_path_is_not_read(read, name):
    with pytest.raises(
        TypeError, match=r"expects .* as a string or a path; got .*\. Pass the name of a file"
    ):
        read(name)


def test_the_model_goes_back_to_training_after_an_error(finished):
    model, _ = train.load_model(finished / train.LAST)
    model.train()
    with pytest.raises(ValueError, match="3, 4, 4"):
        train.evaluate(model, images(channels=3).test)
    assert model.training


# Anchors and records
# --------------------------------------------------------------------------------------------------


def test_baselines():
    seen = torch.tensor([0, 0, 1]).view(3, 1, 1, 1)
    scored = torch.tensor([0, 1]).view(2, 1, 1, 1)
    # Counts 2 and 1 of two levels, each with a half more: 2.5 / 4 and 1.5 / 4.
    expected = -(math.log2(2.5 / 4) + math.log2(1.5 / 4)) / 2
    assert independent_bits_per_dim(seen, scored, levels=2) == pytest.approx(expected)
    assert uniform_bits_per_dim(256) == 8.0


@pytest.fixture
def make_results():
    path = Path(__file__).parents[1] / "docs" / "make_results.py"
    spec = importlib.util.spec_from_file_location("make_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_record_is_what_the_page_of_results_wants(finished, tmp_path, make_results):
    model, run = train.load_model(finished / train.LAST)
    score = train.evaluate(model, images().test)
    record = run.result({"name": "toy", "split": "test", "images": 16, "note": "small"}, score, 7)
    write_json(record, tmp_path / "docs" / "results" / "toy.json")
    assert json.loads((tmp_path / "docs" / "results" / "toy.json").read_text()) == record
    make_results.main([], tmp_path / "docs")
    assert (
        "glow, uniform noise (`toy`) | test, 16 images; small"
        in (tmp_path / "docs" / "results.md").read_text()
    )
    assert record["settings"]["log_scale_factor"] == 3.0  # defaults too: they may change
    assert record["training"]["ema_decay"] == 0.9
    assert record["torch"] == torch.__version__
    assert record["commit"] == commit()
    assert record["valid"] == [
        [step, round(seconds, 1), bits] for step, seconds, bits in run.curve["valid"]
    ]


def test_the_curve_of_a_record_has_the_unit_of_its_metric(exact):
    run = RunRecord(
        recipes.load_recipe("nade_mnist"),
        (1, 2, 3),
        2,
        "toy",
        0,
        "a machine",
        curve={"valid": [[5, 1.23, 0.5]]},
    )
    record = run.result({}, train.evaluate(exact, images().test), 7)
    assert record["valid"] == [[5, 1.2, pytest.approx(0.5 * 6 * math.log(2))]]


def test_the_unit_is_that_of_the_paper(exact):
    score = train.evaluate(exact, images().test)
    assert score.metric("nats")["value"] == score.nats
    assert score.metric("bits/dim")["standard_error"] == score.standard_error


def test_hardware_counts_devices():
    assert hardware("cpu", 2) == f"2 x {hardware('cpu')}"
    assert "CPU threads" in hardware("cpu")


def test_json_is_written_atomic_write(tmp_path):
    path = tmp_path / "record.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_stock_svi_trains_the_same_loss(tmp_path):
    """The other door: one step of `SVI` and one of `fit` see the same loss for the same noise."""
    model = recipe().build((1, 4, 4), LEVELS)
    x = images().train[:8]
    loss = TrainingModule(model, train.RunRecord(recipe(), (1, 4, 4), LEVELS, "", 0, ""), tmp_path)
    torch.manual_seed(1)
    stock = pyro.infer.Trace_ELBO().loss(model.model, model.guide, x) / (x.numel() * math.log(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_module, "_seed", lambda *_: torch.manual_seed(1))
        patch.setattr(TrainingModule, "global_step", 0)
        patch.setattr(TrainingModule, "global_rank", 0)
        assert loss.bits_per_dim(x).item() == pytest.approx(stock, rel=1e-5)
