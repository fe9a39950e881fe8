"""Arguments used by several commands, as dataclasses; the parser makes flags of the fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pyro_exact.recipes import Recipe

Binarize = Literal["threshold", "sample"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Fit = Literal["crop", "pad", "stretch"]
Logger = Literal["tensorboard", "csv", "none"]
Split = Literal["test", "valid", "train"]


@dataclass(frozen=True)
class DataArgs:
    """The training data, and the options used to read these data.

    Args:
        data: Name of a data set, a table (.csv, .tsv, .parquet or .npy), an .npz or .npy file, a
            folder of images, arrays or tables, or hf:FOLDER for data that the package datasets of
            Hugging Face saved; the default is the data set of the recipe.
        data_root: Folder of the data sets that have a name.
        columns: A YAML file that declares columns of a table, for example `age: integer`; the
            remaining columns are inferred and printed.
        download: If true, download a torchvision data set that is not there.
        binarize: How to make bits of images: threshold compares each pixel with the middle, sample
            draws it with a probability in proportion to the level. By default levels stay.
        levels: Fewer levels of a pixel than the data have: 32 keeps the high 5 of 8 bits.
        size: Side in pixels to which image files are brought; by default files must have the same
            size.
        fit: How an image gets this size: crop scales the shorter side and keeps the middle, pad
            scales the longer side and adds black, stretch scales both sides.
    """

    data: str | None = None
    data_root: Path | None = None
    columns: Path | None = None
    download: bool = False
    binarize: Binarize | None = None
    levels: int | None = None
    size: int | None = None
    fit: Fit = "crop"

    def options(self, recipe: Recipe) -> dict[str, Any]:
        """Return arguments of `pyro_exact.data.load`; the defaults are from the recipe."""
        return {
            "name": self.data or recipe.data,
            "root": self.data_root,
            "columns": self.columns,
            "binarize": self.binarize,
            "levels": self.levels or recipe.levels,
            "size": self.size,
            "fit": self.fit,
        }


@dataclass(frozen=True)
class CheckpointArgs:
    """A trained model, the images to use it with, and where to compute.

    Args:
        checkpoint: The folder of a run, whose best checkpoint is used; a checkpoint; a file that
            `pyro-exact export` wrote; or the name of a model that comes with the package, for
            example diagonal_bilstm_mnist.
        data: Name of a data set, a table, an array file, a folder or hf:FOLDER, as in
            `pyro-exact train`; the default is the data set that was used in training.
        data_root: Folder of the data sets that have a name.
        download: If true, download a torchvision data set, or the weights of a model that comes
            with the package, if they are not there.
        seed: Seed of the random choices and of the noise.
        device: Where to run; auto uses cuda if available.
    """

    checkpoint: Path
    data: str | None = None
    data_root: Path | None = None
    download: bool = False
    seed: int = 0
    device: Device = "auto"


@dataclass(frozen=True)
class SplitArgs(CheckpointArgs):
    """The arguments of `CheckpointArgs`, and a split of the images.

    Args:
        checkpoint: The folder of a run, whose best checkpoint is used; a checkpoint; a file that
            `pyro-exact export` wrote; or the name of a model that comes with the package, for
            example diagonal_bilstm_mnist.
        data: Name of a data set, a table, an array file, a folder or hf:FOLDER, as in
            `pyro-exact train`; the default is the data set that was used in training.
        data_root: Folder of the data sets that have a name.
        download: If true, download a torchvision data set, or the weights of a model that comes
            with the package, if they are not there.
        seed: Seed of the random choices and of the noise.
        device: Where to run; auto uses cuda if available.
        split: The split of the images.
    """

    split: Split = "test"
