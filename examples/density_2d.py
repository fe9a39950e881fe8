"""Learn the densities of two moons, spirals and a checkerboard from samples, by four flows and stock SVI.

The guide is empty, so the ELBO is log p(x) itself. The first picture shows the density of each
flow. The second picture shows the maps of RealNVP, as in figure 1 of Dinh, Sohl-Dickstein and
Bengio (2017): z = f(x) from data to noise, and x = f⁻¹(z) from noise to data.

    python examples/density_2d.py              # eight minutes on one core
    python examples/density_2d.py --smoke      # a few steps, for a test
"""

import math
import time
from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from pyro.infer import SVI, Trace_ELBO
from sklearn.datasets import make_moons
from torch import Tensor

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.files import write_json
from pyro_exact.models import Density
from pyro_exact.provenance import provenance
from pyro_exact.transforms import Bijection, MixtureCDF

# Data, in [-4, 4]²
# ----------------------------------------------------------------------------------------------------


def moons(n: int) -> Tensor:
    points, _ = make_moons(n, noise=0.06, random_state=torch.randint(2**31, ()).item())
    return 2 * (torch.from_numpy(points).float() - torch.tensor([0.5, 0.25]))


def spirals(n: int) -> Tensor:
    angle = 3 * math.pi * torch.rand(n).sqrt()  # the root spreads the points evenly along each arm
    radius = angle / 3 * (2 * torch.randint(2, (n,)) - 1)
    return radius.unsqueeze(-1) * torch.stack(
        (angle.cos(), angle.sin()), dim=-1
    ) + 0.1 * torch.randn(n, 2)


def checkerboard(n: int) -> Tensor:
    column = torch.randint(4, (n,))
    row = 2 * torch.randint(2, (n,)) + column % 2
    return 2 * (torch.stack((column, row), dim=-1) + torch.rand(n, 2)) - 4


DATA = {"two moons": moons, "spirals": spirals, "checkerboard": checkerboard}
ENTROPY = {
    "checkerboard": math.log(32)
}  # eight squares of area 4; the others are not known in closed form

# Flows, from data to noise
# --------------------------------------------------------------------------------------------

FLOWS = {
    "RealNVP": lambda: flows.real_nvp(2),
    "MAF": lambda: flows.maf(2, layers=8, hidden_dims=(64, 64)),
    "spline couplings": lambda: flows.spline_coupling(2),
    "mixture-CDF couplings": lambda: flows.couplings(2, MixtureCDF(8), layers=4),
}


def fit(bijection: Bijection, x: Tensor, steps: int) -> Flow:
    """Train a flow by stock SVI."""
    pyro.clear_param_store()
    flow = Flow(StandardNormal(2), bijection.inv)
    model = Density(flow)
    model.initialize(x[:5000])
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 3e-3}, "T_max": steps}
    optimizer = pyro.optim.CosineAnnealingLR(adam)
    svi = SVI(model.model, model.guide, optimizer, Trace_ELBO())
    for _ in range(steps):
        svi.step(x[torch.randint(len(x), (512,))])
        optimizer.step()
    return flow


# Pictures
# -------------------------------------------------------------------------------------------------------------

SIDE = 4.4


def grid(points: int) -> Tensor:
    """The centres of points x points cells of the square that is shown, row by row from the bottom."""
    line = SIDE * ((2 * torch.arange(points) + 1) / points - 1)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)


def histogram(x: Tensor, points: int) -> Tensor:
    """The density of samples on that grid, by counting."""
    edges = torch.linspace(-SIDE, SIDE, points + 1)
    return torch.histogramdd(x, [edges, edges], density=True).hist.T


def densities(fitted: dict[tuple[str, str], Flow], points: int, path: Path) -> None:
    """One row for each data set: a histogram of the data, then the density of each flow on the same scale."""
    figure = Figure(figsize=(1.9 * (1 + len(FLOWS)), 1.9 * len(DATA) + 0.3), layout="constrained")
    for axes, (name, draw) in zip(
        figure.subplots(len(DATA), 1 + len(FLOWS)), DATA.items(), strict=True
    ):
        shown = {"data": histogram(draw(50 * points**2), points)}
        with torch.no_grad():
            shown |= {flow: fitted[name, flow]().log_prob(grid(points)).exp() for flow in FLOWS}
        top = 1.25 * shown["data"].quantile(0.99).item()
        for axis, (title, density) in zip(axes, shown.items(), strict=True):
            axis.imshow(density, origin="lower", cmap="magma", vmin=0, vmax=top)
            axis.set(xticks=[], yticks=[])
            if axes[0].get_subplotspec().is_first_row():
                axis.set_title(title, fontsize="medium")
        axes[0].set_ylabel(name)
    figure.savefig(path, dpi=100)
    print(f"Wrote {path}.")


