"""Checkpoints: written atomically, loaded without running code, and enough to rebuild the model."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import Recipe

KEY = "pyro_exact"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a file beside the checkpoint and rename it: whatever happens, the previous checkpoint survives."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: D102
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"The checkpoint {path} could not be written: {error}. The previous one, if any, is kept. "
                f"Free some space, or choose another folder."
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: Any = None) -> dict[str, Any]:  # noqa: D102
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
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} is refused: it holds something other than tensors and plain values, or is damaged. "
            f"Loading a checkpoint never runs code. ({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole checkpoint; it may be truncated. Use another one. ({str(error).splitlines()[0]})"
        ) from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint or "state_dict" not in checkpoint:
        raise ValueError(f"{path} is no checkpoint of pyro_exact: it carries no recipe. Train with `pyro-exact train`.")
    return checkpoint


def load_model(path: str | Path) -> tuple[GenerativeModel, dict[str, Any]]:
    """Rebuild a model from its checkpoint alone, with the weights that are evaluated (the average, where there is one).

    Returns:
        The model in evaluation mode, and what the run said of itself: ``recipe`` (plain values), ``shape``, ``levels``,
        ``data``, ``seed``, ``step``, ``seconds``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_checkpoint`, or if the weights do not fit the recipe.
    """
    checkpoint = read_checkpoint(path)
    about: dict[str, Any] = checkpoint[KEY]
    recipe = Recipe.from_dict(about["recipe"], f"the recipe in {path}")
    model = recipe.build(tuple(about["shape"]), about["levels"])
    weights = {name.removeprefix("model."): value for name, value in checkpoint["state_dict"].items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"The weights in {path} do not fit its recipe {recipe.name!r}: {error}. "
            f"It was written by another version, or edited; train again."
        ) from error
    return model.eval(), {**about, "step": checkpoint["global_step"]}
