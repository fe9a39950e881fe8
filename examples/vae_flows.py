"""Pyro's VAE tutorial with a flow in the guide, which reduces the gap between ELBO and likelihood.

Model and guide are those of the tutorial, except for a single line: the guide samples z from
`FlowPosterior`, a diagonal normal followed by a planar flow, with parameters from the encoder.
`pyro_exact.models.VAE` is such a pair.

The data are binarised 8x8 digits, and z has two dimensions, so the likelihood can be computed as a
sum over a grid of z. The gap of the ELBO is the divergence of the guide from the posterior; both
are plotted.

    python examples/vae_flows.py              # a minute or two on one core
    python examples/vae_flows.py --smoke      # a few steps, for a test
"""

import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from pyro.infer import SVI
from torch import Tensor, nn

from pyro_exact import data, flows
from pyro_exact.distributions import FlowPosterior
from pyro_exact.files import write_json
from pyro_exact.infer import AnnealedELBO
from pyro_exact.nn import DenseDecoder, DenseEncoder
from pyro_exact.provenance import provenance

SHAPE, HIDDEN, LENGTHS = (1, 8, 8), 100, (0, 4, 16)
ONE_AXIS = torch.linspace(-4, 4, 121)
GRID = torch.cartesian_prod(ONE_AXIS, ONE_AXIS)
PRIOR = dist.Normal(torch.zeros(2), 1.0).to_event(1)


