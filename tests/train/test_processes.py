"""Several processes divide a batch and notice the end of another."""

import os
import time
from types import SimpleNamespace

import pytest
import torch
from helpers.runs import fit, images, recipe, record

from pyro_exact import recipes
from pyro_exact.models import GenerativeModel
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.processes import fail_together


def a_glow() -> GenerativeModel:
    return recipe().build((1, 4, 4), 4)


def an_order_agnostic_net() -> GenerativeModel:
    model = {"name": "deep_nade", "hidden_dims": [5, 5], "dropout": 0.3}
    return recipes.Recipe.from_dict({"name": "t", "model": model, "data": "toy"}, "the test").build(
        (1, 4, 4), 2
    )


@pytest.mark.parametrize("make", [a_glow, an_order_agnostic_net])
def test_processes_share_the_mean_loss_of_the_parts_of_a_batch(tmp_path, monkeypatch, make):
    model, x = make().train(), images().train[:8].clamp(max=1)
    run = record(recipe())
    whole = TrainingModule(model, run, tmp_path).mean_loss(x)
    parts = []
    for rank, part in enumerate(x.chunk(4)):
        monkeypatch.setattr(TrainingModule, "global_rank", rank)
        parts.append(TrainingModule(model, run, tmp_path, processes=4).mean_loss(part))
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_processes_divide_a_batch_evenly(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"batch_size expects a multiple of the number of processes .*; got 8 for 3",
    ):
        fit(recipe(), tmp_path / "out", devices=3)
    with pytest.raises(ValueError, match=r"devices from 1 to \d+; got 0\. Choose"):
        fit(recipe(), tmp_path / "out", devices=0)
    assert not (tmp_path / "out").exists()


TWO = SimpleNamespace(
    world_size=2, strategy=SimpleNamespace(launcher=None)
)  # a trainer, as far as it matters


def test_processes_say_that_one_died_when_a_socket_lost_its_other_end():
    with pytest.raises(ConnectionError, match=r"Another process of this run has died\. Go on so\."):
        with fail_together(TWO, "Go on so."):
            raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    with pytest.raises(RuntimeError, match="another reason"), fail_together(TWO, ""):
        raise RuntimeError("another reason")


def test_processes_end_when_they_wait_for_one_that_died():
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.dup2(write, 2)
            with fail_together(TWO, "Go on so."):
                time.sleep(30)  # as behind a GPU
            os.write(2, b"waited in vain")
        time.sleep(0.2)
        os._exit(0)
    os.wait()
    os.close(write)
    with open(read) as said:  # until its end, which is that of the process
        assert said.read() == "\npyro-exact: Another process of this run has died. Go on so.\n"
