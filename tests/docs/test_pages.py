"""Every Python block of the README and of the documentation runs, page by page, in the order a reader would run it."""

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pyro
import pytest

ROOT = Path(__file__).parents[2]

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *NOTEBOOKS]

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[str]:
    """The Python blocks of a page, each behind as many empty lines as precede it: errors show the page's line."""
    return [
        "\n" * text.count("\n", 0, match.start(1)) + match.group(1)
        for match in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page.read_text())], ids=lambda page: page.stem
)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    module = ModuleType(page.stem)
    monkeypatch.setitem(
        sys.modules, page.stem, module
    )  # where pickle looks for the classes of a page
    for block in blocks(page.read_text()):
        exec(compile(block, str(page), "exec"), vars(module))
    pyro.clear_param_store()


def test_page_blocks_keep_their_lines():
    assert blocks("a\n\n```python\nx = 1\n```\n\n```bash\nls\n```\n```python\nx\n```\n") == [
        "\n\n\nx = 1\n",
        "\n" * 10 + "x\n",
    ]


def test_page_pictures_can_be_made_again():
    made = runpy.run_path(str(ROOT / "docs" / "make_gallery.py"))["NAMES"]
    pictures = {path.stem for path in (ROOT / "docs" / "images").iterdir()}
    shown = set(re.findall(r"images/(\w+)\.png", "".join(page.read_text() for page in PAGES)))
    assert set(made) == pictures == shown