class VAE(nn.Module):
    """The VAE of the tutorial, with a planar flow in the posterior."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.encoder = DenseEncoder(SHAPE, (HIDDEN, HIDDEN))
        self.decoder = DenseDecoder(2, SHAPE, hidden_dims=(HIDDEN, HIDDEN))
        flow = flows.planar(2, length, context_dim=HIDDEN, act_norm=False) if length else None
        self.posterior = FlowPosterior(HIDDEN, 2, flow)

    def likelihood(self, z: Tensor) -> dist.Distribution:
        return dist.Bernoulli(logits=self.decoder(z).squeeze(-1)).to_event(3)

    def model(self, x: Tensor) -> None:
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", PRIOR)
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.encoder(x)))


def fit(vae: VAE, x: Tensor, steps: int) -> None:
    """Train by stock SVI, with the annealed loss of the paper."""
    pyro.clear_param_store()
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 2e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(adam)
    elbo = AnnealedELBO("energy", start=0.01, steps=max(steps // 4, 1))
    svi = SVI(vae.model, vae.guide, scheduler, elbo)

    for _ in range(steps):
        svi.step(x[torch.randint(len(x), (100,))])
        scheduler.step()


@torch.no_grad()
def joint(vae: VAE, x: Tensor) -> Tensor:
    """Return log p(x, z) for each z of the grid and each image, times the area of a cell of the grid."""
    area = 2 * (ONE_AXIS[1] - ONE_AXIS[0]).log()

    # log p(x | z) = sum_i x_i l_i - log(1 + e^{l_i}) for Bernoulli pixels with logits l
    logits = vae.decoder(GRID).flatten(1)
    log_normalizer = nn.functional.softplus(logits).sum(1, keepdim=True)
    likelihood = logits @ x.flatten(1).T - log_normalizer

    return PRIOR.log_prob(GRID)[:, None] + likelihood + area


@torch.no_grad()
def elbo(vae: VAE, x: Tensor, samples: int) -> Tensor:
    """Return the ELBO of each image."""
    q = vae.posterior(vae.encoder(x))
    z = q.sample((samples,))
    return (PRIOR.log_prob(z) + vae.likelihood(z).log_prob(x) - q.log_prob(z)).mean(0)


@torch.no_grad()
def picture(
    vaes: dict[str, VAE], gaps: tuple[list[float], list[float]], images: Tensor, path: Path
) -> None:
    """Plot exact posteriors, filled, and those of the guide, as lines; and the gap by length."""
    rows, columns = 1 + len(vaes), len(images)
    figure = Figure(figsize=(2.2 * columns + 3.6, 2.2 * len(vaes) + 1.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.2 * columns, 3.6])
    axes = left.subplots(rows, columns, squeeze=False, height_ratios=[0.5] + [1] * len(vaes))
    for axis, image in zip(axes[0], images, strict=True):
        axis.imshow(image[0], cmap="gray_r")
        axis.axis("off")
    mesh = torch.meshgrid(ONE_AXIS, ONE_AXIS, indexing="ij")
    for row, (name, vae) in zip(axes[1:], vaes.items(), strict=True):
        exact = joint(vae, images).softmax(0)
        q = vae.posterior(vae.encoder(images)).log_prob(GRID[:, None]).softmax(0)
        for i, axis in enumerate(row):
            axis.contourf(*mesh, exact[:, i].view_as(mesh[0]), levels=8, cmap="Greys")
            axis.contour(*mesh, q[:, i].view_as(mesh[0]), levels=5, colors="tab:blue", linewidths=1)
            near = GRID[(exact[:, i] > 1e-5) | (q[:, i] > 1e-5)]
            (low, high), margin = near.aminmax(dim=0), 0.1
            axis.set_xlim(low[0] - margin, high[0] + margin)
            axis.set_ylim(low[1] - margin, high[1] + margin)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=11)
    left.suptitle(
        "test images; their posteriors p(z | x), filled, and the guide's q(z | x), lines",
        fontsize=11,
    )

    axis = right.subplots()
    axis.errorbar(LENGTHS, *gaps, marker="o", capsize=3)
    axis.set(
        xlabel="planar maps K",
        ylabel="nats",
        title="log p(x) - ELBO of test images",
        xticks=LENGTHS,
    )
    axis.set_ylim(bottom=0)
    figure.savefig(path, dpi=110)


def main(steps: int = 2000, out: Path = Path("runs/examples"), smoke: bool = False) -> None:
    """Train VAEs whose posteriors have planar flows of increasing length, and compare bound and likelihood.

    Args:
        steps: Number of optimiser steps for each model.
        out: Folder for the picture and the numbers.
        smoke: Take a few steps only.
    """
    torch.set_num_threads(1)  # the tensors are small
    steps, samples = (5, 2) if smoke else (steps, 100)
    out.mkdir(parents=True, exist_ok=True)
    digits = data.load("digits")
    train, test = ((images > digits.levels // 2).float() for images in (digits.train, digits.test))

    vaes, rows, gaps, errors = {}, [], [], []
    for length in LENGTHS:
        pyro.set_rng_seed(0)
        vae = vaes[f"K = {length}" if length else "normal"] = VAE(length)
        fit(vae, train, steps)

        exact = joint(vae, test).logsumexp(0)
        bound = elbo(vae, test, samples)
        gap = exact - bound
        gaps.append(gap.mean().item())
        errors.append((gap.std() / len(gap) ** 0.5).item())
        for what, values in (("-ELBO", -bound), ("-log p(x)", -exact), ("gap", gap)):
            error = (values.std() / len(values) ** 0.5).item()
            print(f"K = {length:2}  {what:9} {values.mean():6.2f} ± {error:.2f} nats", flush=True)
            row = {
                "target": f"K = {length}",
                "flow": what,
                "value": values.mean().item(),
                "standard_error": error,
            }
            rows.append(row)

    # Plot the images whose posteriors are the widest under the normal.
    weights = joint(vaes["normal"], test).softmax(0).T
    spread = weights @ GRID.square() - (weights @ GRID).square()
    chosen = test[spread.sum(-1).argsort(descending=True)[:4]]
    picture(vaes, (gaps, errors), chosen, out / "vae_flows.png")
    record = {
        "example": "vae_flows",
        "what": "Nats of a test digit by the length K of the planar flow in the guide (0: a diagonal normal)",
        "rows": rows,
        "steps": steps,
        "samples": samples,
        "seed": 0,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "vae_flows.json")
    print(f"Wrote {out}/vae_flows.json and {out}/vae_flows.png.")


if __name__ == "__main__":
    parser = ArgumentParser(
        description="Train VAEs with planar flows in the guide, and compare bound and likelihood."
    )
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
