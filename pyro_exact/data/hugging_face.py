"""Read a data set that the package datasets of Hugging Face saved on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_exact.checks import printable
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.image_rows import read_images
from pyro_exact.data.images import Images
from pyro_exact.data.options import Options
from pyro_exact.data.split import ALIASES, Split, assemble, held_out_splits
from pyro_exact.data.views import selected

TEST_FRACTION = 0.1


def hugging_face(path: Path, options: Options) -> Images:
    """Read images that ``dataset.save_to_disk(path)`` wrote.

    A `DatasetDict` needs the splits train and test; when it has train and validation alone, the
    validation split is test. A `Dataset` is divided as a folder of images is. The first column of
    images is used, and the first column of class labels. Images that take more than 1 GB are
    decoded batch by batch.

    Args:
        path: The folder.
        options: The size of the images, and the validation split.

    Raises:
        FileNotFoundError: If there is no such folder.
        ModuleNotFoundError: If the package datasets is missing.
        ValueError: If there is no column of images, or the images are not of one size.
    """
    if find_spec("datasets") is None:
        raise ModuleNotFoundError(
            "hf: expects the package datasets; got none. Run pip install 'pyro_exact[hf]'."
        )
    name, tables = printable(path.resolve().name), _tables(path)
    if "test" not in tables and "valid" in tables:
        tables["test"] = tables.pop("valid")
    if not {"train", "test"} <= {*tables} and {*tables} != {"all"}:
        raise ValueError(
            f"{name} expects splits train and test; got {', '.join(tables)}. Add them, or save a "
            f"data set without splits."
        )

    # All splits are read together, because they share size, levels and channels.
    tables = {split: tables[split] for split in ("all", *SPLITS) if split in tables}
    pixels = read_images(_Contents([*tables.values()]), options, name)
    start, splits = 0, {}
    for split, table in tables.items():
        part = selected(pixels.images, torch.arange(len(pixels.images)), start, len(table))
        splits[split] = Split(part, _labels(table))
        start += len(table)

    if "all" in splits:
        splits = held_out_splits(splits["all"], TEST_FRACTION, options)
    return assemble(
        name,
        splits["train"],
        splits.get("valid"),
        splits["test"],
        pixels.levels,
        options.fraction,
        options.seed,
    )


def _tables(path: Path) -> dict[str, Any]:
    """Return the tables of a saved data set by split, or under the name ``all``."""
    from datasets import load_from_disk

    if not path.is_dir():
        raise FileNotFoundError(
            f"hf: expects a folder that save_to_disk wrote; got {printable(path)}. Correct it."
        )
    loaded = load_from_disk(str(path))
    if not isinstance(loaded, Mapping):
        return {"all": loaded}
    return {ALIASES.get(str(key), str(key)): table for key, table in loaded.items()}


def _column(table: Any, kind: str) -> str | None:
    """Return the first column of a kind of features, or `None`."""
    found = (name for name, feature in table.features.items() if type(feature).__name__ == kind)
    return next(found, None)


def _labels(table: Any) -> Tensor | None:
    column = _column(table, "ClassLabel")
    return None if column is None else torch.tensor(table[column][:])


class _Contents:
    """The image files in the rows of several tables, which are not decoded."""

    def __init__(self, tables: Sequence[Any]) -> None:
        from datasets import Image

        self._columns = [self._image_column(table) for table in tables]
        self._tables = [
            table.cast_column(column, Image(decode=False))
            for table, column in zip(tables, self._columns, strict=True)
        ]

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def __getitem__(self, index: int) -> Path | bytes:
        for table, column in zip(self._tables, self._columns, strict=True):
            if index < len(table):
                image = table[index][column]
                content: bytes | None = image["bytes"]
                return Path(image["path"]) if content is None else content
            index -= len(table)
        raise IndexError(index)

    @staticmethod
    def _image_column(table: Any) -> str:
        column = _column(table, "Image")
        if column is None:
            raise ValueError(
                f"hf: expects a column of images; got columns {', '.join(table.column_names)}. "
                f"Cast one with dataset.cast_column(name, datasets.Image())."
            )
        return column
