"""A run of training: resumption, budgets, validation, errors."""

import errno
import math
import signal
import time
from pathlib import Path

import pyro
import pytest
import torch
from helpers.runs import LEVELS, contents, curve, fit, images, recipe, record, same
from pyro.distributions import Categorical
from torch import nn

from pyro_exact import data, models, recipes, train
from pyro_exact.files import UnwritableError
from pyro_exact.train import callbacks, data_module, lightning_module
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.transforms import Conv1x1


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
def test_run_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path, interrupt, step, ema):
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
    assert same(straight.model.state_dict(), resumed.model.state_dict())


def test_run_that_is_finished_is_resumed_with_a_larger_budget(tmp_path):
    fit(recipe(steps=20, ema_decay=0.9), tmp_path / "straight")
    fit(recipe(steps=10, ema_decay=0.9), tmp_path / "resumed")
    fit(recipe(steps=20, ema_decay=0.9), tmp_path / "resumed", resume=True)
    assert same(
        contents(tmp_path / "straight")["state_dict"], contents(tmp_path / "resumed")["state_dict"]
    )


def test_run_that_is_finished_stays_as_it_is_when_resumed(copied):
    before = contents(copied)
    model = fit(recipe(ema_decay=0.9), copied, resume=True).model
    assert same(
        before["state_dict"], {f"model.{name}": value for name, value in model.state_dict().items()}
    )
    assert contents(copied)["global_step"] == 20


def test_run_stops_at_the_second_interrupt_and_leaves_the_last_checkpoint(tmp_path, interrupt):
    handler = signal.getsignal(signal.SIGINT)
    interrupt(15, times=2)
    with pytest.raises(KeyboardInterrupt, match="last checkpoint"):
        fit(recipe(), tmp_path)
    assert contents(tmp_path)["global_step"] == 10
    assert signal.getsignal(signal.SIGINT) is handler
    train.load_model(tmp_path / train.LAST)


def test_run_says_at_the_second_interrupt_that_there_is_no_checkpoint_yet(tmp_path, interrupt):
    interrupt(2, times=2)
    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet"):
        fit(recipe(), tmp_path)


def test_interrupt_is_left_alone_outside_the_main_thread():
    import threading

    def enter():
        with callbacks.Interrupts(lambda: None).heard():
            entered.append(signal.getsignal(signal.SIGINT))

    handler, entered = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [handler]


def test_training_learns_and_says_where_it_is(tmp_path, capsys):
    fit(recipe(steps=60), tmp_path, progress=True)
    points = curve(contents(tmp_path))
    assert [step for step, _ in points["train"]] == [10, 20, 30, 40, 50, 60]
    assert points["valid"][-1][1] < points["valid"][0][1] - 0.2
    out = capsys.readouterr().out
    assert "Training: 100%" in out
    assert "60/60" in out
    assert "valid bits/dim=" in out


def test_validation_does_not_disturb_training(tmp_path):
    fit(recipe(validate_every=3), tmp_path / "often")
    fit(recipe(validate_every=20), tmp_path / "rarely")
    a, b = contents(tmp_path / "often"), contents(tmp_path / "rarely")
    assert same(a["state_dict"], b["state_dict"])
    assert curve(a)["train"] == curve(b)["train"]
    assert [step for step, _ in curve(a)["valid"]] == [3, 6, 9, 12, 15, 18, 20]


