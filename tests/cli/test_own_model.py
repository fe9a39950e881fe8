"""A registered model of a user in every command, and the errors of what it cannot do."""

import re

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Bernoulli
from torch import nn

from pyro_exact.models import GenerativeModel
from pyro_exact.recipes import register, registry

SHAPE = (1, 4, 4)


class Coins(GenerativeModel):
    """Independent bits, which a user wrote without any class of the library but the base."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(SHAPE))

    @property
    def event_shape(self):
        return torch.Size(SHAPE)

    def generate(self, x=None):
        observed = None if x is None else x.float()
        return pyro.sample("x", Bernoulli(logits=self.logits).to_event(3), obs=observed)

    @torch.no_grad()
    def sample(self, n, temperature=None):
        return Bernoulli(logits=self.logits).sample((n,))


class AbleCoins(Coins):
    """The same, with what the other commands need: the noise of a bit is the bit itself."""

    def encode(self, x):
        return x.float()

    def decode(self, z):
        return z.round()

    def complete(self, x, observed, n=1, progress=False):
        return x.float().where(observed, self.sample(n * len(x)).unflatten(0, (n, -1)))


def build_coins(shape, levels):
    return Coins()


def build_able_coins(shape, levels):
    return AbleCoins()


@pytest.fixture
def coins(here, run, monkeypatch):
    """The folder of a run of each model on bits."""
    monkeypatch.setattr(registry, "_builders", {})
    bits = np.random.default_rng(0).integers(0, 2, (40, 4, 4), dtype=np.uint8)
    np.savez("bits.npz", train=bits[:20], valid=bits[20:30], test=bits[30:])
    for name, build in (("coins", build_coins), ("able_coins", build_able_coins)):
        register(name, build)
        (here / f"{name}.yaml").write_text(
            f"data: bits.npz\nmodel: {{name: {name}}}\ntraining: {{steps: 3, batch_size: 5}}\n"
        )
        assert run("train", f"{name}.yaml")[0] == 0
    return here / "runs"


COMMANDS = [
    "evaluate {}",
    "evaluate {} --per-item scores.csv",
    "sample {} --n 3",
    "sample {} --n 3 --out samples.npz",
    "complete {} --n 2",
    "interpolate {} --n 1",
    "reconstruct {} --n 2",
]


def test_own_model_works_in_every_command_whose_method_it_has(coins, run):
    for command in COMMANDS:
        code, _, err = run(*command.format("runs/able_coins/best.ckpt").split())
        assert (code, err) == (0, ""), command


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("complete", "complete expects an autoregressive or .*; got Coins, which has no such meth"),
        ("interpolate", "encode expects a flow or a VAE, .*; got Coins"),
        ("reconstruct", "encode expects a flow or a VAE, .*; got Coins"),
        ("diagnose", "diagnose expects a model with a guide; this one's likelihood is exact"),
        ("sample --context [1]", "expects no --context, because the model takes none"),
    ],
)
def test_own_model_is_told_why_a_command_cannot_use_it(coins, run, command, message):
    name, *flags = command.split()
    code, _, err = run(name, "runs/coins/best.ckpt", *flags)
    assert code == 1
    assert re.search(message, err)
