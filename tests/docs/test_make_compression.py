"""The table of compressed sizes is made from its records, and from nothing else."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

spec = importlib.util.spec_from_file_location("make_compression", DOCS / "make_compression.py")

make_compression = importlib.util.module_from_spec(spec)

spec.loader.exec_module(make_compression)


def test_table_is_that_of_the_records():
    make_compression.table(check=True)


def test_table_that_is_out_of_date_is_found(tmp_path, monkeypatch):
    page = tmp_path / "compression.md"
    page.write_text("# Page\n<!-- results -->\nold\n<!-- end of results -->\nend\n")
    monkeypatch.setattr(make_compression, "PAGE", page)
    with pytest.raises(SystemExit):
        make_compression.table(check=True)
    make_compression.table()
    make_compression.table(check=True)
    assert page.read_text().endswith("end\n")
