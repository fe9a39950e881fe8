"""Draw docs/images/vae_planar.png from the records: what planar flows add to the posterior of a VAE, by their number.

python docs/make_vae_figure.py
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
NAMES = {0: "vae_mnist"} | {n: f"vae_planar{n}_mnist" for n in (10, 20, 40, 80)}


def records(suffix: str = "") -> list[dict[str, Any]]:
    """The records of the VAEs, by the length of their flows."""
    return [json.loads((DOCS / "results" / f"{name}{suffix}.json").read_text()) for name in NAMES.values()]


def main() -> None:
    """Draw the bounds beside the paper's, and the gap between the bound and the importance-weighted one."""
    elbo, weighted, lengths = records(), records("-weighted"), list(NAMES)
    k = weighted[0]["metric"]["k"]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    bounds, gaps = figure.subplots(1, 2)
    ours = [r["metric"]["value"] for r in elbo]
    bounds.errorbar(lengths, ours, [r["metric"]["standard_error"] for r in elbo], marker="o", label="ours, 50 epochs")
    bounds.plot(lengths, [r["paper"]["value"] for r in elbo], "s--", color="gray", label="paper, 500,000 steps")
    bounds.set(ylabel="-ELBO, nats", title="the bound on the test set")
    bounds.legend()
    added = [value - r["metric"]["value"] for value, r in zip(ours, weighted, strict=True)]
    gaps.plot(lengths, added, marker="o")
    gaps.set(ylabel="nats", title=f"what {k} importance samples add to it", ylim=(0, 1.2 * max(added)))
    for axis in (bounds, gaps):
        axis.set_xlabel("planar maps")
    figure.savefig(DOCS / "images" / "vae_planar.png", dpi=110)


if __name__ == "__main__":
    main()
