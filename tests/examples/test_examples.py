"""Every script in examples/ runs within seconds, and writes a picture and finite numbers."""

import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def run(script, folder, *arguments):
    """Run a script in a process of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def numbers(value):
    """All numbers in what a JSON file holds."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_leaves_pictures_and_finite_numbers(script, tmp_path):
    run(script, tmp_path, "--smoke", "--out", "pictures")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]  # and nothing anywhere else

    pictures = list((tmp_path / "pictures").glob("*.png"))
    assert pictures
    for path in pictures:
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) >= 200
        assert image[..., :3].std() > 0.01  # not blank

    for path in (tmp_path / "pictures").glob("*.json"):
        found = list(numbers(json.loads(path.read_text())))
        assert found
        assert all(math.isfinite(number) for number in found)


@pytest.mark.parametrize("net", ["made", "deep_nade", "conv_nade"])
def test_example_of_each_net(net, tmp_path):
    (script,) = (script for script in SCRIPTS if script.stem == "nade")
    assert "nats per image" in run(script, tmp_path, "--net", net, "--smoke", "--out", ".")
    assert [path.name for path in tmp_path.iterdir()] == [f"{net}.png"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_example_help_names_the_options(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(script), run_name="__main__")
    assert not stop.value.code
    text = capsys.readouterr().out
    assert "--smoke" in text
    assert "--out" in text
