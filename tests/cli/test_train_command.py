"""The commands that hold a folder while they train: train and demo."""

import signal

import pytest

from pyro_exact.cli import main
from pyro_exact.recipes import load_recipe
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
    def save_curve(*arguments):
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
