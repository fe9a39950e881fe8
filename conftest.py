"""Fixtures of the tests and of the doctests in the package."""

from collections.abc import Iterator
from typing import Any

import pyro
import pytest
import torch

from pyro_exact import transforms


def pytest_configure(config: pytest.Config) -> None:
    """One thread: the tensors are tiny, and several test runs may share a machine."""
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device; torch sees none here"))


@pytest.fixture(autouse=True)
def fresh_state() -> Iterator[None]:
    """Start every test with the same random numbers, in float32 and without Pyro parameters, and end it in float32."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(
        True
    )  # the first torch.compile of a process turns the checks of distributions off
    torch.set_default_dtype(torch.float32)  # whatever a fixture of the whole module has set
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
