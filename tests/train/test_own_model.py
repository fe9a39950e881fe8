"""A model and data of one's own: trained, resumed and loaded without a recipe."""

import math
import re
import signal

import pytest
import torch
from helpers.runs import contents, curve, images, recipe, same
from torch import nn

from pyro_exact import distributions, flows, models, train
from pyro_exact.train import Training, fit, load_model, load_weights
from pyro_exact.train.device import pick_device
from pyro_exact.train.lightning_module import TrainingModule

DIM = 3
SETTINGS = {"steps": 12, "batch_size": 8, "validate_every": 4, "learning_rate": 1e-2}


def rows(count=60):
    """Rows that a flow can learn: correlated, and far from a standard normal distribution."""
    x = torch.randn(count, DIM, generator=torch.Generator().manual_seed(0))
    return x @ torch.tensor([[2.0, 1, 0], [0, 1, 0.5], [0, 0, 0.1]]) + 5


def density(seed=0):
    torch.manual_seed(seed)
    flow = flows.maf(DIM, layers=1, hidden_dims=[8])
    return models.Density(distributions.Flow(distributions.StandardNormal(DIM), flow.inv))


def trained(folder, model=None, data=None, settings=None, **options):
    options = {"progress": False, "device": "cpu", **options}
    settings = Training(**{**SETTINGS, **(settings or {})})
    return fit(model or density(), rows() if data is None else data, settings, folder, **options)


def test_own_model_is_trained_in_five_lines(tmp_path):
    before = density().log_weight(rows()).mean()
    run = trained(tmp_path / "run")
    assert run.model.log_weight(rows()).mean() > before + 1
    assert not run.model.training
    assert (run.record.name, run.record.unit, run.record.shape) == ("Density", "nats", (DIM,))
    assert [step for step, *_ in run.curve["valid"]] == [4, 8, 12]
    assert run.last.exists()
    assert run.best.exists()


def test_own_model_comes_back_from_its_weights(tmp_path):
    run = trained(tmp_path, settings={"ema_decay": 0.5})
    fresh = density(seed=1)
    record = load_weights(fresh, run.last)
    assert same(fresh.state_dict(), run.model.state_dict())  # the average, in both
    assert record.curve == run.curve

    score = train.evaluate(fresh, rows()[:6])
    assert score.nats == pytest.approx(train.evaluate(run.model, rows()[:6]).nats)


def test_own_model_is_not_rebuilt_by_a_checkpoint(tmp_path):
    run = trained(tmp_path, settings={"steps": 1})
    with pytest.raises(
        ValueError, match=r"your own model, Density, holds weights and no code.*load"
    ):
        load_model(run.last)

    other = models.Density(distributions.Flow(distributions.StandardNormal(DIM), flows.maf(DIM)))
    before = {name: weight.clone() for name, weight in other.state_dict().items()}
    with pytest.raises(ValueError, match="expect the model of their run; got another Density"):
        load_weights(other, run.last)
    assert same(before, other.state_dict())


@pytest.mark.parametrize(
    "settings", [{"ema_decay": 0.5}, {"accumulate": 2}, {"checkpoint_minutes": 1e-9}]
)
def test_own_model_goes_on_exactly_after_an_interrupt(tmp_path, monkeypatch, settings):
    straight = trained(tmp_path / "straight", settings=settings)
    begin, parts = TrainingModule.on_train_batch_start, []

    def interrupted(module, batch, index):
        begin(module, batch, index)
        parts.append(index)
        if len(parts) == 6 * module.settings.accumulate + 1:  # the first part of the seventh batch
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after 7 steps"):
        trained(tmp_path / "resumed", settings=settings)
    monkeypatch.undo()

    resumed = trained(tmp_path / "resumed", density(seed=1), settings=settings, resume=True)
    assert curve(contents(tmp_path / "resumed")) == curve(contents(tmp_path / "straight"))
    assert same(straight.model.state_dict(), resumed.model.state_dict())


def test_own_model_of_other_code_does_not_go_on(tmp_path):
    trained(tmp_path, settings={"steps": 1})
    other = models.Density(
        distributions.Flow(distributions.StandardNormal(DIM), flows.maf(DIM).inv)
    )
    with pytest.raises(ValueError, match="expect the model of their run"):
        trained(tmp_path, other, settings={"steps": 2}, resume=True)


def test_own_data_may_be_split_already(tmp_path):
    record = trained(tmp_path, data=(rows(), rows(8)), settings={"steps": 1}).record
    assert "train=60, valid=8" in record.data


