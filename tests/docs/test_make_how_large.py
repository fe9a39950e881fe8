"""The page on sizes and budgets is that of the records."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
spec = importlib.util.spec_from_file_location("make_how_large", DOCS / "make_how_large.py")
make_how_large = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_how_large)


def test_how_large_is_what_the_records_say():
    make_how_large.main(["--check"])


def test_how_large_is_refused_when_it_is_out_of_date(monkeypatch):
    monkeypatch.setattr(make_how_large, "page", lambda folder: "another page")
    with pytest.raises(SystemExit, match="make results"):
        make_how_large.main(["--check"])


def run(name, seconds, value):
    metric = {"unit": "nats", "value": value, "bound": "exact"}
    return {
        "recipe": name,
        "data": {"name": "toy"},
        "seconds": seconds,
        "metric": metric,
        "parameters": 1000,
        "steps": 10,
    }


def test_how_large_shows_the_best_run_within_each_budget():
    records = [run("fast", 60, 9.0), run("slow", 3600, 8.0), run("bad", 3600, 10.0)]
    rows = make_how_large.images(records).splitlines()[2:]
    assert [row.split(" | ")[1:3] for row in rows] == [["5 min", "`fast`"], ["60 min", "`slow`"]]
