"""Exported files: the model comes back, nothing of the machine is inside, damage is named."""

import pytest
import torch
from helpers import runs

from pyro_exact import pretrained, train


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A trained model, the record of the run, and the file that both were exported to."""
    folder = tmp_path_factory.mktemp("run")
    runs.fit(runs.recipe(steps=2, validate_every=2), folder)
    model, run = train.load_model(folder / train.LAST)
    run.source = {"name": "toy", "root": "/home/someone/data", "seed": 0}
    path = folder / "model.safetensors"
    pretrained.export(model, run, {"metric": {"value": 1.0}}, path)
    return model, run, path


def test_export_keeps_weights_recipe_and_record(exported):
    model, run, path = exported
    loaded, loaded_run, result = pretrained.load_file(path)
    assert runs.same(loaded.state_dict(), model.state_dict())
    assert (loaded_run.recipe, loaded_run.step) == (run.recipe, run.step)
    assert loaded_run.curve["valid"] == [list(point) for point in run.curve["valid"]]
    assert result == {"metric": {"value": 1.0}}


def test_export_leaves_out_the_paths_of_the_machine(exported):
    assert b"/home/someone" not in exported[2].read_bytes()


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_file_is_refused(exported, tmp_path, keep):
    path = tmp_path / "short.safetensors"
    path.write_bytes(exported[2].read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"whole \.safetensors file"):
        pretrained.load_file(path)


def test_file_of_another_program_is_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="pyro-exact export"):
        pretrained.load_file(path)


def test_weights_of_another_model_are_refused(exported, tmp_path):
    _, run, _ = exported
    path = tmp_path / "other.safetensors"
    pretrained.export(torch.nn.Linear(2, 2), run, {}, path)
    with pytest.raises(ValueError, match="do not fit"):
        pretrained.load_file(path)


def test_missing_file_says_how_one_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="pyro-exact export"):
        pretrained.load_file(tmp_path / "none.safetensors")
