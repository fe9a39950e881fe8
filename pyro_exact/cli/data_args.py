"""Arguments used by several commands, as dataclasses; the parser makes flags of the fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "cuda", "mps"]
Logger = Literal["tensorboard", "csv", "none"]
Split = Literal["test", "valid", "train"]


@dataclass(frozen=True)
class CheckpointArgs:
    """A trained model, the images to use it with, and where to compute.

    Args:
        checkpoint: The folder of a run, whose best checkpoint is used; a checkpoint; a file that
            `pyro-exact export` wrote; or the name of a model that comes with the package, for
            example diagonal_bilstm_mnist.
        data: Name of a data set, .npz file or folder of images; the default is the data set that
            was used in training.
        data_root: Folder of the torchvision data sets.
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
        data: Name of a data set, .npz file or folder of images; the default is the data set that
            was used in training.
        data_root: Folder of the torchvision data sets.
        download: If true, download a torchvision data set, or the weights of a model that comes
            with the package, if they are not there.
        seed: Seed of the random choices and of the noise.
        device: Where to run; auto uses cuda if available.
        split: The split of the images.
    """

    split: Split = "test"
