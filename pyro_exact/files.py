"""Files that are written in one piece or not at all."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ADVICE = {
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EISDIR: "Move that folder away, or choose another name",
    errno.EROFS: "Choose a folder that can be written",
    errno.EACCES: "Choose a folder that you may write",
}
LONGEST_STEM = 40  # characters of a name that its partial file keeps: both then stay within a file system's limit


class UnwritableError(OSError, ValueError):
    """A folder, or a file in it, cannot be written."""


def check_writable(folder: Path) -> None:
    """Make a folder, and make sure that a file can be written into it.

    Raises:
        UnwritableError: If not, before anything else is done.
    """
    probe = folder / _partial(Path("writable"), str(os.getpid()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder / "writable")
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError) as error:
        raise UnwritableError(
            f"The output folder {folder} cannot be written: {_reason(error)}. Choose another one (--out)."
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a file beside ``path`` to write instead, and rename it: whatever happens, an older file survives.

    What an earlier process left of the same file, because it was killed while it wrote, is removed.

    Raises:
        UnwritableError: If the file cannot be written.
    """
    partial = path.with_name(_partial(path, str(os.getpid())))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_partial(path)
        yield partial
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
    """Remove what processes that were killed left of a file that they wrote by `atomic_write`.

    Args:
        path: The file that they would have written.
        of_the_living: Whether to remove them although there is a process of that number, which may
            be another one: for the only writer of a folder.
    """
    before, after = _partial(path, "/").split("/")
    for found in path.parent.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
        process = found.name.removeprefix(before).removesuffix(after)
        if process.isdecimal() and (of_the_living or not _alive(int(process))):
            _remove(found)


def write_json(values: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file in one piece.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON has no word for.
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
    return f".{path.stem[:LONGEST_STEM]}.{process}.partial{path.suffix}"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # on a disk that has become read-only, say: the error that brought us here tells more


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # of another user
    return process != os.getpid()  # a number of ours that another process had before us


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _not_finite(values: object, name: str = "") -> str | None:
    """Return the name and value of the first number that is NaN or infinite."""
    if isinstance(values, float) and not math.isfinite(values):
        return f"{name} = {values}"
    parts: Sequence[tuple[object, object]] = []
    if isinstance(values, Mapping):
        parts = list(values.items())
    elif isinstance(values, list | tuple):
        parts = list(enumerate(values))
    found = (_not_finite(value, f"{name}.{key}" if name else str(key)) for key, value in parts)
    return next((bad for bad in found if bad is not None), None)
