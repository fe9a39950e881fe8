"""Worker processes of a run: signals of a terminal or a cluster do not end them."""

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader

from pyro_exact.data import Batches
from pyro_exact.train.data_module import ignore_interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_workers_leave_signals_to_the_main_process(number):
    batches = Batches(torch.arange(40).view(40, 1), 4, seed=0)
    loader = DataLoader(batches, batch_size=None, num_workers=1, worker_init_fn=ignore_interrupts)
    iterator = iter(loader)
    assert torch.equal(next(iterator), batches.batch(0))

    os.kill(iterator._workers[0].pid, number)
    for step in range(1, 9):
        assert torch.equal(next(iterator), batches.batch(step))
    iterator._shutdown_workers()
    assert not iterator._workers[0].is_alive()