def test_run_keeps_the_average_of_the_weights(tmp_path, monkeypatch):
    seen = []
    end = TrainingModule.on_train_batch_end

    def on_train_batch_end(self, outputs, batch, batch_idx):
        end(self, outputs, batch, batch_idx)
        seen.append(
            {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        )

    monkeypatch.setattr(TrainingModule, "on_train_batch_end", on_train_batch_end)
    model = fit(recipe(ema_decay=0.9, steps=12), tmp_path).model
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


def test_run_stops_at_a_budget_of_minutes(tmp_path):
    settings = recipe(steps=10**6, minutes=0.005, decay="cosine", validate_every=10**5)
    fit(settings, tmp_path)
    checkpoint = contents(tmp_path)
    assert 0.3 <= checkpoint["pyro_exact"]["seconds"] < 5
    assert curve(checkpoint)["valid"][0][0] == checkpoint["global_step"]
    fit(settings, tmp_path, resume=True)
    assert contents(tmp_path)["global_step"] == checkpoint["global_step"]


def test_run_on_a_cpu_has_a_budget_of_the_time_of_computing(tmp_path, monkeypatch):
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


def test_class_conditional_model_learns_its_classes(tmp_path):
    images = labelled()
    settings = recipe({"context_dim": 2}, steps=60)
    model = train.fit(settings, images, out=tmp_path, progress=False, device="cpu").model
    labels = train.labels_for(model, images, "valid")
    right, wrong = (
        train.evaluate(model, images.valid, labels=given, batch_size=8)
        for given in (labels, 1 - labels)
    )
    assert right.bits_per_dim < wrong.bits_per_dim - 0.5
    assert curve(contents(tmp_path))["valid"][-1][1] == pytest.approx(right.bits_per_dim)
    again = train.evaluate(model, images.valid, labels=labels, batch_size=5)
    assert again.bits_per_dim == pytest.approx(right.bits_per_dim, rel=0.1)


def test_class_conditional_model_needs_labels(tmp_path):
    with pytest.raises(
        ValueError, match="toy, train expects a label for each row, for a model of 2 classes"
    ):
        train.fit(
            recipe({"context_dim": 2}),
            labelled(labels=False),
            out=tmp_path,
            progress=False,
            device="cpu",
        )
    assert train.labels_for(recipe().build((1, 4, 4), LEVELS), labelled(), "train") is None


def test_run_keeps_the_best_state_beside_the_last(tmp_path, monkeypatch):
    scores = iter([3.0, 1.0, 2.0])
    real = train.evaluate

    def evaluate(*args, **kwargs):
        score = real(*args, **kwargs)
        return train.Evaluation(**{**vars(score), "bits_per_dim": next(scores)})

    monkeypatch.setattr(lightning_module, "evaluate", evaluate)
    fit(recipe(steps=30), tmp_path)
    assert contents(tmp_path)["global_step"] == 30
    assert contents(tmp_path, train.BEST)["global_step"] == 20


def test_validation_while_training_is_on_some_of_the_images(tmp_path, monkeypatch):
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


def test_validation_images_are_spread_over_a_split_that_may_be_sorted():
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


def test_run_writes_and_says_nothing_else(tmp_path, monkeypatch, capsys, recwarn):
    monkeypatch.chdir(tmp_path)
    fit(recipe(), Path("out"))
    assert sorted(str(path) for path in Path().rglob("*")) == [
        "out",
        "out/best.ckpt",
        "out/checkpoint.ckpt",
    ]
    assert capsys.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn] == []


def test_run_in_bf16_stays_close_to_float32(tmp_path):
    for precision in ("float32", "bf16"):
        fit(recipe(precision=precision), tmp_path / precision)
    a, b = (curve(contents(tmp_path / precision)) for precision in ("float32", "bf16"))
    assert a != b
    for (_, exact), (_, rounded) in zip(
        a["train"] + a["valid"], b["train"] + b["valid"], strict=True
    ):
        assert rounded == pytest.approx(exact, abs=0.02)


