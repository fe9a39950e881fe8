"""An amortised guide: a conditional flow under a plate, trained by stock SVI with vectorised particles.

The problem is from Pyro's tutorial "SVI with a Normalizing Flow guide". A row of data has five
observations in the plane. The latent has three dimensions, two for the mean and the third for the
correlation:

    z ~ N(0, I),    x_1, ..., x_5 ~ N((z_1, z_2), 0.1² [[1, ρ], [ρ, 1]]),    ρ = 0.99 tanh(z_3)

The guide uses the same flow for all rows: `flow.condition(encoder(x))` is a stock distribution
whose batch shape is that of the plate. The tutorial uses a flow of zuko via an adapter, with the raw
observations as context. With `--peer zuko` that flow is trained too, for the same number of steps,
and ours with the same raw observations.

Given ρ the model is Gaussian. Therefore the exact posterior and the exact log-evidence, an upper
bound of the ELBO, are sums over a grid of z_3.

    python examples/guide.py                          # a minute on one core
    python examples/guide.py --peer zuko --seeds 3    # beside zuko (pip install zuko)
    python examples/guide.py --smoke                  # a few steps, for a test
"""

import math
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from pyro.infer import SVI, Trace_ELBO
from scipy.stats import gaussian_kde
from torch import Tensor, nn

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.files import write_json
from pyro_exact.provenance import provenance

PARTICLES = 16
PRIOR = dist.Normal(torch.zeros(3), 1.0).to_event(1)


def covariance(z3: Tensor) -> Tensor:
    rho, one = 0.99 * z3.tanh(), torch.ones_like(z3)
    return 0.01 * torch.stack((one, rho, rho, one), dim=-1).unflatten(-1, (2, 2))


def likelihood(z: Tensor) -> dist.Distribution:
    return dist.MultivariateNormal(z[..., :2], covariance(z[..., 2]))


def model(x: Tensor) -> None:
    """Observations of shape (5, rows, 2)."""
    with pyro.plate("rows", x.shape[1]):
        z = pyro.sample("z", PRIOR)
        with pyro.plate("observations", x.shape[0]):
            pyro.sample("x", likelihood(z), obs=x)


def centred(x: Tensor) -> Tensor:
    """Encode a row as its mean, and how far its observations lie from it in units of their noise."""
    mean = x.mean(0)
    return torch.cat((mean, *(x - mean) / 0.1), dim=-1)


def raw(x: Tensor) -> Tensor:
    """Encode a row as the tutorial does: all observations in one vector."""
    return x.transpose(0, 1).flatten(1)


