"""Notebooks are those of their texts."""

import importlib.util
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
spec = importlib.util.spec_from_file_location("make_notebooks", DOCS / "make_notebooks.py")
make_notebooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_notebooks)


def test_notebooks_are_up_to_date():
    make_notebooks.main(["--check"])


def test_notebook_has_the_cells_of_the_text(tmp_path):
    (tmp_path / "a.md").write_text("# Title\n\n```python\nx = 1\n\ny = x\n```\n\nEnd.\n")
    with pytest.raises(SystemExit, match=r"a\.ipynb is not what a\.md says"):
        make_notebooks.main(["--check"], tmp_path)
    make_notebooks.main([], tmp_path)
    made = json.loads((tmp_path / "a.ipynb").read_text())
    kinds = [cell["cell_type"] for cell in made["cells"]]
    assert kinds == ["markdown", "code", "code", "markdown"]
    assert "".join(made["cells"][2]["source"]) == "x = 1\n\ny = x"
    assert len({cell["id"] for cell in made["cells"]}) == 4