def test_precision_of_products_is_that_of_the_recipe_while_it_trains(tmp_path, monkeypatch):
    found = set()

    def mean_loss(task, batch):
        found.add(torch.get_float32_matmul_precision())
        return loss(task, batch)

    loss = TrainingModule.mean_loss
    monkeypatch.setattr(TrainingModule, "mean_loss", mean_loss)
    fit(recipe(matmul_precision="medium", steps=2), tmp_path)
    assert found == {"medium"}
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.gpu
def test_run_on_a_gpu_trains_as_on_a_cpu(tmp_path):
    for device in ("cpu", "cuda"):
        fit(recipe(), tmp_path / device, device=device)
    a, b = (curve(contents(tmp_path / device)) for device in ("cpu", "cuda"))
    assert a["valid"][-1][1] == pytest.approx(
        b["valid"][-1][1], abs=0.1
    )  # the noise of the two differs


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adamax"])
def test_optimiser_trains(tmp_path, optimizer):
    fit(recipe(optimizer=optimizer, steps=2, weight_decay=0.1), tmp_path)
    assert contents(tmp_path)["global_step"] == 2


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
def test_learning_rate(settings, step, seconds, factor):
    assert recipes.Training(**settings).learning_rate_factor(step, seconds) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("settings", "found", "message"),
    [
        (recipe(), images(size=5), r"multiples of 2\^scales = 2; got .*\(1, 5, 5\)"),
        (recipe(batch_size=65), images(), "at most 64, the number of rows; got 65"),
    ],
)
def test_run_refuses_what_does_not_fit_the_recipe_before_anything_is_written(
    tmp_path, settings, found, message
):
    with pytest.raises(ValueError, match=message):
        train.fit(settings, found, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_run_is_not_overwritten(copied):
    with pytest.raises(ValueError, match=r"checkpoint\.ckpt exists.*--resume"):
        fit(recipe(), copied)


def test_run_has_nothing_to_resume(tmp_path):
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
def test_run_does_not_resume_the_checkpoint_of_another(copied, settings, found, seed, message):
    before = (copied / train.LAST).read_bytes()
    with pytest.raises(ValueError, match=f"another run.*{message}"):
        train.fit(settings, found, out=copied, seed=seed, resume=True, progress=False)
    assert (copied / train.LAST).read_bytes() == before


def test_run_refuses_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot be written: Not a directory.*--out"):
        fit(recipe(), tmp_path / "file" / "out")


def test_run_refuses_a_folder_without_permission(tmp_path, monkeypatch):
    def write_bytes(self, _):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UnwritableError, match="Permission denied"):
        fit(recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["gpu", "tpu", pytest.param("cuda", id="absent")])
def test_run_refuses_a_device_that_is_not_there(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"device (expects auto, cpu, cuda or mps|is cuda, but)"):
        fit(recipe(), tmp_path / "out", device=name)


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
def test_run_that_diverges_names_step_and_layer_and_keeps_the_last_checkpoint(
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


def test_run_diverges_at_an_absurd_learning_rate_before_there_is_a_checkpoint(tmp_path):
    with pytest.raises(
        train.DivergedError, match=r"There is no checkpoint yet\. Lower training\.learning_rate"
    ):
        fit(recipe(learning_rate=1e5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_run_does_not_save_a_validation_loss_that_is_not_finite(tmp_path):
    with pytest.raises(
        train.DivergedError,
        match=r"validation loss is not finite after 1 steps; first so is the output",
    ):
        fit(recipe(learning_rate=1e30, validate_every=1), tmp_path)
    assert list(tmp_path.iterdir()) == []


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


SEEDS = [{"seed": seed} for seed in ("a", None, 2**70, 1.5)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *((seed, "fit expects seed .*; got") for seed in [*SEEDS, {"seed": -1}]),
        ({"model": "glow_digits"}, "fit expects a GenerativeModel or a Recipe; got str. Wrap"),
        (
            {"data": "digits"},
            r"expects a tensor, an array, \(train, valid\), or a Dataset; got str",
        ),
        ({"out": None}, "fit expects out as a string or a path; got None"),
        ({"devices": 0}, "fit expects devices from 1"),
        ({"nodes": 1.5}, "fit expects nodes as an integer"),
        ({"device": "tpu"}, "device expects auto, cpu, cuda or mps; got 'tpu'. Choose one"),
    ],
)
def test_run_with_wrong_arguments_does_not_begin(tmp_path, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        train.fit(**{"model": recipe(), "data": images(), "out": tmp_path, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_stock_svi_trains_the_same_loss(tmp_path):
    """The other door: one step of `SVI` and one of `fit` see the same loss for the same noise."""
    model = recipe().build((1, 4, 4), LEVELS)
    x = images().train[:8]
    loss = TrainingModule(model, record(recipe()), tmp_path)
    torch.manual_seed(1)
    stock = pyro.infer.Trace_ELBO().loss(model.model, model.guide, x) / (x.numel() * math.log(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_module, "_seed", lambda *_: torch.manual_seed(1))
        patch.setattr(TrainingModule, "global_step", 0)
        patch.setattr(TrainingModule, "global_rank", 0)
        assert loss.mean_loss(x).item() == pytest.approx(stock, rel=1e-5)
