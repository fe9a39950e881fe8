"""Draw docs/images/vae_planar.png from the records: the gain of planar flows in a VAE, by length.

python docs/make_vae_figure.py
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
LENGTHS = (0, 10, 20, 40, 80)
NETS = {
    "dense networks, 50 epochs": "vae{}_mnist",
    "convolutions, 12 epochs": "conv_vae40{}_mnist_small",
}


def records(name: str, suffix: str = "") -> list[dict[str, Any]]:
    """The records of VAEs with a type of network, by the length of the flow."""
    names = [name.format(f"_planar{length}" if length else "") + suffix for length in LENGTHS]
    return [json.loads((DOCS / "results" / f"{name}.json").read_text()) for name in names]


def main() -> None:
    """Draw the bounds beside the paper's, and the gap between the bound and the importance-weighted one."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    bounds, gaps = figure.subplots(1, 2)
    for label, name in NETS.items():
        elbo, weighted = records(name), records(name, "-weighted")
        k = weighted[0]["metric"]["k"]
        ours, errors = ([r["metric"][key] for r in elbo] for key in ("value", "standard_error"))
        bounds.errorbar(LENGTHS, ours, errors, marker="o", label=label)
        added = [value - r["metric"]["value"] for value, r in zip(ours, weighted, strict=True)]
        gaps.plot(
            LENGTHS, added, marker="o", label=f"{label}, {weighted[0]['data']['images']:,} images"
        )
    bounds.plot(
        LENGTHS,
        [r["paper"]["value"] for r in elbo],
        "s--",
        color="gray",
        label="paper, 500,000 steps",
    )
    bounds.set(ylabel="-ELBO, nats", title="the bound on the test set")
    gaps.set(ylabel="nats", title=f"what {k} importance samples add to it", ylim=(0, None))
    for axis in (bounds, gaps):
        axis.set_xlabel("planar maps")
        axis.legend()
    figure.savefig(DOCS / "images" / "vae_planar.png", dpi=110)


if __name__ == "__main__":
    main()