class Ours(nn.Module):
    """An inverse autoregressive flow that sees the context: one pass to sample."""

    def __init__(self, encoder: Callable[[Tensor], Tensor], context_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.flow = Flow(
            StandardNormal(3),
            flows.iaf(3, layers=4, hidden_dims=(128, 128), context_dim=context_dim),
        )

    def forward(self, x: Tensor) -> dist.Distribution:
        return self.flow.condition(self.encoder(x))


class Zuko(nn.Module):
    """The tutorial's flow with its settings."""

    def __init__(self) -> None:
        super().__init__()
        import zuko

        self.flow = zuko.flows.NSF(features=3, context=10, transforms=1, hidden_features=(256, 256))
        self.flow.transform = self.flow.transform.inv  # one pass to sample

    def forward(self, x: Tensor) -> dist.Distribution:
        from pyro.contrib.zuko import ZukoToPyro

        return ZukoToPyro(self.flow(raw(x)))


OURS = {"pyro_exact": lambda: Ours(centred, 12)}
PEERS = {"pyro_exact, raw context": lambda: Ours(raw, 10), "zuko, raw context": Zuko}


def fit(posterior: nn.Module, x: Tensor, steps: int) -> tuple[list[float], float, float]:
    """Train a guide; return the ELBO at each step, the final one over many particles, and its standard error."""

    def guide(x: Tensor) -> None:
        pyro.module("posterior", posterior)
        with pyro.plate("rows", x.shape[1]):
            pyro.sample("z", posterior(x))

    pyro.clear_param_store()
    elbo = Trace_ELBO(num_particles=PARTICLES, vectorize_particles=True, max_plate_nesting=2)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 1e-3, "clip_norm": 10.0}), elbo)
    curve = [-svi.step(x) for _ in range(steps)]
    final = np.array([-svi.evaluate_loss(x) for _ in range(steps // 10)])
    return curve, final.mean(), final.std(ddof=1) / math.sqrt(len(final))


def exact(x: Tensor) -> tuple[float, Callable[[int, int], Tensor]]:
    """Return the log-evidence of all rows, and a function that draws from the posterior of one."""
    z3 = torch.linspace(-7, 7, 4001)
    precision = covariance(z3).inverse()
    posterior_precision = torch.eye(2) + len(x) * precision
    mean = torch.linalg.solve(posterior_precision, precision @ x.sum(0)[:, None, :, None]).squeeze(
        -1
    )
    # p(x, z_3) = p(z) p(x | z) / p(z_1, z_2 | x, z_3) holds at any z_1, z_2: take the posterior
    # mean
    z = torch.cat((mean, z3.expand(len(mean), -1).unsqueeze(-1)), dim=-1)
    given_z3 = dist.MultivariateNormal(mean, precision_matrix=posterior_precision)
    joint = (
        PRIOR.log_prob(z) + likelihood(z).log_prob(x.unsqueeze(2)).sum(0) - given_z3.log_prob(mean)
    )

    def sample(row: int, draws: int) -> Tensor:
        cell = dist.Categorical(logits=joint[row]).sample((draws,))
        first = dist.MultivariateNormal(
            mean[row, cell], precision_matrix=posterior_precision[cell]
        ).sample()
        return torch.cat((first, z3[cell].unsqueeze(-1)), dim=-1)

    evidence = joint.logsumexp(-1) + math.log(z3[1] - z3[0])
    return evidence.sum().item(), sample


COLOURS = dict(
    zip(["exact", *OURS, *PEERS], ["0.4", "tab:blue", "tab:green", "tab:orange"], strict=True)
)


def picture(
    draws: dict[str, Tensor], curves: dict[str, list[float]], evidence: float, path: Path
) -> None:
    """The ELBO of each guide, and the posterior of one row: regions with 80 % of its mass."""
    figure = Figure(figsize=(10, 8.5), layout="constrained")
    axes = figure.subplot_mosaic([["1", "elbo", "elbo"], ["21", "2", "."], ["31", "32", "3"]])

    every = torch.cat(list(draws.values())).numpy()
    spans = [np.linspace(*np.quantile(every[:, i], (0.001, 0.999)), 60) for i in range(3)]
    for name, z in draws.items():
        filled = name == "exact"
        for i in range(3):
            density = gaussian_kde(z[:, i])(spans[i])
            axes[f"{i + 1}"].plot(spans[i], density, color=COLOURS[name], label=name)
            if filled:
                axes[f"{i + 1}"].fill_between(
                    spans[i], density, color=COLOURS[name], alpha=0.3, lw=0
                )
        for i, j in ((1, 0), (2, 0), (2, 1)):
            kde = gaussian_kde(z[:, [j, i]].T)
            level = np.quantile(kde(z[:, [j, i]].T), 0.2)
            mesh = np.meshgrid(spans[j], spans[i])
            density = kde(np.stack(mesh).reshape(2, -1)).reshape(mesh[0].shape)
            axis = axes[f"{i + 1}{j + 1}"]
            if filled:
                axis.contourf(*mesh, density, [level, np.inf], colors=COLOURS[name], alpha=0.4)
            else:
                axis.contour(*mesh, density, [level], colors=COLOURS[name])

    for name, axis in axes.items():
        if len(name) == 1:
            axis.set(yticks=[], title=f"$z_{name}$")
        elif len(name) == 2:
            axis.set(xlabel=f"$z_{name[1]}$", ylabel=f"$z_{name[0]}$")
    axes["2"].legend(loc="center left", bbox_to_anchor=(1.05, 0.5), title="posterior of one row")

    for name, curve in curves.items():
        width = max(len(curve) // 100, 1)
        smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
        axes["elbo"].plot(np.arange(len(smooth)) + width, smooth, color=COLOURS[name], label=name)
    axes["elbo"].axhline(evidence, color=COLOURS["exact"], ls="--", label="exact log-evidence")
    axes["elbo"].set(
        xlabel="step", ylabel="nats", title="ELBO of all rows", ylim=(evidence - 250, evidence + 20)
    )
    axes["elbo"].legend(loc="lower right")
    figure.savefig(path, dpi=110)


def main(
    steps: int = 4096,
    seeds: int = 1,
    peer: Literal["zuko"] | None = None,
    row: int = 40,
    out: Path = Path("runs/examples"),
    smoke: bool = False,
) -> None:
    """Train an amortised flow guide and compare it with the exact posterior.

    Args:
        steps: Number of optimiser steps; 4096 in the tutorial.
        seeds: Number of runs, each with weights and noise of its own; the data are the same.
        peer: Whose flow to train as well.
        row: Row of the data whose posterior the picture shows, 0 to 63.
        out: Folder for the picture and the numbers.
        smoke: Take a few steps only.
    """
    if peer and find_spec("zuko") is None:
        raise SystemExit(
            "--peer zuko needs the package zuko, which is not installed: pip install zuko"
        )
    torch.set_num_threads(1)  # the tensors are small
    count = 4000
    out.mkdir(parents=True, exist_ok=True)
    if smoke:
        steps, count = 20, 500

    pyro.set_rng_seed(0)
    x = likelihood(PRIOR.sample((64,))).sample((5,))
    evidence, draw_exactly = exact(x)
    print(f"exact log-evidence of 64 rows: {evidence:.2f} nats")

    rows, parameters, curves, draws = [], {}, {}, {"exact": draw_exactly(row, count)}
    for name, build in (OURS | PEERS if peer else OURS).items():
        for seed in range(seeds):
            pyro.set_rng_seed(seed)
            posterior = build()
            curve, elbo, error = fit(posterior, x, steps)
            print(f"{name:24}  seed {seed}  ELBO {elbo:.2f} ± {error:.2f} nats", flush=True)
            rows.append(
                {"target": f"seed {seed}", "flow": name, "value": elbo, "standard_error": error}
            )
            parameters[name] = sum(p.numel() for p in posterior.parameters())
            if seed == 0:
                curves[name] = curve
                with torch.no_grad():
                    draws[name] = posterior(x[:, row : row + 1])((count,)).squeeze(1)
    rows += [
        {
            "target": f"seed {seed}",
            "flow": "exact log-evidence",
            "value": evidence,
            "standard_error": None,
        }
        for seed in range(seeds)
    ]
    picture(draws, curves, evidence, out / "guide.png")
    record = {
        "example": "guide",
        "what": "ELBO in nats of 64 rows of five observations",
        "rows": rows,
        "steps": steps,
        "parameters": parameters,
        "samples": PARTICLES * (steps // 10),
        "seed": 0,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "guide.json")
    print(f"Wrote {out}/guide.json and {out}/guide.png.")


if __name__ == "__main__":
    parser = ArgumentParser(
        description="Train an amortised flow guide and compare it with the exact posterior."
    )
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
