"""Fit planar, radial and NICE flows to four energies: figure 3 of Rezende and Mohamed (2015).

An energy U defines a density p(z) = exp(-U(z)) / Z from which one cannot sample directly. Stock SVI
fits a flow q to it: the guide draws z from the flow, and the model scores -U(z), so the ELBO is
log Z - KL(q || p). The pictures show q on a grid, which uses the inverse of each flow. The table
has KL(q || p) from samples of q, with Z by quadrature.

    python examples/energies.py              # ten minutes on one core
    python examples/energies.py --smoke      # a few steps, for a test
"""

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from pyro.distributions import ImproperUniform, constraints
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.files import write_json
from pyro_exact.provenance import provenance
from pyro_exact.transforms import ActNorm, Bijection, Compose

# Energies
# -------------------------------------------------------------------------------------------------------------
# U2 to U4 go on along the first axis for ever, and the paper shows the square [-4, 4]². Walls at
# its sides, as steep as the flank of a normal density of width 0.1, make each of them a density on
# the plane, which a flow on the plane can fit: what q puts outside of the square costs it dearly.

SIDE = 4.0
Energy = Callable[[Tensor], Tensor]


def wall(z: Tensor) -> Tensor:
    return 0.5 * ((z.abs() - SIDE).clamp_min(0) / 0.1).square().sum(-1)


def bump(x: Tensor, width: float) -> Tensor:
    return -0.5 * (x / width) ** 2


def u1(z: Tensor) -> Tensor:
    x = z[..., 0]
    return (
        wall(z)
        - bump(z.norm(dim=-1) - 2, 0.4)
        - torch.logaddexp(bump(x - 2, 0.6), bump(x + 2, 0.6))
    )


def u2(z: Tensor) -> Tensor:
    return wall(z) - bump(above_wave(z), 0.4)


def u3(z: Tensor) -> Tensor:
    y, dip = above_wave(z), 3 * bump(z[..., 0] - 1, 0.6).exp()
    return wall(z) - torch.logaddexp(bump(y, 0.35), bump(y + dip, 0.35))


def u4(z: Tensor) -> Tensor:
    y, step = above_wave(z), 3 * ((z[..., 0] - 1) / 0.3).sigmoid()
    return wall(z) - torch.logaddexp(bump(y, 0.4), bump(y + step, 0.35))


def above_wave(z: Tensor) -> Tensor:
    x, y = z.unbind(-1)
    return y - (2 * math.pi * x / 4).sin()


ENERGIES = {"U1": u1, "U2": u2, "U3": u3, "U4": u4}

# Flows, from noise to z
# -----------------------------------------------------------------------------------------------
# The ActNorm makes the base a normal with learned means and scales, as in the paper; NICE has such
# a layer of its own.


def planar(length: int) -> Bijection:
    maps = flows.planar(2, length, act_norm=False)
    torch.nn.init.normal_(maps.theta.b)  # lines all over the square, not all through its centre
    return Compose([ActNorm(2), maps])


def radial(length: int) -> Bijection:
    return Compose([ActNorm(2), flows.radial(2, length, act_norm=False)])


def nice(length: int) -> Bijection:
    return flows.nice(2, length).inv


FLOWS = {f"planar, K = {k}": partial(planar, k) for k in (2, 8, 32)}
FLOWS |= {"NICE, 8 couplings": partial(nice, 8)}
FLOWS |= {f"radial, K = {k}": partial(radial, k) for k in (2, 8, 32)}
LEARNING_RATE = dict.fromkeys(FLOWS, 0.04) | {"NICE, 8 couplings": 0.01}  # a network wants less

# Fit, measure, draw
# ---------------------------------------------------------------------------------------------------


def fit(flow: Flow, energy: Energy, learning_rate: float, steps: int, particles: int) -> None:
    """Fit a flow to an energy by stock SVI."""

    def model(warmth: float) -> None:
        z = pyro.sample("z", ImproperUniform(constraints.real_vector, (), (2,)))
        pyro.factor("energy", -warmth * energy(z))

    def guide(warmth: float) -> None:
        pyro.module("flow", flow)
        pyro.sample("z", flow())

    pyro.clear_param_store()
    optimizer = pyro.optim.ClippedAdam({"lr": learning_rate, "lrd": 0.01 ** (1 / steps)})
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(model, guide, optimizer, elbo)
    for step in range(steps):
        # The energy is annealed as in the paper: the flow spreads out before it settles, and so
        # finds every mode.
        svi.step(min(1.0, 0.01 + 4 * step / steps))


