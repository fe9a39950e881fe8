"""Draw the validation curves of the records under docs/results/ as docs/images/curves_FAMILY.png.

python docs/make_curves.py
"""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

DOCS = Path(__file__).resolve().parent
FAMILIES = {
    "vectors": ("nade", "made", "deep_nade", "conv_nade"),
    "pixels": (
        "pixel_cnn",
        "gated_pixel_cnn",
        "pixel_cnn_pp",
        "row_lstm",
        "diagonal_bilstm",
        "image_transformer",
        "pixel_snail",
        "multiscale_pixel_cnn",
    ),
    "flows": ("real_nvp", "glow", "flow_pp", "nice", "tarflow"),
    "vaes": (
        "dense_vae",
        "conv_vae",
        "iaf_vae",
        "pixel_vae",
        "hierarchical_pixel_vae",
        "conv_draw",
    ),
}
SHOWN = 1.05  # times the highest loss at the end of a run: higher losses are cut off
MOST_LINES = 8  # in a panel; colours repeat after ten


def curves(models: Sequence[str]) -> list[dict[str, Any]]:
    """The records of these models that have a curve, sorted by data set and recipe."""
    records = [
        json.loads(path.read_text()) | {"file": path.stem}
        for path in (DOCS / "results").glob("*.json")
    ]
    runs = (
        r
        for r in records
        if r.get("model") in models and len(r.get("valid", [])) > 1 and r["metric"]["k"] == 1
    )  # more samples score the same run again
    return sorted(runs, key=lambda r: (r["data"]["name"], r["file"]))


def panels(records: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The title and the records of each panel: a data set, cut where there are too many lines."""
    found = []
    for data, group in groupby(records, key=lambda r: r["data"]["name"]):
        own = [*group]
        found += [(data, own[i : i + MOST_LINES]) for i in range(0, len(own), MOST_LINES)]
    return found


def draw(axis: Any, title: str, records: Sequence[dict[str, Any]]) -> None:
    """Draw the curves of some runs, over the time of computing."""
    for record in records:
        minutes, losses = zip(
            *((seconds / 60, loss) for _, seconds, loss in record["valid"]), strict=True
        )
        axis.plot(minutes, losses, marker=".", lw=1, label=record["file"])

    lowest = min(loss for record in records for *_, loss in record["valid"])
    ends = [record["valid"][-1][2] for record in records]
    axis.set(title=title, xlabel="minutes", ylabel=records[0]["metric"]["unit"], xscale="log")
    axis.set_ylim(0.98 * lowest, SHOWN * max(ends))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


def main() -> None:
    """Draw a figure for each family, with a panel for each data set."""
    for family, models in FAMILIES.items():
        shown = panels(curves(models))
        figure = Figure(figsize=(8.5, 3.2 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), squeeze=False).flat
        for axis, (title, records) in zip(axes, shown, strict=True):
            draw(axis, title, records)
        figure.savefig(DOCS / "images" / f"curves_{family}.png", dpi=100)


if __name__ == "__main__":
    main()
