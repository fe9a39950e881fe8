"""Write a notebook, for Jupyter and Colab, of each text in docs/notebooks/.

    python docs/make_notebooks.py            write docs/notebooks/*.ipynb
    python docs/make_notebooks.py --check    exit with 1 if a notebook on disk is out of date

A Python block of the text becomes a cell of code, and everything between is Markdown. The tests run
the blocks of the text. A notebook has no outputs. This script only uses the standard library.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "notebooks"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INSTALL = "# In Colab, remove the comment sign of the next line, and add the address of the code.\n"
INSTALL += "# %pip install pyro_exact"


def notebook(text: str) -> dict[str, Any]:
    """The notebook of a text, as JSON values."""
    cells = []
    # With a group, a split has the text between matches and the groups in turn.
    for place, part in enumerate(BLOCK.split(text)):
        code, source = place % 2 == 1, part.strip("\n")
        if source:
            cells.append(cell(source, code, len(cells)))
    cells.insert(1, cell(INSTALL, True, len(cells)))

    language = {"name": "python"}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": language}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def cell(source: str, code: bool, place: int) -> dict[str, Any]:
    """A cell of code or Markdown."""
    common = {"id": f"cell-{place}", "metadata": {}, "source": source.splitlines(keepends=True)}
    if code:
        return {"cell_type": "code", "execution_count": None, "outputs": [], **common}
    return {"cell_type": "markdown", **common}


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> None:
    """Write or check the notebooks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit with 1 if one is out of date"
    )
    check_only = parser.parse_args(arguments).check
    for path in sorted(folder.glob("*.md")):
        made = json.dumps(notebook(path.read_text(encoding="utf-8")), indent=1) + "\n"
        target = path.with_suffix(".ipynb")
        if not check_only:
            target.write_text(made, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != made:
            sys.exit(f"{target.name} is not what {path.name} says. Run `make results`, commit it.")


if __name__ == "__main__":
    main()