class Counts(models.GenerativeModel):
    """A model that is written from scratch: independent categories, of integers."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(4, 5))

    def generate(self, x=None):
        import pyro

        return pyro.sample(
            "x", pyro.distributions.Categorical(logits=self.logits).to_event(1), obs=x
        )

    def sample(self, n, temperature=None):
        return self.generate()


def test_own_model_of_integers(tmp_path):
    x = torch.randint(2, (40, 4)) * 4
    run = trained(tmp_path, Counts(), x, {"steps": 80, "learning_rate": 0.1})
    assert run.record.levels == 5
    assert run.curve["valid"][-1][2] < 4 * math.log(5) - 1


def test_parts_of_a_batch_accumulate_to_the_batch(tmp_path):
    whole, parts = (
        trained(tmp_path / str(count), settings={"accumulate": count}) for count in (1, 4)
    )
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight, rtol=0, atol=1e-5)
    for split in ("train", "valid"):
        for (step, _, loss), (same_step, _, expected) in zip(
            parts.curve[split], whole.curve[split], strict=True
        ):
            assert (step, loss) == (same_step, pytest.approx(expected, abs=1e-4))


def test_patience_ends_a_run_that_no_longer_improves(tmp_path):
    settings = {"steps": 100, "learning_rate": 0.5, "validate_every": 1, "patience": 3}
    run = trained(tmp_path, settings=settings)
    losses = [loss for *_, loss in run.curve["valid"]]
    assert len(losses) < 100
    assert len(losses) - 1 - losses.index(min(losses)) == 3


def test_checkpoints_are_written_between_validations(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "pyro_exact.train.saving.Checkpoints._save_last",
        lambda self, trainer: saved.append(trainer.global_step),
    )
    trained(tmp_path, settings={"steps": 5, "checkpoint_minutes": 1e-9})
    assert saved == [1, 2, 3, 4, 4, 5, 5, 5]


def test_warm_start_begins_with_the_weights_and_keeps_them(tmp_path):
    first = trained(tmp_path / "first")
    frozen = {"steps": 1, "learning_rate": 1e-30}
    second = trained(tmp_path / "second", density(1), settings=frozen, init_from=first.last)
    assert same(first.model.state_dict(), second.model.state_dict())
    assert second.record.init_from == str(first.last)


def test_logger_writes_the_losses(tmp_path):
    trained(tmp_path, logger="csv")
    lines = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    assert {*lines[0].split(",")} == {"step", "train nats", "valid nats"}
    with pytest.raises(
        ValueError, match="fit expects logger 'tensorboard' or 'csv' or 'none'; got"
    ):
        trained(tmp_path / "other", logger="paper")


def test_run_says_its_size_and_time_first(tmp_path, capsys):
    run = trained(tmp_path, progress=True)
    said = capsys.readouterr().out
    count = sum(weight.numel() for weight in run.model.parameters())
    assert f"Density: {count:,} parameters, which take" in said
    assert re.search(
        r"A step takes \S+ m?s, and \S+ MiB for the layers\. The run takes about", said
    )


def test_run_that_is_announced_ends_as_one_that_is_not(tmp_path):
    """The memory of the first step is measured without a change of the step."""
    runs = [trained(tmp_path / str(shown), progress=shown) for shown in (True, False)]
    assert same(*(run.model.state_dict() for run in runs))


def test_model_without_parameters_is_refused(tmp_path):
    model = density().requires_grad_(False)
    with pytest.raises(ValueError, match="a model with parameters to train; got a Density without"):
        trained(tmp_path, model)
    with pytest.raises(TypeError, match="fit expects training as a Training; got dict"):
        fit(density(), rows(), {"steps": 3}, tmp_path)


def test_samples_are_drawn_while_a_model_of_images_trains(tmp_path):
    settings = recipe(steps=8, validate_every=2, sample_every=2, ema_decay=0.5)
    fit(settings, images(), out=tmp_path, progress=False, device="cpu")
    drawn = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert drawn == ["00000004.png", "00000008.png"]

    with pytest.raises(ValueError, match=r"sample_every expects images with levels; got .*\(3,\)"):
        trained(tmp_path / "rows", settings={"sample_every": 1})


def test_device_of_apple_is_used_if_it_is_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="device is mps, but torch sees no Apple GPU here"):
        trained(tmp_path, device="mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("mps") == "mps"
