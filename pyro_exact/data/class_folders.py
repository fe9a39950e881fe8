"""Classes of images by the subfolders that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.note import listed, note

_OUTSIDE = ""


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
    here = printable(places["train"])
    names = {split: _names(files[split], places[split]) for split in files}

    known = sorted({*names["train"]} - {_OUTSIDE})
    if len(known) < 2:
        return {}

    if any(_OUTSIDE in some for some in names.values()):
        note(
            f"{here}: subfolders are not read as classes, because some images are beside them. "
            f"Move these images into subfolders, if you want classes."
        )
        return {}

    for split, some in names.items():
        unknown = sorted({*some} - {*known})
        if unknown:
            raise ValueError(
                f"{printable(places[split])} expects the classes of train, {listed(known)}; got "
                f"{listed(unknown)} too. Rename these subfolders, or add them to train."
            )

    classes = listed([f"{number} {name}" for number, name in enumerate(known)])
    note(f"{here}: subfolders are read as {len(known)} classes: {classes}.")

    numbers = {name: number for number, name in enumerate(known)}
    labels = {}
    for split, some in names.items():
        labels[split] = torch.tensor([numbers[name] for name in some])
    return labels


def _names(files: Sequence[Path], place: Path) -> list[str]:
    """Return the name of the first subfolder of each file; "" for a file outside of them."""
    names = []
    for file in files:
        first, *below = file.relative_to(place).parts
        names.append(first if below else _OUTSIDE)
    return names
