"""Runs on two processes, for tests/train/test_two_processes.py: Lightning starts the second one.

python tests/two_processes.py FOLDER alone  runs on one process, each of which is killed
python tests/two_processes.py FOLDER        continues these on two processes

Each process writes a file that says that it has ended, and the second one dies in the last run.
"""

import os
import signal
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_exact import data, distributions, flows, models, recipes, train
from pyro_exact.train.lightning_module import TrainingModule

BATCH, ROWS, DIM = 16, 70, 3  # 70 validation rows: no multiple of the processes


def glow():
    """A recipe: data-dependent initialisation, flips, averaged weights."""
    model = {"name": "glow", "scales": 1, "steps": 1, "width": 4}
    values = {"name": "glow", "model": model, "data": "toy"}
    return recipes.Recipe.from_dict(values, "the test")


def own():
    """A model of one's own, whose weights differ between the processes until training starts."""
    torch.manual_seed(1 + int(os.environ.get("LOCAL_RANK", 0)))
    flow = flows.maf(DIM, layers=1, hidden_dims=[4])
    return models.Density(distributions.Flow(distributions.StandardNormal(DIM), flow.inv))


def pair():
    """A plain Pyro pair, with noise in the guide."""
    pyro.clear_param_store()
    torch.manual_seed(1)
    decoder, encoder = nn.Linear(1, DIM), nn.Linear(DIM, 2)

    def model(x):
        pyro.module("decoder", decoder)
        shift = pyro.sample("shift", dist.Normal(0, 10))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z) + shift, 1).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("shift", dist.Delta(pyro.param("at", torch.zeros(()))))
        with pyro.plate("data", len(x)):
            location, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))

    return models.Pair(model, guide)


def builder(shape: tuple[int, ...], levels: int | None, width: int = 4) -> models.Density:
    flow = flows.maf(shape, layers=1, hidden_dims=[width])
    return models.Density(distributions.Flow(distributions.StandardNormal(shape[0]), flow.inv))


def registered():
    recipes.register("of_two_processes", builder)
    return recipes.load_recipe("of_two_processes")


MODELS = {"glow": glow, "own": own, "pair": pair, "registered": registered}


def data_of(name):
    if name == "glow":
        digits = data.load("digits")
        return data.Images(
            "few", digits.train[:64], digits.valid[:ROWS], digits.test, digits.levels
        )
    x = torch.randn(64 + ROWS, DIM, generator=torch.Generator().manual_seed(0)) * 2 + 1
    return x[:64], x[64:]


def run(name, folder, devices=1, steps=5, resume=False, **settings):
    settings = {"flip": name == "glow", "ema_decay": 0.5, "gradient_clip": 1.0, **settings}
    training = train.Training(
        steps=steps, batch_size=BATCH, validate_every=2, learning_rate=1e-2, **settings
    )
    return train.fit(
        MODELS[name](),
        data_of(name),
        training,
        Path(folder) / name,
        resume=resume,
        progress=False,
        device="cpu",
        devices=devices,
    )


def score(run, name, shared=False):
    """The score of a trained model on all validation rows, in batches that do not divide them."""
    x = data_of(name)
    x = x.valid if name == "glow" else x[1]
    return train.evaluate(run.model, x, batch_size=8, k=2, shared=shared).each


def die(note, rank):
    """End a process in the fourth step, as a machine does that loses power."""
    begin = TrainingModule.on_train_batch_start

    def on_train_batch_start(module, *args):
        begin(module, *args)
        if module.global_step == 3 and module.global_rank == rank:
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    TrainingModule.on_train_batch_start = on_train_batch_start


def killed_alone(folder):
    """Begin each run in a process of its own, which is killed after the checkpoint of step 2."""
    for name in MODELS:
        child = os.fork()
        if child == 0:
            die(folder / f"{name} died", 0)
            run(name, folder)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


def continued_on_two(folder):
    """Continue each run on two processes; then begin one whose second process dies."""
    for name in MODELS:
        done = run(name, folder, devices=2, resume=True)
        each = score(done, name, shared=True)
        if train.first_process():
            torch.save(each, folder / f"{name}.pt")
    (folder / ("first" if train.first_process() else "second")).touch()

    die(folder / "died", 1)
    run("own", folder / "killed", devices=2)


if __name__ == "__main__":
    folder, *alone = sys.argv[1:]
    begin = killed_alone if alone else continued_on_two
    begin(Path(folder))
