"""Classes of images by the subfolders that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.note import listed, note


def class_labels(
    files: Mapping[str, Sequence[Path]], places: Mapping[str, Path]
) -> dict[str, Tensor]:
    """Return the classes of the files of each split; without classes, an empty dictionary.

    The first subfolder below the folder of a split is the class. There are classes if no file is
    outside of subfolders, and train has at least two subfolders.

    Args:
        files: The files of each split, among them ``"train"``.
        places: The folder of each split.

    Raises:
        ValueError: If another split has a class that train does not have.
    """
    names = {split: _names(files[split], places[split]) for split in files}
    known = sorted({name for name in names["train"] if name is not None})
    if len(known) < 2:
        return {}

    here = printable(places["train"])
    if any(name is None for some in names.values() for name in some):
        note(
            f"{here}: subfolders are not read as classes, because some images are beside them. "
            f"Move these images into subfolders, if you want classes."
        )
        return {}

    for split, some in names.items():
        if unknown := sorted({*map(str, some)} - {*known}):
            raise ValueError(
                f"{printable(places[split])} expects the classes of train, {listed(known)}; got "
                f"{listed(unknown)} too. Rename these subfolders, or add them to train."
            )

    numbers = {name: number for number, name in enumerate(known)}
    classes = listed([f"{number} {name}" for name, number in numbers.items()])
    note(f"{here}: subfolders are read as {len(known)} classes: {classes}.")
    return {
        split: torch.tensor([numbers[str(name)] for name in some]) for split, some in names.items()
    }


def _names(files: Sequence[Path], place: Path) -> list[str | None]:
    """Return the name of the first subfolder of each file; `None` for a file outside of them."""
    parts = [file.relative_to(place).parts for file in files]
    return [inside[0] if len(inside) > 1 else None for inside in parts]
