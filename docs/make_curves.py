"""Draw the validation curves of the records under docs/results/ as docs/images/curves.png.

python docs/make_curves.py
"""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

DOCS = Path(__file__).resolve().parent
SHOWN = 1.05  # times the highest loss at the end of a run: higher losses are cut off


def curves() -> list[dict[str, Any]]:
    """The records with a curve, sorted by data set and recipe."""
    records = [
        json.loads(path.read_text()) | {"file": path.stem}
        for path in (DOCS / "results").glob("*.json")
    ]
    runs = (
        r for r in records if len(r.get("valid", [])) > 1 and r["metric"]["k"] == 1
    )  # more samples score them again
    return sorted(runs, key=lambda r: (r["data"]["name"], r["file"]))


def main() -> None:
    """Draw a panel for each data set."""
    panels = {
        data: list(group) for data, group in groupby(curves(), key=lambda r: r["data"]["name"])
    }
    figure = Figure(figsize=(8, 4.2 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False).flat
    for axis, (data, records) in zip(axes, panels.items(), strict=True):
        for number, record in enumerate(records):
            minutes, losses = zip(
                *((seconds / 60, loss) for _, seconds, loss in record["valid"]), strict=True
            )
            style = {"color": f"C{number % 10}", "ls": ("-", "--", ":")[number // 10 % 3]}
            axis.plot(minutes, losses, marker=".", lw=1, label=record["file"], **style)
        ends = [record["valid"][-1][2] for record in records]
        axis.set(title=data, xlabel="minutes", ylabel=record["metric"]["unit"], xscale="log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(
            0.98 * min(loss for record in records for *_, loss in record["valid"]),
            SHOWN * max(ends),
        )
        axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(DOCS / "images" / "curves.png", dpi=110)


if __name__ == "__main__":
    main()
