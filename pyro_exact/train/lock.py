"""One run a folder."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep a folder to this process: no other run can begin in it.

    The operating system lets go of it however this process ends.

    Raises:
        ValueError: If another run is in it.
    """
    path = folder / LOCK
    held = _locked(path)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):
                if _is(held, path):
                    path.unlink()  # while it is ours: who waits for it will see that it is gone
            os.close(held)


def _locked(path: Path) -> int | None:
    """Return the descriptor of the locked file, or none where the file system has no locks."""
    import fcntl  # not on every system, and only training needs it

    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise ValueError(
                f"{path.parent} is in use by another run, {holder}. Wait for it, or choose another folder (--out)."
            ) from None
        except OSError as error:
            os.close(file)
            why = f"{path.parent} cannot be locked ({error.strerror}): start no second run in it."
            warnings.warn(why, stacklevel=4)
            return None

        if _is(file, path):
            with suppress(OSError):  # a full disk: the lock holds without a name
                os.ftruncate(file, 0)
                os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return file
        os.close(file)  # its run ended, and removed it, between our two calls


def _is(file: int, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
