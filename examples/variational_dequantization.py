"""Three kinds of dequantisation noise, compared with stock Pyro on 8x8 digits.

A flow is a density of real numbers, but pixels are integers. Therefore the model draws v from the
flow, and x = floor(v) is observed. The guide draws v in [x, x + 1):

- uniform noise: then the best flow is constant inside each cell, which a smooth density cannot be;
- affine noise: a flow of shifts and scales, whose context is the image;
- mixture noise: the same with the logistic mixtures of Flow++, which are more flexible.

For any guide the ELBO is a bound of log P(x), so the three can be compared in bits per dimension,
where lower is better. With more samples the bound converges to log P(x); the difference shows the
loss due to the guide.

    python examples/variational_dequantization.py              # 5 minutes on one core
    python examples/variational_dequantization.py --smoke      # a few steps, for a test
"""

import math
import time
from pathlib import Path

import pyro
import torch
from jsonargparse import ArgumentParser
from matplotlib.figure import Figure
from pyro.infer import SVI, Trace_ELBO

from pyro_exact import data
from pyro_exact.distributions import Flow, FlowDequantizer, StandardNormal
from pyro_exact.files import write_json
from pyro_exact.flows import flow_pp, flow_pp_dequantizer
from pyro_exact.models import Dequantized
from pyro_exact.provenance import provenance

KINDS = {"uniform": "tab:gray", "affine": "tab:blue", "mixture": "tab:orange"}
SIZE = {"width": 16, "depth": 1, "components": 4, "dropout": 0.1}


def build(kind: str, digits: data.Images) -> Dequantized:
    """Return the same flow for each kind of noise; only the guide differs."""
    base = StandardNormal(math.prod(digits.shape))
    flow = Flow(base, flow_pp(digits.shape, digits.levels, **SIZE).inv)
    if kind == "uniform":
        return Dequantized(flow, digits.levels)

    noise = flow_pp_dequantizer(digits.shape, digits.levels, formula=kind, **SIZE)
    return Dequantized(flow, digits.levels, FlowDequantizer(noise))


def bounds(model: Dequantized, images: torch.Tensor, samples: int = 1) -> dict[int, float]:
    """Return bits/dim by the bound with k = 1, 2, 4, ..., ``samples`` samples; k = 1 is the ELBO."""
    model.eval()  # no dropout
    with torch.no_grad():
        weights = torch.stack([model.log_weight(images) for _ in range(samples)])
    model.train()

    found = {}
    for k in (2**i for i in range(samples.bit_length())):
        log_likelihood = weights.view(-1, k, len(images)).logsumexp(1) - math.log(k)
        found[k] = -log_likelihood.mean().item() / (images[0].numel() * math.log(2))
    return found


def train(
    kind: str, digits: data.Images, steps: int
) -> tuple[Dequantized, list[tuple[int, float]]]:
    """Train with stock SVI; return the model and its bits/dim on the validation images."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model = build(kind, digits)
    model.initialize(digits.train[:256])

    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": 3e-3}, "T_max": steps}
    optimizer = pyro.optim.CosineAnnealingLR(adam, clip_args={"clip_norm": 1.0})
    svi = SVI(model.model, model.guide, optimizer, Trace_ELBO())

    curve = []
    for step in range(1, steps + 1):
        svi.step(digits.train[torch.randint(len(digits.train), (64,))])
        optimizer.step()

        if step % max(steps // 20, 1) == 0:
            bits = bounds(model, digits.valid)[1]
            curve.append((step, bits))
            print(f"{kind:8} step {step:5}  {bits:.3f} bits/dim on validation images", flush=True)

    return model, curve


def picture(models: dict, curves: dict, found: dict, digits: data.Images, path: Path) -> None:
    """Plot training curves, bounds against k, and histograms of the noise of pixels."""
    figure = Figure(figsize=(14, 4.2), layout="constrained")
    left, middle, *right = figure.subplots(1, 4, width_ratios=[1.3, 1.3, 1, 1])
    for kind, colour in KINDS.items():
        left.plot(*zip(*curves[kind], strict=True), color=colour, label=kind)
        middle.plot(*zip(*found[kind].items(), strict=True), "o-", color=colour, label=kind)
    left.set(xlabel="step", ylabel="ELBO on validation images, bits/dim", title="Training")
    middle.set(
        xlabel="samples k",
        ylabel="bound on test images, bits/dim",
        title="The bound with k samples",
        xscale="log",
    )
    middle.set_xticks(list(found["uniform"]), [str(k) for k in found["uniform"]])
    middle.minorticks_off()
    left.legend(title="noise")

    images = digits.test.float()
    for axis, level in zip(right, (0, digits.levels - 1), strict=True):
        for kind, colour in KINDS.items():
            noise = models[kind].eval().noise_of(images)
            with torch.no_grad():
                place = (noise.sample() - images)[images == level]
            axis.hist(
                place, bins=25, range=(0, 1), density=True, histtype="step", lw=1.5, color=colour
            )
        axis.set(xlabel="v - x", title=f"Noise of pixels of level {level}")
    right[0].set_ylabel("density")

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"Wrote {path}.")


def main(steps: int = 400, out: Path = Path("runs/examples"), smoke: bool = False) -> None:
    """Compare three kinds of dequantisation noise.

    Args:
        steps: Number of optimiser steps for each model.
        out: Folder for the picture and the numbers.
        smoke: Take a few steps only, on a few images.
    """
    digits = data.load("digits")
    if smoke:
        few = {split: digits.split(split)[:32] for split in ("train", "valid", "test")}
        digits, steps = data.Images("digits", **few, levels=digits.levels), 2
    samples = 2 if smoke else 64
    torch.set_num_threads(1)  # the tensors are small

    models, curves, found = {}, {}, {}
    for kind in KINDS:
        models[kind], curves[kind] = train(kind, digits, steps)
        found[kind] = bounds(models[kind], digits.test, samples)

    print("\nnoise     ELBO   bound with most samples   difference, in bits/dim on test images")
    for kind, by_k in found.items():
        elbo, best = by_k[1], by_k[max(by_k)]
        print(f"{kind:8}  {elbo:.3f}  {best:.3f}  {elbo - best:.3f}")

    picture(models, curves, found, digits, out / "variational_dequantization.png")
    rows = [
        {"target": f"k = {k}", "flow": kind, "value": found[kind][k], "standard_error": None}
        for k in found["uniform"]
        for kind in KINDS
    ]
    record = {
        "example": "variational_dequantization",
        "what": "Bits/dim on the test digits, the bound with k samples, by the noise of the guide",
        "rows": rows,
        "steps": steps,
        "samples": samples,
        "seed": 0,
        "cpu_seconds": round(time.process_time(), 1),
        **provenance("cpu"),
    }
    write_json(record, out / "variational_dequantization.json")


if __name__ == "__main__":
    parser = ArgumentParser(description="Compare three kinds of dequantisation noise.")
    parser.add_function_arguments(main, skip={"smoke"})
    parser.add_argument(
        "--smoke", action="store_true", help="Take a few steps only, on a few images."
    )
    main(**parser.parse_args().as_dict())
