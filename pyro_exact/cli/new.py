"""The command `pyro-exact new`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml

from pyro_exact.cli.loading import load_data, portable_source
from pyro_exact.cli.output import tell
from pyro_exact.recipes import load_recipe
from pyro_exact.recipes.parsing import check_name


def new(
    name: str,
    like: str = "glow_cifar10_small",
    data: str | None = None,
    data_root: Path | None = None,
    columns: Path | None = None,
    binarize: Literal["threshold", "sample"] | None = None,
    out: Path | None = None,
) -> None:
    """Write a recipe that is fitted to your data, and print each choice with the reason.

    Args:
        name: Name of the new recipe.
        like: Name of a recipe to begin with (see `pyro-exact recipes`), or a YAML file.
        data: Name of a data set, table, .npz file or folder of images; the default is the data set of the
            recipe.
        data_root: Folder of the torchvision data sets.
        columns: A YAML file that declares columns of a table, as in train.
        binarize: As in train.
        out: The YAML file to write; NAME.yaml by default.
    """
    original = load_recipe(like)
    path = out or Path(f"{check_name(name, 'a recipe')}.yaml")
    if path.exists():
        raise ValueError(f"{path} exists. Choose another name, or move it away.")

    from pyro_exact.files import atomic_write
    from pyro_exact.recipes.adapt import adapt

    asked: dict[str, Any] = {"name": data or original.data, "root": data_root, "columns": columns}
    found = load_data(**asked, binarize=binarize)
    adapted = adapt(original, name, found, portable_source(asked)["name"])

    with atomic_write(path) as partial:
        partial.write_text(yaml.safe_dump(adapted.recipe.to_dict(), sort_keys=False))

    tell(f"{path}: like {original.name}, for {found!r}")
    for setting, reason in adapted.choices:
        tell(f"  {setting}: {reason}")
    tell("All other settings are those of the recipe. Change any of them in the file. To train:")
    flags = "" if data_root is None else f" --data-root {data_root}"
    flags += "" if columns is None else f" --columns {columns}"
    flags += "" if binarize is None else f" --binarize {binarize}"
    tell(f"  pyro-exact train {path}{flags}")
