"""Several processes of one run, which must all end when any process dies."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as lightning

LOST = "Another process of this run has died."


@contextmanager
def fail_together(trainer: lightning.Trainer, advice: str) -> Iterator[None]:
    """End this process with an error soon after another process of the run has died.

    With gloo, a socket reports at once that the other end is gone. With NCCL, a GPU would wait for
    half an hour. So a thread watches the processes that were started by this process, or the parent
    process.

    Args:
        trainer: The trainer of this process.
        advice: The rest of the error message.

    Raises:
        ConnectionError: If a socket reported it.
    """
    if trainer.world_size == 1:
        yield
        return

    finished = threading.Event()
    arguments = (_death_of_another(trainer), finished, f"\npyro-exact: {LOST} {advice}\n")
    threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        if "gloo" not in str(error).lower() and "nccl" not in str(error).lower():
            raise
        raise ConnectionError(f"{LOST} {advice}") from error
    finally:
        finished.set()


def _death_of_another(trainer: lightning.Trainer) -> Callable[[], bool]:
    """Return a function that returns whether a process of this run has died."""
    launcher: Any = trainer.strategy.launcher
    parent = os.getppid()

    def died() -> bool:
        started = getattr(launcher, "procs", [])
        return os.getppid() != parent or any(process.poll() for process in started)

    return died


def _watch(died: Callable[[], bool], finished: threading.Event, message: str) -> None:
    while not died():
        if finished.wait(0.5):
            return

    # Give this process a second to fail with an error of its own, which tells more.
    time.sleep(1)
    if not finished.is_set():
        os.write(2, message.encode())
        os._exit(1)  # the main thread waits for a process that is gone
