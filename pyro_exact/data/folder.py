"""Read a data set from a folder of image files."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NoReturn

import torch

from pyro_exact.checks import printable
from pyro_exact.data.class_folders import class_labels
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.image_rows import Names, read_images
from pyro_exact.data.images import Images
from pyro_exact.data.note import listed, note
from pyro_exact.data.options import Options
from pyro_exact.data.split import ALIASES, Split, assemble, held_out_splits
from pyro_exact.data.views import selected

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
TEST_FRACTION = 0.1


def folder(path: Path, options: Options) -> Images:
    """Read the images in a folder and in subfolders (png, jpg, jpeg, webp, bmp), sorted by path.

    Subfolders ``train`` and ``test``, and the optional ``valid`` (or ``val``), in upper or lower
    case, are the splits. Without subfolders, a tenth of the images is test, whatever the seed,
    ``fraction`` of the images is valid and the rest is train. When all files are grey, images have
    one channel, otherwise three. They have 256 levels, or 2, 4 or 16 if no file has more than 1, 2
    or 4 bits a pixel. Images that take more than 1 GB are decoded batch by batch.

    If all files of each split are in subfolders, of which train has at least two, the first
    subfolder of a file is its class. Classes are numbered 0, 1, ... by name, and a `DataWarning`
    names them.

    Names that start with a dot are skipped. Files with other suffixes are skipped too, and counted
    in a `DataWarning`. Links to folders are refused, because a link could lead anywhere.

    Args:
        path: The folder.
        options: The size of the images; the seed, and the fraction of the images that becomes valid
            (of the images in ``train``, if there are subfolders without ``valid``).

    Raises:
        ValueError: If there are no or too few images, an image is refused by `read_images`, a
            subfolder is a link, only some of the splits are there, or a class is not in train.
    """
    name = printable(path.resolve().name)
    found = _splits(path)
    if not found:
        return _without_splits(path, name, options)
    if not {"train", "test"} <= set(found):
        raise ValueError(
            f"{printable(path)} expects subfolders train and test (valid is optional), or none of "
            f"them; got {' and '.join(found)}. Add or rename subfolders."
        )

    # All splits are read together, because they share size, levels and channels.
    files = {split: _files(found[split]) for split in found}
    together = Names([file for some in files.values() for file in some])
    pixels = read_images(together, options, printable(path))
    labels = class_labels(files, found)

    start, splits = 0, {}
    for split, some in files.items():
        part = selected(pixels.images, torch.arange(len(pixels.images)), start, len(some))
        splits[split] = Split(part, labels.get(split))
        start += len(some)

    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    beside = sorted(entry.name for entry in visible if entry not in found.values())
    if beside:
        note(
            f"{printable(path)}: not read, because it stands beside train and test: "
            f"{listed(beside)}."
        )
    return assemble(
        name,
        splits["train"],
        splits.get("valid"),
        splits["test"],
        pixels.levels,
        options.fraction,
        options.seed,
    )


def _without_splits(path: Path, name: str, options: Options) -> Images:
    files = _files(path)
    if len(files) < len(SPLITS):
        raise ValueError(
            f"{printable(path)} expects at least 3 images, one for each split; got {len(files)}. "
            f"Add images."
        )

    pixels = read_images(Names(files), options, printable(path))
    labels = class_labels({"train": files}, {"train": path})
    splits = held_out_splits(Split(pixels.images, labels.get("train")), TEST_FRACTION, options)
    return assemble(name, **splits, levels=pixels.levels, fraction=0.0, seed=0)


def _splits(path: Path) -> dict[str, Path]:
    """Return the subfolders that are splits, in the order of `SPLITS`."""
    found: dict[str, Path] = {}
    for entry in sorted(path.iterdir()):
        split = ALIASES.get(entry.name.lower(), entry.name.lower())
        if split not in SPLITS or not entry.is_dir():
            continue
        if split in found:
            raise ValueError(
                f"{printable(path)} expects one subfolder {split}; got {found[split].name} and "
                f"{entry.name}. Rename or remove one of them."
            )
        found[split] = entry
    return {split: found[split] for split in SPLITS if split in found}


def _files(path: Path) -> list[Path]:
    """Return the image files in a folder and below it, sorted by path."""
    files: list[Path] = []
    skipped = Counter[str]()
    for place, folders, names in os.walk(path, onerror=_unreadable):
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            if (here / name).is_symlink():
                raise ValueError(
                    f"{printable(here / name)} expects a folder; got a link to one. Copy the "
                    f"images in its place."
                )

        for file in (here / name for name in names if not name.startswith(".")):
            if file.suffix.lower() in SUFFIXES:
                files.append(file)
            else:
                skipped[file.suffix or "without suffix"] += 1

    if skipped:
        kinds = [f"{count} {printable(suffix)}" for suffix, count in sorted(skipped.items())]
        note(
            f"{printable(path)}: not read, because the suffix is not {', '.join(SUFFIXES)}: "
            f"{', '.join(kinds)}."
        )
    if not files:
        raise ValueError(
            f"{printable(path)} expects images ({', '.join(SUFFIXES)}); got none. Pass a folder "
            f"that holds them."
        )
    return sorted(files, key=lambda file: file.relative_to(path).as_posix())


def _unreadable(error: OSError) -> NoReturn:
    raise ValueError(
        f"{printable(error.filename)} expects a readable folder; got: {error.strerror}. Make it "
        f"readable."
    )
