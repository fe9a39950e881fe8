"""Write files atomically: completely, or not at all."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADVICE = {
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EISDIR: "Move that folder away, or choose another name",
    errno.EROFS: "Choose a folder that can be written",
    errno.EACCES: "Choose a folder that you may write",
}

# Characters of a name that its partial file keeps, so that both stay within the limit of names.
LONGEST_STEM = 40


class UnwritableError(OSError, ValueError):
    """A folder, or a file in it, cannot be written."""


def check_writable(folder: Path) -> None:
    """Create a folder, and check that a file can be written into it.

    Use this check before a long computation.

    Args:
        folder: The folder.

    Raises:
        UnwritableError: If the folder cannot be written.
    """
    probe = folder / _partial(Path("writable"), str(os.getpid()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder / "writable")
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError) as error:
        raise UnwritableError(
            f"The output folder {folder} cannot be written: {_reason(error)}. Choose another "
            "folder (--out)."
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a partial file to write, which then replaces ``path`` in a single step.

    If anything fails, an older file at ``path`` survives. Partial files of the same name that a
    killed process left are removed.

    Args:
        path: The file to write.

    Raises:
        UnwritableError: If the file cannot be written.
    """
    partial = path.with_name(_partial(path, str(os.getpid())))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_partial(path)
        yield partial

        # On disk before it is renamed: after a power cut, either file is complete.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        kept = "The previous one is kept." if os.path.isfile(path) else "There is none before it."
        advice = ADVICE.get(error.errno or 0, "Make room, or choose another folder")
        raise UnwritableError(
            f"{path} could not be written: {_reason(error)}. {kept} {advice}."
        ) from error
    finally:
        _remove(partial)


def remove_partial(path: Path, of_the_living: bool = False) -> None:
    """Remove the partial files that killed processes left while they wrote a file.

    Args:
        path: The file that these processes would have written.
        of_the_living: If true, remove partial files although a process with the same ID exists,
            which may be another process by now. This must only be used when no other process writes
            to the folder.
    """
    before, after = _partial(path, "/").split("/")

    for found in path.parent.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        process = found.name.removeprefix(before).removesuffix(after)
        if process.isdecimal() and (of_the_living or not _alive(int(process))):
            _remove(found)


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file atomically.

    Args:
        values: Plain values.
        path: The file.

    Raises:
        ValueError: If a value is NaN or infinite, which JSON cannot express.
        UnwritableError: If the file cannot be written.
    """
    bad = _not_finite(values)
    if bad is not None:
        raise ValueError(
            f"{path} expects finite numbers, as JSON does; got {bad}. Nothing was written."
        )

    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as partial:
        partial.write_text(text)


def _partial(path: Path, process: str) -> str:
    """Return the name of the partial file that a process writes."""
    return f".{path.stem[:LONGEST_STEM]}.{process}.partial{path.suffix}"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # For example on a disk that has become read-only. The first error tells more than this one.
        return


def _alive(process: int) -> bool:
    """Return whether another process has this ID."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # it belongs to another user
    return process != os.getpid()  # our own number belonged to another process before


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _not_finite(values: object, name: str = "") -> str | None:
    """Return the name and value of the first float that is NaN or infinite."""
    if isinstance(values, float) and not math.isfinite(values):
        return f"{name} = {values}"

    parts: Iterable[tuple[object, object]] = []
    if isinstance(values, Mapping):
        parts = values.items()
    elif isinstance(values, list | tuple):
        parts = enumerate(values)

    for key, value in parts:
        bad = _not_finite(value, f"{name}.{key}" if name else str(key))
        if bad is not None:
            return bad
    return None