def grid(side: float, points: int) -> Tensor:
    """The centres of points x points cells of the square [-side, side]², row by row from the bottom."""
    line = side * ((2 * torch.arange(points) + 1) / points - 1)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def log_normalizer(energy: Energy, side: float = SIDE + 1, points: int = 1000) -> float:
    """log Z by the midpoint rule, on a square that takes in the walls."""
    return (-energy(grid(side, points)).double()).logsumexp((0, 1)).item() + 2 * math.log(
        2 * side / points
    )


@torch.no_grad()
def divergence(flow: Flow, energy: Energy, log_z: float, samples: int) -> tuple[float, float]:
    """KL(q || p) in nats and its standard error, from samples of q."""
    q = flow()
    z = q.sample((samples,))
    difference = (q.log_prob(z) + energy(z)).double()
    return difference.mean().item() + log_z, difference.std().item() / math.sqrt(samples)


def picture(
    names: list[str], densities: dict[tuple[str, str], Tensor], rows: list[dict], path: Path
) -> None:
    """One row for each energy: p, then q of each flow on the same scale, with its KL(q || p)."""
    nats = {(row["target"], row["flow"]): row["value"] for row in rows}
    figure = Figure(
        figsize=(1.8 * (1 + len(names)), 1.8 * len(ENERGIES) + 0.2), layout="constrained"
    )
    for axes, energy in zip(figure.subplots(len(ENERGIES), 1 + len(names)), ENERGIES, strict=True):
        axes[0].set_ylabel(energy)
        for axis, name in zip(axes, ["target", *names], strict=True):
            top = densities[energy, "target"].max()
            axis.imshow(densities[energy, name], origin="lower", cmap="magma", vmin=0, vmax=top)
            axis.set(xticks=[], yticks=[])
            if name in names:
                axis.text(
                    0.04, 0.05, f"{nats[energy, name]:.2f}", color="white", transform=axis.transAxes
                )
            if axes[0].get_subplotspec().is_first_row():
                axis.set_title(name, fontsize="medium")
    figure.savefig(path, dpi=100)
    print(f"Wrote {path}.")


def main(
    steps: int = 3000,
    particles: int = 256,
    samples: int = 100_000,
    seed: int = 0,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Fit every flow to every energy.

    Args:
        steps: Number of optimiser steps for each model.
        particles: Samples of the flow in each step.
        samples: Samples of the flow that KL(q || p) is estimated from.
        seed: Of everything.
        out: Folder for pictures and numbers.
        smoke: Whether to take a few steps only.
    """
    points = 200
    if smoke:
        steps, samples, points = 2, 100, 20
    torch.set_num_threads(1)  # the tensors are small
    out.mkdir(parents=True, exist_ok=True)
    rows, densities = [], {}
    for target, energy in ENERGIES.items():
        log_z = log_normalizer(energy)
        densities[target, "target"] = (-energy(grid(SIDE, points)) - log_z).exp()
        for name, build in FLOWS.items():
            pyro.set_rng_seed(seed)
            flow = Flow(StandardNormal(2), build())
            fit(flow, energy, LEARNING_RATE[name], steps, particles)
            nats, error = divergence(flow, energy, log_z, samples)
            print(f"{target}  {name:17}  KL(q || p) = {nats:.3f} ± {error:.1g} nats", flush=True)
            rows.append({"target": target, "flow": name, "value": nats, "standard_error": error})
            with torch.no_grad():
                densities[target, name] = flow().log_prob(grid(SIDE, points)).exp()
    picture(list(FLOWS)[:4], densities, rows, out / "energies.png")
    picture(list(FLOWS)[4:], densities, rows, out / "energies_radial.png")
    record = {
        "example": "energies",
        "what": "KL(q || p) in nats of a flow q from the energies U1 to U4 with walls around [-4, 4]²",
        "rows": rows,
        "steps": steps,
        "samples": samples,
        "seed": seed,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "energies.json")


if __name__ == "__main__":
    parser = ArgumentParser(description="Fit every flow to every energy.")
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
