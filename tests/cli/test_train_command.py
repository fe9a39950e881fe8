"""The commands that hold a folder while they train: train and demo."""

import json
import signal

import pytest
import torch

from pyro_exact.cli import main
from pyro_exact.models import conv_vae
from pyro_exact.recipes import load_recipe, registry
from pyro_exact.train import LAST, load_model
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import folder_lock

SMALL = {"steps": 1, "width": 4}


@pytest.fixture(autouse=True)
def small_recipe(monkeypatch, tmp_path):
    def small(name):
        return load_recipe(name).changed(SMALL, {"validate_every": 2, "minutes": None})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pyro_exact.cli.demo.load_recipe", small)
    monkeypatch.setattr("pyro_exact.cli.train.load_recipe", small)


def test_train_holds_its_folder_until_its_record_is_written(monkeypatch, tmp_path):
    def save_curve(*arguments, **options):
        with pytest.raises(ValueError, match="in use by another run"), folder_lock(tmp_path / "o"):
            pass
        seen.append(sorted(path.name for path in (tmp_path / "o").glob("*.[jy]*")))

    seen = []
    monkeypatch.setattr("pyro_exact.plots.save_curve", save_curve)
    main(["train", "glow_digits", "--out", "o", "--training.steps", "2"])
    assert seen == [["recipe.yaml", "train.json"]]
    with folder_lock(tmp_path / "o"):
        pass


def test_demo_after_ctrl_c_advises_to_run_it_again(monkeypatch, capsys):
    start = TrainingModule.on_train_batch_start

    def on_train_batch_start(self, batch, batch_idx):
        start(self, batch, batch_idx)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", on_train_batch_start)
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", "o"])
    said = capsys.readouterr().err
    assert stop.value.code == 130
    assert "run it again to start it anew" in said
    assert "--resume" not in said


def test_train_starts_from_the_weights_of_another_run(tmp_path, capsys):
    main(["train", "glow_digits", "--out", "a", "--training.steps", "2"])
    options = ["--training.steps", "1", "--training.learning_rate", "1e-30", "--logger", "csv"]
    main(["train", "glow_digits", "--out", "b", "--init-from", "a", *options])

    (first, _), (second, run) = (load_model(tmp_path / name / LAST) for name in "ab")
    weights = second.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in first.state_dict().items())
    assert run.init_from == "a/best.ckpt"
    assert "valid bits/dim" in next((tmp_path / "b").rglob("metrics.csv")).read_text()
    assert json.loads((tmp_path / "b" / "train.json").read_text())["init_from"] == "a/best.ckpt"
    assert "parameters, which take" in capsys.readouterr().out


def test_train_of_a_registered_model_needs_data(monkeypatch, capsys):
    monkeypatch.setattr("pyro_exact.cli.train.load_recipe", load_recipe)
    monkeypatch.setattr(registry, "_builders", {"mine": conv_vae})
    with pytest.raises(SystemExit):
        main(["train", "mine"])
    assert "train expects --data for the model mine" in capsys.readouterr().err
