"""Files of trained models to share: the weights in safetensors, and all that describes them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyro_exact.checks import check_path, printable
from pyro_exact.files import atomic_write
from pyro_exact.models import GenerativeModel
from pyro_exact.train import RunRecord
from pyro_exact.train.checkpoint import rebuild

# The fields of the metadata of a file. Metadata of safetensors are strings, so these are JSON.
_RUN, _RESULT = "pyro_exact.run", "pyro_exact.result"


def export(
    model: GenerativeModel, run: RunRecord, result: Mapping[str, Any], path: str | Path
) -> None:
    """Write a trained model to a file that can be shared.

    Such a file is as safe as an image: it holds tensors and text, and loading it never runs code.
    Every command takes it in place of a checkpoint. It has neither the state of the optimiser nor
    the paths of the data, so a run cannot be resumed from it.

    Args:
        model: The trained model.
        run: The record of the run, as returned by `pyro_exact.train.load_model`.
        result: The record of an evaluation, as written by ``pyro-exact evaluate``.
        path: The file to write; the suffix should be ``.safetensors``.

    Raises:
        OSError: If the file cannot be written.
    """
    path = check_path("export", "path", path)
    source = None if run.source is None else {**run.source, "root": None}
    curve = {"train": [], "valid": run.curve["valid"]}
    described = dataclasses.replace(run, source=source, curve=curve, recent=[])
    metadata = {_RUN: json.dumps(described.to_dict()), _RESULT: json.dumps(dict(result))}

    weights = {name: weight.contiguous() for name, weight in model.state_dict().items()}
    with atomic_write(path) as partial:
        save_file(weights, partial, metadata)


def load_file(
    path: str | Path, device: str = "cpu"
) -> tuple[GenerativeModel, RunRecord, dict[str, Any]]:
    """Load a file that `export` wrote.

    Args:
        path: The file.
        device: ``"cuda"``, ``"cpu"``, or ``"auto"``, which uses CUDA if available.

    Returns:
        The model in evaluation mode, the record of the run, and the record of the evaluation.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, was not written by `export`, or the weights do not fit the
            recipe.
    """
    path = check_path("load_file", "path", path)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no file {printable(path)}. `pyro-exact export` writes one."
        )

    metadata, weights = _contents(path)
    run = RunRecord.from_dict(_parsed(metadata, _RUN, path), printable(path))
    model = rebuild(run, weights, path, device)
    return model, run, _parsed(metadata, _RESULT, path)


def _contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
            return file.metadata() or {}, weights
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{printable(path)} expects a whole .safetensors file; got an error when reading it: "
            f"{error}. Copy or download it again."
        ) from error


def _parsed(metadata: Mapping[str, str], field: str, path: Path) -> dict[str, Any]:
    """Return a field of the metadata as a mapping."""
    try:
        values = json.loads(metadata[field])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{printable(path)} expects the metadata {field} as JSON; got none. Use a file that "
            f"`pyro-exact export` wrote."
        ) from error

    if not isinstance(values, dict):
        raise ValueError(
            f"{printable(path)} expects the metadata {field} as a mapping; got "
            f"{type(values).__name__}. Use a file that `pyro-exact export` wrote."
        )
    return values
