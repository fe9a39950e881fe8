"""Checkpoints: written atomically, loaded without running code, enough to rebuild a model."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from pyro_exact.checks import check_path, printable
from pyro_exact.files import atomic_write
from pyro_exact.models import GenerativeModel
from pyro_exact.recipes.limits import TooLargeError, is_out_of_memory
from pyro_exact.train.checkpoint_checks import check_members, check_values
from pyro_exact.train.checkpoint_fields import check_fields
from pyro_exact.train.checksum import DamagedError, verify_checksum, write_checksum
from pyro_exact.train.device import pick_device
from pyro_exact.train.run_record import RunRecord

LAST, BEST = "checkpoint.ckpt", "best.ckpt"
KEY = "pyro_exact"  # of our part in a checkpoint; the rest belongs to Lightning

_PREFIX = "model."  # of the names of weights, because the model is a part of `TrainingModule`


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint atomically, with a checksum; the previous checkpoint always survives."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with atomic_write(Path(path)) as partial:
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:
                # torch's zip writer hides the error of the file, for example a full disk.
                cause = error.__context__
                raise (cause if isinstance(cause, OSError) else OSError(str(error))) from error
            write_checksum(partial)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        return read_checkpoint(path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the contents of a checkpoint on the CPU; only tensors and plain values are loaded.

    The checksum of the file must be correct, then the declared sizes, then the contents. So a
    flipped bit is always found, and a file takes no more memory than the size of the file.

    Args:
        path: A checkpoint.

    Raises:
        TypeError: If ``path`` is not a path.
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, changed, holds code or more than was written, or was
            not written by this version of the library; the field is named.
    """
    path = check_path("A checkpoint", "its path", path)
    if not os.path.isfile(path):  # False for a name that is too long, where Path.is_file raises
        raise FileNotFoundError(
            f"There is no checkpoint {printable(path)}. `pyro-exact train` writes one into its "
            f"output folder."
        )
    try:
        return _contents(path)
    except DamagedError as error:
        raise ValueError(
            f"{printable(path)} is refused: {error}. Use a checkpoint that `pyro-exact train` "
            f"wrote."
        ) from error


def load_model(path: str | Path, device: str = "cpu") -> tuple[GenerativeModel, RunRecord]:
    """Rebuild a model of a recipe using a checkpoint alone.

    Use this function to load a trained model. When the run averaged the weights, the model has the
    average. For a model of one's own, use `load_weights`.

    Args:
        path: A checkpoint that `fit` wrote.
        device: ``"cuda"``, ``"cpu"``, ``"mps"``, or ``"auto"``, which uses CUDA if available.

    Returns:
        The model in evaluation mode, and the record of the run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_checkpoint`, if the weights do not fit the recipe, or if the model is
            not of a recipe.
    """
    run, weights = read_weights(path)
    return rebuild(run, weights, path, device), run


def rebuild(
    run: RunRecord, weights: Mapping[str, Tensor], path: str | Path, device: str = "cpu"
) -> GenerativeModel:
    """Build the model of a run, and give it trained weights.

    Args:
        run: The record of the run.
        weights: The weights by name, as in the state dict of the model.
        path: The file that the weights come from; this name is used in errors.
        device: ``"cuda"``, ``"cpu"``, ``"mps"``, or ``"auto"``, which uses CUDA if available.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: If the weights do not fit the recipe, or the model is not of a recipe.
    """
    device = pick_device(device)
    recipe = run.recipe
    try:
        model = recipe.build(run.shape, run.levels, check=lambda model: _check_fit(model, weights))
        _check_fit(model, weights)
    except (TooLargeError, DamagedError) as error:
        raise ValueError(
            f"The weights in {printable(path)} do not fit its recipe {recipe.name!r}: "
            f"{str(error).rstrip('.')}. It was written by another version, or edited; train again."
        ) from error

    model.load_state_dict(weights)
    return model.eval().to(device)


def load_weights(model: GenerativeModel, path: str | Path) -> RunRecord:
    """Load the weights of a checkpoint into a model that was built by the same code.

    Use this function for a model of one's own: a checkpoint holds weights and no code. When the run
    averaged the weights, the model gets the average. If the weights do not fit, the model stays as
    it is. A `Pair` has parameters after ``pair.prepare(batch)``.

    Args:
        model: The model, on any device.
        path: A checkpoint that `fit` wrote.

    Returns:
        The record of the run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_checkpoint`, or if the weights do not fit the model.
    """
    run, weights = read_weights(path)
    check_fit(model, weights, f"The weights in {printable(path)}")
    model.load_state_dict(weights)
    return run


def read_weights(path: str | Path) -> tuple[RunRecord, dict[str, Tensor]]:
    """Return the record of a checkpoint, and the weights with the names that a model uses."""
    checkpoint = read_checkpoint(path)
    run = RunRecord.from_dict(checkpoint[KEY], printable(path))
    weights = checkpoint["state_dict"]
    return run, {name.removeprefix(_PREFIX): weight for name, weight in weights.items()}


def check_fit(model: GenerativeModel, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError at the first weight that a model lacks, or has in another form.

    Args:
        model: The model.
        weights: Names and tensors.
        source: Description of the weights, used in the error.
    """
    try:
        _check_fit(model, weights)
    except DamagedError as error:
        raise ValueError(
            f"{source} expect the model of their run; got another {type(model).__name__}: {error}. "
            f"Build the model with the code and the settings of the run."
        ) from error


def _contents(path: Path) -> dict[str, Any]:
    """Read a checkpoint; raise DamagedError if anything differs from the file that was written."""
    size = path.stat().st_size
    with path.open("rb") as file:
        verify_checksum(file)
        pickle_size = check_members(file, size)
        file.seek(0)
        checkpoint = _unpickled(file)
    check_values(checkpoint, size, pickle_size)
    return check_fields(checkpoint, KEY)


def _unpickled(file: BinaryIO) -> object:
    """Return the values in a file, without running code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it then refuses
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The text of this error advises to load the file without protection, so it is replaced.
        raise DamagedError(
            "it holds something else than tensors and plain values; loading a checkpoint never "
            "runs code"
        ) from error
    except Exception as error:
        # A damaged file may fail at any place between the zip archive and the tensors.
        if is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedError(f"it cannot be read ({reason})") from error


def _check_fit(model: GenerativeModel, weights: Mapping[str, Tensor]) -> None:
    """Raise DamagedError at the first weight that a model lacks, or has in another form."""
    expected = model.state_dict()
    for name in [*expected, *weights]:
        field = printable(name)
        if name not in weights:
            raise DamagedError(f"state_dict lacks {field}")
        if name not in expected:
            raise DamagedError(f"state_dict has {field}, which the model has not")

        wanted, found = expected[name], weights[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise DamagedError(
                f"state_dict expects {field} of shape {tuple(wanted.shape)} and {wanted.dtype}; "
                f"got {tuple(found.shape)} and {found.dtype}"
            )
