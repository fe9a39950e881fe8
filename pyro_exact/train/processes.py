"""Several processes of one run: when one of them dies, the others end too."""

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
def fail_together(trainer: lightning.Trainer, how_to_go_on: str) -> Iterator[None]:
    """End this process soon after another one of the run has died, with an error that says so.

    Sockets notice at once that their other end is gone. A GPU waits for half an hour, so a thread
    looks after the processes that this one has started, or after the one that started it.

    Args:
        trainer: Of this process.
        how_to_go_on: The rest of the error.

    Raises:
        ConnectionError: Where a socket noticed it.
    """
    if trainer.world_size == 1:
        yield
        return

    finished = threading.Event()
    arguments = (_death_of_another(trainer), finished, f"\npyro-exact: {LOST} {how_to_go_on}\n")
    threading.Thread(target=_watch, args=arguments, daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        if "gloo" not in str(error).lower() and "nccl" not in str(error).lower():
            raise
        raise ConnectionError(f"{LOST} {how_to_go_on}") from error
    finally:
        finished.set()


def _death_of_another(trainer: lightning.Trainer) -> Callable[[], bool]:
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
    time.sleep(1)  # for an error of its own, which tells more, if it has one
    if not finished.is_set():
        os.write(2, message.encode())
        os._exit(1)  # the thread that trains waits for a process that is gone
