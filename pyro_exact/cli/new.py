"""The command `pyro-exact new`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import yaml

from pyro_exact.cli.data_args import DataArgs
from pyro_exact.cli.loading import load_data, portable_source
from pyro_exact.cli.output import tell
from pyro_exact.recipes import load_recipe
from pyro_exact.recipes.parsing import check_name


def new(
    name: str,
    source: DataArgs,
    like: str = "glow_cifar10_small",
    out: Path | None = None,
) -> None:
    """Write a recipe that is fitted to your data, and print each choice with the reason.

    Args:
        name: Name of the new recipe.
        source: The data.
        like: Name of a recipe to begin with (see `pyro-exact recipes`), or a YAML file.
        out: The YAML file to write; NAME.yaml by default.
    """
    original = load_recipe(like)
    path = out or Path(f"{check_name(name, 'a recipe')}.yaml")
    if path.exists():
        raise ValueError(f"{path} exists. Choose another name, or move it away.")

    from pyro_exact.files import atomic_write
    from pyro_exact.recipes.adapt import adapt

    asked = source.options(original)
    found = load_data(download=source.download, **asked)
    adapted = adapt(original, name, found, portable_source(asked)["name"])

    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump(adapted.recipe.to_dict(), sort_keys=False))

    tell(f"{path}: like {original.name}, for {found!r}")
    for setting, reason in adapted.choices:
        tell(f"  {setting}: {reason}")
    tell("All other settings are those of the recipe. Change any of them in the file. To train:")
    tell(f"  pyro-exact train {path}{_flags(source)}")


def _flags(source: DataArgs) -> str:
    """Return the flags of the data that a recipe does not hold, as they were given."""
    flags = ""
    for field in fields(source):
        value = getattr(source, field.name)
        if field.name != "data" and value != field.default:
            name = field.name.replace("_", "-")
            flags += f" --{name}" if value is True else f" --{name} {value}"
    return flags
