"""Builders of other packages: registered in a script, or installed with an entry point."""

import re
import subprocess
import sys

import pytest
import torch

from pyro_exact import distributions, flows, models, recipes, train
from pyro_exact.cli import main
from pyro_exact.recipes import registry

CODE = """
from pyro_exact import distributions, flows, models

def tiny(shape: tuple[int, ...], levels: int | None, layers: int = 1) -> models.Density:
    flow = flows.maf(shape, layers=layers, hidden_dims=[4])
    return models.Density(distributions.Flow(distributions.StandardNormal(shape[0]), flow.inv))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that declares two models, one of which is broken."""
    (tmp_path / "tiny_package.py").write_text(CODE)
    about = tmp_path / "tiny_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[pyro_exact.models]\ntiny = tiny_package:tiny\nbroken = tiny_package:missing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._installed.cache_clear()
    yield tmp_path
    registry._installed.cache_clear()
    sys.modules.pop("tiny_package", None)


def test_registry_finds_the_models_of_an_installed_package(installed, tmp_path):
    assert {"tiny", "broken"} <= {*recipes.registered_names()}
    assert "tiny_package" not in sys.modules, "a list of names must not import the package"

    recipe = recipes.load_recipe("tiny").changed({"layers": 2}, {"steps": 2, "batch_size": 4})
    run = train.fit(recipe, torch.randn(20, 3), out=tmp_path / "run", progress=False, device="cpu")
    again, record = train.load_model(run.last)
    assert record.model == {"name": "tiny", "layers": 2}
    x = torch.randn(5, 3)
    assert torch.equal(again.log_weight(x), run.model.log_weight(x))


def test_registry_is_listed_without_torch(installed):
    code = (
        "import sys; from pyro_exact.recipes import list_recipes; "
        "print([e.name for e in list_recipes()]); assert 'torch' not in sys.modules"
    )
    path = {"PYTHONPATH": f"{installed}:{':'.join(sys.path)}"}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True)
    assert "'tiny'" in done.stdout, done.stderr


def test_registry_is_shown_by_the_command(installed, capsys):
    main(["recipes"])
    main(["recipes", "tiny"])
    said = capsys.readouterr().out
    assert re.search(r"Other models\n  broken +broken\n  tiny +tiny\n", said)
    assert "pyro-exact train tiny --data FILE" in said


def test_registry_says_that_a_package_is_broken(installed):
    with pytest.raises(ValueError, match=r"broken expects the installed package .*missing"):
        recipes.load_recipe("broken")


def test_registry_is_needed_to_name_code(installed):
    with pytest.raises(ValueError, match=r"name expects one of .*tiny.*; got 'tiny_package:tiny'"):
        recipes.Recipe("x", {"name": "tiny_package:tiny"}, "data")


def built(shape: tuple[int, ...], levels: int | None, layers: int = 1) -> models.Density:
    flow = flows.maf(shape, layers=layers, hidden_dims=[4])
    return models.Density(distributions.Flow(distributions.StandardNormal(shape[0]), flow.inv))


def test_registry_takes_builders_of_a_script(monkeypatch):
    monkeypatch.setattr(registry, "_builders", {})
    recipes.register("of_a_script", built)
    model = recipes.load_recipe("of_a_script").build((3,), None)
    assert model.event_shape == (3,)

    with pytest.raises(ValueError, match="a name that the library does not use; got 'glow'"):
        recipes.register("glow", built)
    with pytest.raises(TypeError, match="a builder that can be called; got str"):
        recipes.register("of_a_script", "built")
    with pytest.raises(ValueError, match=r"unknown key 'layer'\. Did you mean 'layers'"):
        recipes.Recipe("x", {"name": "of_a_script", "layer": 2}, "data")
