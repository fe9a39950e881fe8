"""Builders of other packages, which recipes, checkpoints and commands can name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from pyro_exact.checks import printable
from pyro_exact.recipes.parsing import check_name

if TYPE_CHECKING:
    from pyro_exact.models import GenerativeModel

GROUP = "pyro_exact.models"  # of entry points

Build = Callable[..., "GenerativeModel"]

_builders: dict[str, Build] = {}


def register(name: str, builder: Build) -> None:
    """Give a builder a name, which recipes, checkpoints and commands can then use.

    Use this function in a script. An installed package should declare the builder as an entry point
    of the group ``pyro_exact.models`` instead, which is loaded when the name is used:

    .. code-block:: toml

        [project.entry-points."pyro_exact.models"]
        my_flow = "my_package.flows:my_flow"

    A recipe or a checkpoint can only name builders that are registered, so it cannot run other
    code.

    Args:
        name: The name, for example ``"my_flow"``.
        builder: Returns a `GenerativeModel`. The function takes the shape of a row of the data, the
            levels (`None` for real elements), and the settings of a recipe, which need annotations.

    Raises:
        TypeError: If the builder cannot be called.
        ValueError: If the name belongs to a model of the library.

    Example:
        >>> from pyro_exact import distributions, flows, models
        >>> def my_flow(shape: tuple[int, ...], levels: None, layers: int = 3) -> models.Density:
        ...     base = distributions.StandardNormal(shape[0])
        ...     flow = distributions.Flow(base, flows.maf(shape[0], layers=layers).inv)
        ...     return models.Density(flow)
        >>> register("my_flow", my_flow)
    """
    from pyro_exact.recipes.models import MODELS

    check_name(name, "register")
    if name in MODELS:
        raise ValueError(
            f"register expects a name that the library does not use; got {name!r}. Choose another."
        )
    if not callable(builder):
        raise TypeError(
            f"register expects a builder that can be called; got {type(builder).__name__}. Pass a "
            f"function."
        )
    _builders[name] = builder


def registered_names() -> list[str]:
    """Return the names of registered builders. This does not import the builders."""
    return sorted({*_builders, *_installed()})


def find_builder(name: str) -> Build | None:
    """Return a registered builder, or `None`. A builder of an installed package is imported.

    Raises:
        ValueError: If the package cannot be imported.
    """
    if name in _builders:
        return _builders[name]

    entry = _installed().get(name)
    if entry is None:
        return None
    try:
        builder: Build = entry.load()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"The model {printable(name)} expects the installed package that registers it as "
            f"{printable(entry.value)}; got an error: {error}. Install the package again."
        ) from error
    return builder


@cache
def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
