"""Files that are written in one piece or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class UnwritableError(OSError, ValueError):
    """A folder, or a file in it, cannot be written."""


def check_writable(folder: Path) -> None:
    """Make a folder, and make sure that a file can be written into it.

    Raises:
        UnwritableError: If not, before anything else is done.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UnwritableError(
            f"The output folder {folder} cannot be written: {error.strerror}. Choose another one (--out)."
        ) from error


@contextmanager
def in_one_piece(path: Path) -> Iterator[Path]:
    """Yield a file beside ``path`` to write instead, and rename it: whatever happens, an older file survives.

    Raises:
        UnwritableError: If the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        kept = "The previous one is kept." if path.exists() else "There is none before it."
        raise UnwritableError(
            f"{path} could not be written: {error}. {kept} Make room, or choose another folder."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write a JSON file in one piece."""
    with in_one_piece(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n")
