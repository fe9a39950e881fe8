"""Draw docs/images/vae_planar.png from the records: what planar flows add to the posterior of a VAE, by their number.

python docs/make_vae_figure.py
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
LENGTHS = (0, 10, 20, 40, 80)


def record(length: int, suffix: str = "") -> dict[str, Any]:
    """The record of the VAE with a flow of that length."""
    name = "vae_mnist" if length == 0 else f"vae_planar{length}_mnist"
    return json.loads((DOCS / "results" / f"{name}{suffix}.json").read_text())


def main() -> None:
    """Draw the bounds beside the paper's, and the gap between the bound and the importance-weighted one."""
    elbo, weighted = [record(n) for n in LENGTHS], [record(n, "-weighted") for n in LENGTHS]
    k = weighted[0]["metric"]["k"]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    bounds, gaps = figure.subplots(1, 2)
    ours = [r["metric"]["value"] for r in elbo]
    bounds.errorbar(LENGTHS, ours, [r["metric"]["standard_error"] for r in elbo], marker="o", label="ours, 50 epochs")
    bounds.plot(LENGTHS, [r["paper"]["value"] for r in elbo], "s--", color="gray", label="paper, 500,000 steps")
    bounds.set(ylabel="-ELBO, nats", title="the bound on the test set")
    bounds.legend()
    gaps.plot(LENGTHS, [value - r["metric"]["value"] for value, r in zip(ours, weighted, strict=True)], marker="o")
    gaps.set(ylabel="nats", title=f"what {k} importance samples add to it", ylim=(0, None))
    for axis in (bounds, gaps):
        axis.set_xlabel("planar maps")
    figure.savefig(DOCS / "images" / "vae_planar.png", dpi=110)


if __name__ == "__main__":
    main()
