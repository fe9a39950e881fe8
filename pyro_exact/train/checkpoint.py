"""Checkpoints: written atomically, loaded without running code, and enough to rebuild the model."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pyro_exact.files import in_one_piece
from pyro_exact.models import GenerativeModel
from pyro_exact.train.device import pick_device
from pyro_exact.train.run import Run

LAST, BEST = "checkpoint.ckpt", "best.ckpt"
KEY = "pyro_exact"  # of our part in the checkpoint, which otherwise is Lightning's


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint in one piece: whatever happens, the previous one survives."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with in_one_piece(Path(path)) as partial:
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:  # torch's zip writer hides what the file said, that the disk is full
                raise error.__context__ if isinstance(error.__context__, OSError) else OSError(str(error)) from error

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, on the CPU; only tensors and plain values are ever loaded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, holds code, or was not written by this library.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}. `pyro-exact train` writes one into its output folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it holds something else than tensors and plain values, or is damaged; loading a "
            f"checkpoint never runs code. Use one that `pyro-exact train` wrote."
        ) from error  # whose text advises to load it without that protection
    except Exception as error:  # a damaged file fails anywhere between its zip archive and its tensors
        raise ValueError(f"{path} is damaged; it may be truncated. Use another one. ({error})") from error
    if not isinstance(checkpoint, dict) or not {KEY, "state_dict", "global_step"} <= checkpoint.keys():
        raise ValueError(f"{path} is no checkpoint of pyro_exact: it carries no recipe. Train with `pyro-exact train`.")
    return checkpoint


def load_model(path: str | Path, device: str = "cpu") -> tuple[GenerativeModel, Run]:
    """Rebuild a model from its checkpoint alone, with the weights that are evaluated (the average, where there is one).

    Args:
        path: A checkpoint that `fit` wrote.
        device: ``"cuda"``, ``"cpu"``, or ``"auto"`` for the first of them that there is.

    Returns:
        The model in evaluation mode, and what the run said of itself.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_checkpoint`, or if the weights do not fit the recipe.
    """
    checkpoint = read_checkpoint(path)
    run = Run.from_dict(checkpoint[KEY], str(path))
    model = run.recipe.build(run.shape, run.levels)
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {path} do not fit its recipe {run.recipe.name!r}: {error}. "
            f"It was written by another version, or edited; train again."
        ) from error
    return model.eval().to(pick_device(device)), run
