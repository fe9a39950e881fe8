"""The page of layers is made from their docstrings, and from nothing else."""

import importlib.util
from pathlib import Path

import pytest

from pyro_exact import flows, transforms

DOCS = Path(__file__).parents[2] / "docs"

spec = importlib.util.spec_from_file_location("make_layers", DOCS / "make_layers.py")

make_layers = importlib.util.module_from_spec(spec)

spec.loader.exec_module(make_layers)

DOCSTRING = """Do something.

.. math:: a = 2 x, \\qquad y = a + 1

.. math::
    \\log|\\det \\partial y/\\partial x| = \\log 2, \\qquad
    b = 0

The :math:`b` is not used.

Args:
    x: .. math:: no formula.

Cost:
    - forward: :math:`O(D)`, or
      more.
    - inverse: the ``same``.
"""


def test_layers_page_is_up_to_date():
    make_layers.main(["--check"])


def test_layers_page_lists_every_layer_formula_and_partition():
    page = (DOCS / "layers.md").read_text()
    abstract = {"Bijection", "Conditioned", "Elementwise", "Inverse", "Partition"}
    assert {
        name for name in transforms.__all__ if f"~pyro_exact.transforms.{name}`" not in page
    } == abstract


def test_layers_page_lists_every_builder():
    page = (DOCS / "layers.md").read_text()
    assert all(f"~pyro_exact.flows.{name}`: " in page for name in flows.__all__)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("ActNorm", "`context_dim`"),
        ("SigmoidToCell", "`context_shape`"),
        ("Coupling", "by its parts"),
        ("Compose", "by its parts"),
        ("Permute", ""),
    ],
)
def test_layers_page_says_how_a_layer_becomes_conditional(name, how):
    assert make_layers.conditional(name, make_layers.registry().TRANSFORMS) == how


def test_layers_page_that_is_outdated_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(make_layers, "page", lambda cases: "another page")
    with pytest.raises(SystemExit, match="make results"):
        make_layers.main(["--check"])


def test_layers_page_formula_is_all_up_to_the_log_determinant():
    assert make_layers.formula(DOCSTRING, "Doubling") == (
        r"$\begin{gathered} a = 2 x \\ y = a + 1 \\ "
        r"\log|\det \partial y/\partial x| = \log 2 \\ b = 0 \end{gathered}$"
    )


def test_layers_page_cost_is_that_of_both_directions():
    assert make_layers.cost(DOCSTRING, "Doubling") == ("$O(D)$, or more.", "the `same`.")


@pytest.mark.parametrize(("part", "missing"), [("formula", ".. math"), ("cost", "Cost:")])
def test_layers_page_refuses_a_docstring_without_a_part(part, missing):
    with pytest.raises(ValueError, match="Doubling: expected a"):
        getattr(make_layers, part)(DOCSTRING.replace(missing, ""), "Doubling")
