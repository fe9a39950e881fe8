"""Train a flow in a hand-written loop of Lightning Fabric, on one or several processes.

The loop shows what `pyro_exact.train.fit` does: batches that are a function of the seed and the
step, shared noise, a validation in which each row counts once, and a checkpoint. The picture shows
the losses.

    python examples/fabric_ddp.py                                                # one process
    torchrun --nproc-per-node 2 examples/fabric_ddp.py --accelerator cpu --devices 2
    python examples/fabric_ddp.py --smoke                                        # a few steps, for a test
"""

import time
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import ArgumentParser
from lightning.fabric import Fabric
from pyro.infer import Trace_ELBO
from sklearn.datasets import make_moons
from torch import Tensor, nn

from pyro_exact import flows
from pyro_exact.data import Batches
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models import Density
from pyro_exact.noise import SharedNoise
from pyro_exact.plots import save_curve
from pyro_exact.train import evaluate

BATCH_SIZE = 128


class Loss(nn.Module):
    """The training loss as a module, because DDP synchronises gradients of `forward`."""

    def __init__(self, model: Density, rows: int) -> None:
        super().__init__()
        self.model, self.rows = model, rows
        self.elbo = Trace_ELBO()

    def forward(self, x: Tensor) -> Tensor:
        return self.model.loss(x, self.elbo, self.rows) / len(x)


def moons(n: int, seed: int) -> Tensor:
    points, _ = make_moons(n, noise=0.06, random_state=seed)
    return torch.from_numpy(points).float()


def build() -> Density:
    return Density(Flow(StandardNormal(2), flows.nsf(2, layers=2, hidden_dims=[32]).inv))


def train(fabric: Fabric, steps: int, validate_every: int) -> tuple[Density, dict[str, list]]:
    """Return a trained model, and the losses in nats: (step, seconds, loss)."""
    fabric.seed_everything(0, verbose=False)  # the same initial weights in all processes
    x, valid = moons(4000, seed=0), moons(501, seed=1)
    model = build()
    model.initialize(x[:256])

    loss_of = Loss(model, len(x))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    loss_of, optimizer = fabric.setup(loss_of, optimizer)

    ranks = fabric.world_size
    batches = Batches(x, BATCH_SIZE // ranks, 0, rank=fabric.global_rank, world_size=ranks)
    curve, start = {"train": [], "valid": []}, time.perf_counter()

    for step in range(steps):
        torch.manual_seed(step)
        batch = fabric.to_device(batches.batch(step))
        with SharedNoise(fabric.global_rank, ranks, len(batch)):
            loss = loss_of(batch)
            optimizer.zero_grad()
            fabric.backward(loss)
        optimizer.step()

        seconds = time.perf_counter() - start
        curve["train"].append((step + 1, seconds, fabric.all_reduce(loss.detach()).item()))
        if (step + 1) % validate_every == 0:
            score = evaluate(model, valid, shared=True)  # called by all processes
            curve["valid"].append((step + 1, seconds, score.nats))
    return model, curve


def main(
    out: Path = Path("runs/examples"),
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu",
    devices: int = 1,
    steps: int = 600,
    smoke: bool = False,
) -> None:
    """Train, and save the picture and the weights in a folder.

    Args:
        out: Output folder.
        accelerator: Where to compute.
        devices: How many processes.
        steps: Steps of the optimiser.
        smoke: If true, run a few steps, for a test.
    """
    fabric = Fabric(accelerator=accelerator, devices=devices)
    fabric.launch()

    steps, validate_every = (20, 10) if smoke else (steps, 50)
    model, curve = train(fabric, steps, validate_every)

    fabric.print(f"{curve['valid'][-1][2]:.3f} nats a row on {fabric.world_size} processes")
    if fabric.is_global_zero:
        save_curve(curve, out / "fabric_ddp.png", unit="nats")
    fabric.save(out / "fabric_ddp.ckpt", {"model": model})


if __name__ == "__main__":
    parser = ArgumentParser(description="Train a flow in a loop of Lightning Fabric.")
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
