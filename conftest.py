"""Fixtures and markers of the tests, and of the doctests in the package."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from pyro_exact import transforms

TESTS = Path(__file__).parent / "tests"
SLOW = set((TESTS / "slow.txt").read_text().split())
LAWS = TESTS / "laws"


def group(name: str) -> str:
    """Return the name of a test without its cases."""
    return name.partition("[")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Use a single thread: the tensors are tiny, and several test runs may share a machine."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests, and skip tests that need a GPU where there is none.

    Coverage is not measured in slow tests, nor in the laws, which run code again that the tests of
    each room run: so it costs little time.
    """
    for item in items:
        if group(item.name) in SLOW:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.no_cover)
        if LAWS in item.path.parents:
            item.add_marker(pytest.mark.no_cover)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none here"))


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Start every test with the same random numbers, in float32 and without Pyro parameters."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)

    # The first torch.compile of a process turns the checks of distributions off.
    pyro.enable_validation(True)

    # A fixture of the whole module may have set another dtype.
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def double() -> None:
    """Compute in float64."""
    torch.set_default_dtype(torch.float64)


@pytest.fixture(autouse=True)
def names_in_doctests(doctest_namespace: dict[str, Any]) -> None:
    """Give the examples in docstrings torch and every layer."""
    doctest_namespace["torch"] = torch
    doctest_namespace.update({name: getattr(transforms, name) for name in transforms.__all__})
