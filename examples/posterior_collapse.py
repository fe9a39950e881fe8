"""Posterior collapse and its remedies: a VAE whose decoder is strong need not use its latent.

Without autoregressive layers the decoder is a dense network, and the pixels of an 8x8 digit are
independent given z. With autoregressive layers it is a Gated PixelCNN with z in every gate: a pixel
depends on z and on the preceding pixels. The ELBO penalises the information in z, but not the
dependence between pixels, so the network learns that dependence first. `pyro_exact.diagnose`
reports the collapse. The remedies are KL annealing, free bits, and a decoder without such layers.

    python examples/posterior_collapse.py              # three minutes of one core
    python examples/posterior_collapse.py --smoke      # a few steps, for a test
"""

import time
from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from pyro_exact import data
from pyro_exact.autoregressive import GatedPixelCNN
from pyro_exact.diagnostics import Diagnosis, diagnose
from pyro_exact.distributions import FlowPosterior, StandardNormal
from pyro_exact.files import write_json
from pyro_exact.infer import AnnealedELBO, FreeBitsELBO
from pyro_exact.likelihoods import BernoulliLikelihood
from pyro_exact.models import VAE
from pyro_exact.nn import DenseDecoder, DenseEncoder
from pyro_exact.plots import image_grid
from pyro_exact.provenance import provenance

SHAPE, LATENTS, HIDDEN = (1, 8, 8), 8, 100
LAYERS, SHOWN = (0, 1, 2, 4), 8


def build(layers: int) -> VAE:
    """Return a VAE with a number of autoregressive layers; see `pyro_exact.models.pixel_vae` for larger ones."""
    encoder = DenseEncoder(SHAPE, (HIDDEN,))
    posterior = FlowPosterior(HIDDEN, LATENTS)

    if layers == 0:
        decoder = DenseDecoder(LATENTS, SHAPE, hidden_dims=(HIDDEN,))
        likelihood = BernoulliLikelihood()
    else:
        decoder = nn.Identity()
        likelihood = GatedPixelCNN(
            SHAPE,
            2,
            width=16,
            depth=layers - 1,
            kernel_size=3,
            head_width=32,
            context_shape=LATENTS,
        )

    return VAE(encoder, decoder, posterior, StandardNormal(LATENTS), likelihood)


def fit(layers: int, elbo: Trace_ELBO, x: Tensor, steps: int) -> VAE:
    """Train by stock SVI."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    vae = build(layers)
    vae.initialize(x)

    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 3e-3}, "T_max": steps}
    scheduler = pyro.optim.CosineAnnealingLR(adam)
    svi = SVI(vae.model, vae.guide, scheduler, elbo)
    for _ in range(steps):
        svi.step(x[torch.randint(len(x), (64,))])
        scheduler.step()

    return vae


def numbers(found: Diagnosis) -> dict[str, tuple[float, float | None]]:
    """Return the quantities of the table, with standard errors if they are means over images."""
    elbo, kl = found.bounds[1], found.levels["z"].kl
    error = len(elbo) ** 0.5
    return {
        "-ELBO": (-elbo.mean().item(), elbo.std().item() / error),
        "KL": (kl.mean().item(), kl.std().item() / error),
        "active units": (float(found.levels["z"].active), None),
        "mutual information": (found.mutual_information, None),
    }


def picture(seen: dict[str, Diagnosis], path: Path) -> None:
    """Plot the KL and the bound by number of layers, and images drawn given the latents of other images."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.35, 1])
    plain = [str(layers) for layers in LAYERS]
    for axis, what in zip(left.subplots(1, 2), ("KL", "-ELBO"), strict=True):
        told = {name: numbers(found)[what] for name, found in seen.items()}
        axis.errorbar(
            LAYERS,
            *zip(*(told[name] for name in plain), strict=True),
            marker="o",
            capsize=3,
            label="ELBO",
        )
        for name, marker, colour in zip(
            list(seen)[len(plain) :], "s^", ("tab:orange", "tab:green"), strict=True
        ):
            value, error = told[name]
            axis.errorbar(
                LAYERS[-1], value, error, marker=marker, color=colour, capsize=3, ls="", label=name
            )
        axis.set(
            xlabel="autoregressive layers", ylabel="nats of a test digit", title=what, xticks=LAYERS
        )
    axis.legend(title="trained with")
    left.axes[0].set_ylim(bottom=0)

    shown = {
        "data": next(iter(seen.values())).data,
        "no layer": seen["0"].reconstructed,
        f"{LAYERS[-1]} layers": seen[str(LAYERS[-1])].reconstructed,
        f"{LAYERS[-1]} layers,\nfree bits": seen["free bits"].reconstructed,
    }
    for axis, (name, images) in zip(right.subplots(len(shown), 1), shown.items(), strict=True):
        axis.imshow(image_grid(1 - images[:SHOWN].float(), SHOWN)[0], cmap="gray", vmin=0, vmax=1)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    right.suptitle("test digits, and one drawn given the latent of each", fontsize=11)
    figure.savefig(path, dpi=110)


def main(steps: int = 1000, out: Path = Path("runs/examples"), smoke: bool = False) -> None:
    """Train VAEs with an increasing number of autoregressive layers, and apply remedies to the strongest.

    Args:
        steps: Number of optimiser steps for each model.
        out: Folder for the picture and the numbers.
        smoke: Take a few steps only.
    """
    torch.set_num_threads(1)  # the tensors are small
    steps, samples = (4, 100) if smoke else (steps, 200)
    out.mkdir(parents=True, exist_ok=True)

    digits = data.load("digits")
    train, test = ((images > digits.levels // 2).float() for images in (digits.train, digits.test))
    test = test[:10] if smoke else test[:200]

    strongest = LAYERS[-1]
    trials = {str(layers): (layers, Trace_ELBO()) for layers in LAYERS} | {
        "KL annealing": (strongest, AnnealedELBO("kl", start=0.0, steps=max(1, steps // 2))),
        "free bits": (strongest, FreeBitsELBO(free_nats=4.0)),
    }

    seen, rows = {}, []
    for name, (layers, elbo) in trials.items():
        found = seen[name] = diagnose(fit(layers, elbo, train, steps), test, samples)

        target = f"{layers} layer{'s' * (layers != 1)}"
        if name != str(layers):
            target += f", {name}"
        print(f"{target}: -ELBO {-found.bounds[1].mean():.2f} nats. {found.verdict}", flush=True)

        for what, (value, error) in numbers(found).items():
            rows.append({"target": target, "flow": what, "value": value, "standard_error": error})

    picture(seen, out / "posterior_collapse.png")
    record = {
        "example": "posterior_collapse",
        "what": "What the latent of a VAE tells of a test digit, in nats, by the autoregressive layers of its decoder",
        "rows": rows,
        "steps": steps,
        "samples": samples,
        "seed": 0,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "posterior_collapse.json")
    print(f"Wrote {out}/posterior_collapse.json and {out}/posterior_collapse.png.")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument("--smoke", action="store_true", help="Take a few steps only.")
    main(**parser.parse_args().as_dict())