def deformation(x: Tensor, flow: Flow, path: Path) -> None:
    """Points and a square grid through f, from left to right, and through its inverse, from right to left."""
    figure = Figure(figsize=(8, 8.2), layout="constrained")
    (x_space, f_of_x), (inverse_of_z, z_space) = figure.subplots(2, 2)
    inverse = flow.bijection  # of f: a flow makes data of noise
    with torch.no_grad():
        z = StandardNormal(2)().sample((len(x),))
        panels = [
            (x_space, x, x, lines(3.5), 3.5),
            (f_of_x, x, inverse.inv(x), inverse.inv(lines(3.5)), 4.0),
            (z_space, z, z, lines(3.0), 4.0),
            (inverse_of_z, z, inverse(z), inverse(lines(3.0)), 3.5),
        ]
    for axis, start, points, net, side in panels:
        axis.add_collection(
            LineCollection(list(net.numpy()), colors="0.6", linewidths=0.6, zorder=0)
        )
        left, right = start[:, 0].quantile(
            torch.tensor([0.02, 0.98])
        )  # a point's colour says where it starts
        axis.scatter(*points.T, c=start[:, 0], cmap="viridis", vmin=left, vmax=right, s=4, lw=0)
        axis.set(xlim=(-side, side), ylim=(-side, side), xticks=[], yticks=[], aspect="equal")
    x_space.set(title="data x", ylabel="inference: z = f(x)")
    f_of_x.set(title="noise z")
    inverse_of_z.set(ylabel="generation: x = f⁻¹(z)")
    figure.savefig(path, dpi=100)
    print(f"Wrote {path}.")


def lines(side: float, count: int = 21, points: int = 1000) -> Tensor:
    """A square grid, of shape (lines, points on each, 2)."""
    place, along = torch.meshgrid(
        torch.linspace(-side, side, count), torch.linspace(-side, side, points), indexing="ij"
    )
    return torch.cat((torch.stack((place, along), dim=-1), torch.stack((along, place), dim=-1)))


def main(
    steps: int = 3000, seed: int = 0, out: Path = Path("runs/examples"), smoke: bool = False
) -> None:
    """Fit every flow to every data set.

    Args:
        steps: Number of optimiser steps for each model.
        seed: Of everything.
        out: Folder for pictures and numbers.
        smoke: Whether to take a few steps only.
    """
    train, held_out, points = 50_000, 20_000, 200
    if smoke:
        steps, train, held_out, points = 2, 1000, 100, 20
    torch.set_num_threads(1)  # the tensors are small
    out.mkdir(parents=True, exist_ok=True)
    rows, fitted = [], {}
    for target, draw in DATA.items():
        pyro.set_rng_seed(seed)
        seen, unseen = draw(train), draw(held_out)
        for name, build in FLOWS.items():
            pyro.set_rng_seed(seed)
            fitted[target, name] = fit(build(), seen, steps)
            with torch.no_grad():
                nats = fitted[target, name]().log_prob(unseen)
            mean, error = nats.mean().item(), nats.std().item() / math.sqrt(held_out)
            print(f"{target:12}  {name:21}  {mean:.3f} ± {error:.1g} nats", flush=True)
            rows.append({"target": target, "flow": name, "value": mean, "standard_error": error})
        if target in ENTROPY:
            print(f"{target:12}  {'true density':21}  {-ENTROPY[target]:.3f} nats")
            rows.append(
                {
                    "target": target,
                    "flow": "true density",
                    "value": -ENTROPY[target],
                    "standard_error": None,
                }
            )
    densities(fitted, points, out / "density_2d.png")
    deformation(moons(2000), fitted["two moons", "RealNVP"], out / "density_2d_grid.png")
    record = {
        "example": "density_2d",
        "what": "Mean log-likelihood of held-out points, in nats",
        "rows": rows,
        "steps": steps,
        "samples": held_out,
        "seed": seed,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "density_2d.json")


if __name__ == "__main__":
    parser = ArgumentParser(description="Fit every flow to every data set.")
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
