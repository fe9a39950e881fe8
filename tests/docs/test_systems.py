"""The table of systems: each class, recipe, record, page and figure exists."""

import importlib
import re
from pathlib import Path

import pytest

from pyro_exact.recipes import recipe_names

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "systems.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    table = PAGE.split(heading)[1].split("\n\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", (DOCS / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("row", rows("# Systems"), ids=lambda row: row[0])
def test_systems_of_the_table_exist(row):
    _, name, recipe, record, page = row
    module, attribute = name.rsplit(".", 1)
    assert hasattr(importlib.import_module(f"pyro_exact.{module}"), attribute)
    assert recipe == "-" or recipe in recipe_names()
    assert record == "-" or list((DOCS / "results").glob(f"{record}.json"))
    assert (DOCS / re.search(r"\((\w+\.md)\)", page)[1]).exists()


@pytest.mark.parametrize("row", rows("## Figures"), ids=lambda row: row[0])
def test_figures_of_the_table_exist(row):
    _, where, command = row
    page, _, anchor = re.search(r"\((.*)\)", where)[1].partition("#")
    assert not anchor or anchor in anchors(page)
    assert command in (DOCS / page).read_text() or (DOCS.parent / command).exists()
