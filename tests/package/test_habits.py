"""Files of the repository that nothing else would notice when they go stale."""

import re
import runpy
from pathlib import Path

import yaml

import pyro_exact

ROOT = Path(__file__).parents[2]


def test_slow_list_names_tests_that_exist():
    names = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        names |= set(re.findall(r"^\s*def (test_\w+)", file.read_text(), re.MULTILINE))
    listed = (ROOT / "tests" / "slow.txt").read_text().split()
    assert [name for name in listed if name.partition("[")[0] not in names] == []


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pyro_exact.__version__


def test_pre_commit_runs_the_tools_of_make_test():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    made = (ROOT / "Makefile").read_text()
    for tool in ("ruff check", "ruff format", "mypy", "docs/make_results.py --check"):
        assert any(tool in hook["entry"] for hook in hooks)
        assert tool in made


def test_matrix_reads_the_supported_versions():
    minors, bounds = runpy.run_path(str(ROOT / "tests" / "matrix.py"))["supported"]()
    setup = (ROOT / "setup.cfg").read_text()
    assert f"python_requires = >=3.{minors[0]}\n" in setup
    assert {bound.partition("==")[0] for bound in bounds} >= {"torch", "pyro-ppl", "lightning"}
    assert (
        f"Python 3.{minors[0]} to 3.{minors[-1]}"
        in (ROOT / "docs" / "compatibility.md").read_text()
    )


def test_issue_templates_are_yaml():
    for file in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(file.read_text())
