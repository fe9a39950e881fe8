"""NeuTra: a flow transforms a density before NUTS samples from it.

Two densities are difficult for NUTS, and both are known exactly. Neal's funnel is wide at the top
and narrow at the bottom, so no step size is suitable everywhere. The banana of Haario, Saksman and
Tamminen is long, thin and curved.

First stock SVI fits a guide to each density: `AutoNormalizingFlow` with a flow of this library.
Then `NeuTraReparam` replaces the latent by the noise of that flow (Hoffman, Sountsov, Dillon,
Langmore, Tran and Vasudevan, 2019, NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using
Neural Transport).

The cost of a draw is the number of gradients of the density. The table has the effective sample
size (ESS), by ArviZ, per thousand gradients, for the worst coordinate; and the largest error of the
cumulative distribution of the first coordinate, which shows whether the whole density was visited.

    python examples/neutra.py              # 6 minutes on one core
    python examples/neutra.py --smoke      # a few steps and draws, for a test
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from jsonargparse import ArgumentParser
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormalizingFlow
from pyro.infer.reparam import NeuTraReparam
from scipy.stats import kstest
from torch import Tensor

from pyro_exact import flows
from pyro_exact.files import write_json
from pyro_exact.provenance import provenance
from pyro_exact.transforms import Affine, Bijection

PARTICLES = 64
Model = Callable[[], None]


def funnel() -> None:
    v = pyro.sample("v", dist.Normal(0.0, 3.0))
    pyro.sample("x", dist.Normal(torch.zeros(9), (v / 2).exp().unsqueeze(-1)).to_event(1))


def banana() -> None:
    x = pyro.sample("x", dist.Normal(0.0, 10.0))
    pyro.sample("y", dist.Normal(0.03 * (x**2 - 100), 1.0))


class Geometry(NamedTuple):
    """A model, and how to look at two of its coordinates."""

    model: Model
    scale: float  # of the first coordinate, a normal with mean 0
    axes: dict[str, int]  # names and indices of the coordinates to the right and upwards
    window: tuple[float, float, float, float]
    log_density: Callable[[Tensor, Tensor], Tensor]  # of these two


GEOMETRIES = {
    "funnel": Geometry(
        funnel, 3.0, {"$x_1$": 1, "$v$": 0}, (-25, 25, -10, 10),
        lambda x, v: dist.Normal(0.0, 3.0).log_prob(v) + dist.Normal(0.0, (v / 2).exp()).log_prob(x),
    ),
    "banana": Geometry(
        banana, 10.0, {"$x$": 0, "$y$": 1}, (-33, 33, -8, 28),
        lambda x, y: dist.Normal(0.0, 10.0).log_prob(x) + dist.Normal(0.03 * (x**2 - 100), 1.0).log_prob(y),
    ),
}  # fmt: skip


def iaf(dim: int) -> Bijection:
    """An inverse autoregressive flow: fast from noise to latents. The scales of the funnel need the wider bound."""
    return flows.iaf(dim, layers=3, hidden_dims=(32, 32), elementwise=Affine(bound=6.0))


def fit(model: Model, steps: int) -> tuple[AutoNormalizingFlow, float]:
    """Train a guide; return it and its KL divergence in the last tenth of the steps."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    guide = AutoNormalizingFlow(model, iaf)
    optimizer = pyro.optim.ClippedAdam({"lr": 5e-3, "lrd": 0.01 ** (1 / steps)})
    elbo = Trace_ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=0)
    svi = SVI(model, guide, optimizer, elbo)
    losses = [svi.step() for _ in range(steps)]
    return guide.requires_grad_(False), sum(losses[-(steps // 10) :]) / (
        steps // 10
    )  # the densities are normalised


class Chain(NamedTuple):
    """What NUTS found and what it cost."""

    draws: Tensor  # (draws, dim)
    gradients: int  # of these draws
    warmup_gradients: int
    divergences: int
    seconds: float  # of the processor


def nuts(model: Model, draws: int, seed: int) -> Chain:
    """Run stock NUTS and count its gradients."""
    calls, calls_after = 0, {}

    def counted() -> None:  # NUTS runs the model once for each gradient
        nonlocal calls
        calls += 1
        model()

    def note(kernel: NUTS, sample: dict[str, Tensor], stage: str, i: int) -> None:
        calls_after[stage] = calls

    pyro.set_rng_seed(seed)
    mcmc = MCMC(NUTS(counted), draws, warmup_steps=draws // 2, hook_fn=note, disable_progbar=True)
    start = time.process_time()
    mcmc.run()
    seconds = time.process_time() - start
    warmup, divergences = calls_after["Warmup"], mcmc.diagnostics()["divergences"]["chain 0"]
    return Chain(
        side_by_side(mcmc.get_samples()),
        calls_after["Sample"] - warmup,
        warmup,
        len(divergences),
        seconds,
    )


def side_by_side(samples: dict[str, Tensor]) -> Tensor:
    """The values of all sites in one array, (draws, dim)."""
    return torch.cat([value.reshape(len(value), -1) for value in samples.values()], dim=-1)


def summary(
    chains: list[Chain], scale: float, training: int
) -> dict[str, tuple[float, float | None]]:
    """The table of one sampler: numbers, and their standard errors over the chains."""
    x = torch.stack([chain.draws for chain in chains]).double().numpy()  # (chains, draws, dim)
    gradients = np.array([chain.gradients for chain in chains])
    warmup = sum(chain.warmup_gradients for chain in chains)
    draws = x.shape[0] * x.shape[1]

    def ess(x: np.ndarray, method: str) -> float:
        prob = (0.05, 0.95) if method == "tail" else None
        return min(float(az.ess(x[..., i], method=method, prob=prob)) for i in range(x.shape[-1]))

    def per_1000_gradients(method: str) -> tuple[float, float]:
        each = [1000 * ess(x[i : i + 1], method) / gradients[i] for i in range(len(x))]
        return 1000 * ess(x, method) / gradients.sum(), np.std(each, ddof=1) / math.sqrt(len(each))

    return {
        "bulk ESS per 1,000 gradients": per_1000_gradients("bulk"),
        "tail ESS per 1,000 gradients": per_1000_gradients("tail"),
        "bulk ESS, warm-up and training counted": (
            1000 * ess(x, "bulk") / (gradients.sum() + warmup + training),
            None,
        ),
        "gradients per draw": (gradients.sum() / draws, None),
        "milliseconds per gradient": (
            1000 * sum(c.seconds for c in chains) / (gradients.sum() + warmup),
            None,
        ),
        "divergences per 1,000 draws": (
            1000 * sum(chain.divergences for chain in chains) / draws,
            None,
        ),
        "R-hat": (max(float(az.rhat(x[..., i])) for i in range(x.shape[-1])), None),
        "largest error of the CDF": (
            float(kstest(x[..., 0].ravel() / scale, "norm").statistic),
            None,
        ),
    }


def panel(axis: Axes, geometry: Geometry, chains: list[Chain]) -> None:
    """Draws over the true log-density in steps of 1.5 nats."""
    left, right, bottom, top = geometry.window
    mesh = torch.meshgrid(
        torch.linspace(left, right, 401), torch.linspace(bottom, top, 401), indexing="xy"
    )
    log_density = geometry.log_density(*mesh)
    axis.contourf(
        *mesh, log_density, log_density.max() - torch.arange(12, -1, -1.5), cmap="Blues", alpha=0.7
    )
    dots(axis, geometry, chains)
    axis.set(xlim=(left, right), ylim=(bottom, top))


def dots(axis: Axes, geometry: Geometry, chains: list[Chain]) -> None:
    for chain in chains:
        axis.plot(
            *chain.draws[:, list(geometry.axes.values())].T,
            ".",
            color="black",
            ms=2,
            mew=0,
            alpha=0.4,
        )
    across, up = geometry.axes
    axis.set(xlabel=across, ylabel=up)


def picture(runs: dict[str, tuple[list[Chain], list[Chain], list[Chain]]], path: Path) -> None:
    """For each geometry the draws before and after, the latter as NUTS saw them, and how a chain moves."""
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    for row, (name, (before, noise, after)) in zip(
        figure.subplots(2, 4), runs.items(), strict=True
    ):
        geometry = GEOMETRIES[name]
        panel(row[0], geometry, before)
        panel(row[1], geometry, after)
        dots(row[2], geometry, noise)
        for radius in (1, 2, 3):
            row[2].add_patch(Circle((0, 0), radius, fill=False, color="tab:blue"))
        row[2].set(
            aspect="equal", xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), xlabel="noise", ylabel="noise"
        )
        row[3].plot(after[0].draws[:, 0], color="tab:blue", lw=0.5, alpha=0.6, label="NeuTra")
        row[3].plot(before[0].draws[:, 0], color="tab:red", lw=1, label="NUTS")
        row[3].set(xlabel="draw", ylabel=min(geometry.axes, key=geometry.axes.get))
        row[3].legend(loc="lower right")
        titles = (
            f"NUTS on the {name}",
            f"NeuTra on the {name}",
            "the same draws in the flow's noise",
            "the first chain",
        )
        for axis, title in zip(row, titles, strict=True):
            axis.set_title(title)
    figure.savefig(path, dpi=100)


def main(
    steps: int = 2000,
    draws: int = 1000,
    chains: int = 4,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Compare NUTS with NUTS in the noise of a trained flow, on a funnel and a banana.

    Args:
        steps: Optimiser steps of the guide, of 64 particles each.
        draws: Draws of each chain, after half as many for its warm-up.
        chains: Number of chains, at least 2.
        out: Folder for the picture and the numbers.
        smoke: Take a few steps and draws only.
    """
    torch.set_num_threads(1)  # the tensors are small
    out.mkdir(parents=True, exist_ok=True)
    if smoke:
        steps, draws, chains = 10, 8, 2

    runs, rows = {}, []
    for name, geometry in GEOMETRIES.items():
        before = [nuts(geometry.model, draws, seed) for seed in range(chains)]

        guide, divergence = fit(geometry.model, steps)
        neutra = NeuTraReparam(guide)
        warped = neutra.reparam(geometry.model)
        noise = [nuts(warped, draws, seed) for seed in range(chains)]
        after = [
            chain._replace(draws=side_by_side(neutra.transform_sample(chain.draws)))
            for chain in noise
        ]

        runs[name] = before, noise, after
        table = {
            "NUTS": summary(before, geometry.scale, training=0),
            "NeuTra": summary(after, geometry.scale, training=PARTICLES * steps),
        }
        title = f"{name}, where the guide's KL divergence is {divergence:.3f} nats"
        print(f"\n{title:50}" + "".join(f"{sampler:>12}" for sampler in table))
        for number in table["NUTS"]:
            print(
                f"  {number:48}"
                + "".join(f"{numbers[number][0]:12.3f}" for numbers in table.values()),
                flush=True,
            )
        rows += [
            {
                "target": f"{name}: {number}",
                "flow": sampler,
                "value": float(value),
                "standard_error": error,
            }
            for sampler, numbers in table.items()
            for number, (value, error) in numbers.items()
        ]
        rows.append(
            {
                "target": f"{name}: KL of the guide, nats",
                "flow": "NeuTra",
                "value": divergence,
                "standard_error": None,
            }
        )
    picture(runs, out / "neutra.png")
    record = {
        "example": "neutra",
        "what": "NUTS before and after a flow straightens the density; ESS is that of the worst coordinate",
        "rows": rows,
        "steps": steps,
        "samples": draws * chains,
        "seed": 0,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "neutra.json")
    print(f"\nWrote {out}/neutra.json and {out}/neutra.png.")


if __name__ == "__main__":
    parser = ArgumentParser(description="Compare NUTS with NUTS in the noise of a trained flow.")
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps and draws only.")
    main(**parser.parse_args().as_dict())
