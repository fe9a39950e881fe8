"""Which model and which images a command is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Images
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import Run

Device = Literal["auto", "cpu", "cuda"]
Split = Literal["test", "valid", "train"]


def checkpoint_of(given: Path) -> Path:
    """Return the checkpoint that is meant: of the folder of a run its best one, and say which."""
    from pyro_exact.train import BEST, LAST

    if not given.is_dir():
        return given
    best, last = given / BEST, given / LAST
    if best.exists():
        print(f"Taking {best}, the state with the lowest validation loss.")
        return best
    if last.exists():
        print(f"Taking {last}, the last state: there is no {BEST} beside it.")
        return last
    raise ValueError(f"{given} expects a checkpoint, {BEST} or {LAST}; got none. Name the folder of a run, or a file.")


def model_of(checkpoint: Path, device: str) -> tuple[GenerativeModel, Run]:
    """Load the model of a checkpoint, and make sure that its weights are finite."""
    from pyro_exact.train import check_weights, load_model

    model, run = load_model(checkpoint, device)
    check_weights(model, str(checkpoint))
    return model, run


def images_of(run: Run, data: str | None, data_root: Path | None, download: bool) -> Images:
    """Load the images of a run again, or others that its model can score."""
    from pyro_exact.data import load

    given = {"name": data, "root": data_root}
    source = {**(run.source or {}), **{key: value for key, value in given.items() if value is not None}}
    if "name" not in source:
        raise ValueError("The checkpoint does not say where its images are. Say it with --data.")
    try:
        images = load(**source, download=download)
    except (OSError, ValueError) as error:
        if data is not None:
            raise
        raise ValueError(
            f"The images that the checkpoint was trained on are not where they were. {error} "
            f"Say where they are, with --data and --data-root."
        ) from error
    if (images.shape, images.levels) != (run.shape, run.levels):
        raise ValueError(
            f"{images.name}: expected images of shape {run.shape} with {run.levels} levels, as the model was trained "
            f"on; got {images.shape} with {images.levels}. Choose others with --data."
        )
    return images


def some_of(images: Images, split: Split, n: int, seed: int) -> Tensor:
    """Return n images of a split, drawn at random; seed the noise that follows."""
    import torch

    every = images.split(split)
    if not 0 < n <= len(every):
        raise ValueError(f"--split {split} has {len(every)} images; {n} were asked for. Choose another --n.")
    torch.manual_seed(seed)
    return every[torch.randperm(len(every))[:n]]


def source_of(asked: Mapping[str, Any], images: Images) -> dict[str, Any]:
    """Return the arguments of `load` in a form that holds in another working directory too."""
    from pyro_exact.data.load import NAMES

    name = asked["name"]
    is_path = Path(name).suffix == ".npz" or len(Path(name).parts) > 1 or images.name not in NAMES
    root = asked["root"]
    return {
        **asked,
        "name": str(Path(name).resolve()) if is_path else name,
        "root": None if root is None else str(root.resolve()),
    }
