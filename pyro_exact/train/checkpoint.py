"""Checkpoints: written atomically, loaded without running code, and enough to rebuild the model."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from pyro_exact.checks import check_path, printable
from pyro_exact.files import atomic_write
from pyro_exact.models import GenerativeModel
from pyro_exact.recipes.limits import TooLargeError, is_out_of_memory
from pyro_exact.train.checkpoint_checks import check_fields, check_members, check_values
from pyro_exact.train.checksum import DamagedError, verify_checksum, write_checksum
from pyro_exact.train.device import pick_device
from pyro_exact.train.run_record import RunRecord

LAST, BEST = "checkpoint.ckpt", "best.ckpt"
KEY = "pyro_exact"  # of our part in the checkpoint, which otherwise is Lightning's

_PREFIX = "model."  # of the names of weights, where the model is in the task that trains it


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint in one piece, with its checksum: whatever happens, the previous one survives."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_write(Path(path)) as partial:
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
            except (
                RuntimeError
            ) as error:  # torch's zip writer hides what the file said, that the disk is full
                raise (
                    error.__context__
                    if isinstance(error.__context__, OSError)
                    else OSError(str(error))
                ) from error
            write_checksum(partial)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint, on the CPU; only tensors and plain values are ever loaded.

    The checksum of the file comes first, then the sizes that it declares, then what it holds: so a
    flipped bit is found wherever it is, and a file takes no more memory than its own size.

    Raises:
        TypeError: If it is no path.
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, changed, holds code or more than was written, or was not
            written by this version of the library; the field is named.
    """
    path = check_path("A checkpoint", "its path", path)
    if not os.path.isfile(path):  # False for a name that is too long, where Path.is_file raises
        raise FileNotFoundError(
            f"There is no checkpoint {printable(path)}. `pyro-exact train` writes one into its output folder."
        )
    try:
        return _contents(path)
    except DamagedError as error:
        raise ValueError(
            f"{printable(path)} is refused: {error}. Use a checkpoint that `pyro-exact train` wrote."
        ) from error


def load_model(path: str | Path, device: str = "cpu") -> tuple[GenerativeModel, RunRecord]:
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
    device = pick_device(device)
    checkpoint = read_checkpoint(path)
    run = RunRecord.from_dict(checkpoint[KEY], printable(path))
    weights: Mapping[str, Tensor] = checkpoint["state_dict"]

    def check(model: GenerativeModel) -> None:
        _check_fit({_PREFIX + name: weight for name, weight in model.state_dict().items()}, weights)

    try:
        model = run.recipe.build(run.shape, run.levels, check=check)
        check(model)
    except (TooLargeError, DamagedError) as error:
        raise ValueError(
            f"The weights in {printable(path)} do not fit its recipe {run.recipe.name!r}: {str(error).rstrip('.')}. "
            f"It was written by another version, or edited; train again."
        ) from error
    model.load_state_dict({name.removeprefix(_PREFIX): weight for name, weight in weights.items()})
    return model.eval().to(device), run


def _contents(path: Path) -> dict[str, Any]:
    """Read a checkpoint; raise DamagedError at whatever is not as it was written."""
    size = path.stat().st_size
    with path.open("rb") as file:
        verify_checksum(file)
        pickle_size = check_members(file, size)
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
                checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except (
            pickle.UnpicklingError
        ) as error:  # whose text advises to load it without that protection
            raise DamagedError(
                "it holds something else than tensors and plain values; loading a checkpoint never runs code"
            ) from error
        except (
            Exception
        ) as error:  # a damaged file fails anywhere between its zip archive and its tensors
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DamagedError(f"it cannot be read ({reason})") from error
    check_values(checkpoint, size, pickle_size)
    return check_fields(checkpoint, KEY)


def _check_fit(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise DamagedError at the first weight that a model lacks, or has in another shape or dtype."""
    for name in [*expected, *weights]:
        if name not in weights:
            raise DamagedError(f"state_dict lacks {printable(name)}")
        if name not in expected:
            raise DamagedError(f"state_dict has {printable(name)}, which the model has not")
        wanted, found = expected[name], weights[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise DamagedError(
                f"state_dict expects {name} of shape {tuple(wanted.shape)} and {wanted.dtype}; got "
                f"{tuple(found.shape)} and {found.dtype}"
            )
