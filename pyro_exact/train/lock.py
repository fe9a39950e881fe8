"""The folder of a run: a lock, so that only one run at a time uses it, and the partial files."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from pyro_exact.files import remove_partial
from pyro_exact.train.checkpoint import BEST, LAST

LOCK = ".lock"

# The files of a run: the checkpoints, and the files that the command line adds.
FILES = (LAST, BEST, "recipe.yaml", "train.json", "curve.png")


@contextmanager
def only_run(folder: Path, first: bool, locked: bool) -> Iterator[None]:
    """Hold the folder of a run in a with-block, and remove the partial files of a killed run.

    Args:
        folder: The folder.
        first: True in the first process of the run, which holds the folder for all.
        locked: If true, the caller holds the folder already.
    """
    if not first:
        yield
        return
    with nullcontext() if locked else folder_lock(folder):
        for name in FILES:
            remove_partial(folder / name, of_the_living=True)
        yield


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder in a with-block: no other run can start in this folder.

    The operating system releases the lock however this process ends.

    Raises:
        ValueError: If another run uses the folder.
    """
    path = folder / LOCK
    held = _lock(path)
    try:
        yield
    finally:
        if held is not None:
            # Removed before it is released: a process that waits for it notices that it is gone.
            with suppress(OSError):
                if _is(held, path):
                    path.unlink()
            os.close(held)


def _lock(path: Path) -> int | None:
    """Return the descriptor of the locked file, or `None` if the file system has no locks."""
    import fcntl  # not on every system, and only training needs it

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise ValueError(
                f"{path.parent} is in use by another run, {holder}. Wait for it, or choose another "
                f"folder (--out)."
            ) from None
        except OSError as error:
            os.close(file)
            reason = (
                f"{path.parent} cannot be locked ({error.strerror}): start no second run in it."
            )
            warnings.warn(reason, stacklevel=4)
            return None

        if _is(file, path):
            # On a full disk the lock holds, but does not say who holds it.
            with suppress(OSError):
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return file

        # Between the two calls another run ended and removed the file: try again.
        os.close(file)


def _is(file: int, path: Path) -> bool:
    """Return whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
