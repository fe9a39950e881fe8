"""Write docs/how_large.md from the records under docs/results/.

    python docs/make_how_large.py            write the page
    python docs/make_how_large.py --check    exit with 1 if the page on disk is out of date

All values in the tables are read from the records. This script only uses the standard library.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "how_large.md"

HEAD = """\
<!-- Written by docs/make_how_large.py from the records in docs/results/. Do not edit: run `make results`. -->

# How large, how long

This page shows which sizes work for which data and which budget, on a single core of a CPU. All
values in the tables are from records of our runs; the [results](results.md) have the details of
each. Read a row as a starting point, and not as an optimum: no row is the result of a search.

Before you train, let the library measure your own case. `pyro-exact recipes NAME` shows the
runs of a recipe, and `pyro-exact new my_recipe --like NAME --data DATA` fits a recipe to your data.
"""

RULES = """
## Rules of thumb

- **Begin with the defaults of a builder.** They are the sizes of the tables of vectors below.
- **Few rows, few weights.** With a few hundred rows the steps matter more than the size:
  stop early on validation (`Training(patience=...)`), and keep the best checkpoint. Small flows
  such as `planar` and `sylvester` can be as good as large ones there.
- **Double a single size at a time.** Layers first, then the width, and compare the validation loss at
  equal *time*, not at equal steps.
- **A decaying learning rate uses the whole budget.** The recipes for a CPU use a cosine decay to
  zero at the end of the budget, so that a run of 6 minutes and a run of an hour have different
  curves. Choose the budget before, by `training.minutes` or `training.steps`.
- **Images: a larger batch rarely helps on a CPU.** The recipes use batches of 16 to 100 images.
- **Sampling cost differs.** Couplings sample in a single pass. Autoregressive flows take a step for
  each dimension, and networks of pixels a step for each element.
"""

VECTORS = """
## Vectors: tables of a few hundred to a few thousand rows

For each data set, the four flows with the lowest held-out negative log-likelihood in nats a row, at
the defaults of the builders. The time is that of at most 800 steps of 128 rows, stopped when
validation makes no progress.
"""

IMAGES = """
## Images: what a budget buys

The best recorded run of each data set within a budget of training time. Values are upper bounds for
models whose likelihood is bounded; some scores use a part of the test images, see the records.
"""

GUIDES = """
## Guides: the ELBO for the time

`AutoNormalizingFlow` with each flow at its defaults, after 1,000 steps of 16 particles, beside
guides without a flow; higher is better.
"""

# Training rows and columns of the data sets of vectors: 64 % of the rows of each table.
SIZES = {
    "wine": (114, 13),
    "diabetes": (283, 10),
    "breast cancer": (364, 30),
    "digits": (1150, 64),
    "housing": (5376, 8),
}
BUDGETS = (5, 10, 20, 60, 120)  # minutes
SLACK = 1.05  # a budget ends after the step in which it is used
BEST = 4
CORE = "1 CPU threads"  # the hardware of the runs that are compared


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines) + "\n"


def duration(seconds: float) -> str:
    """A time in a readable unit."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def vectors(record: dict[str, Any]) -> str:
    """The best flows of each table of vectors, ours alone."""
    rows = []
    for target, (count, columns) in SIZES.items():
        found = [
            row
            for row in record["densities"]
            if row["target"] == target and row["nats"] is not None and "zuko" not in row["flow"]
        ]
        for row in sorted(found, key=lambda row: row["nats"])[:BEST]:
            error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2f}"
            rows.append(
                (
                    f"{target}, {count:,} x {columns}",
                    f"`{row['flow']}`",
                    f"{row['nats']:.2f}{error}",
                    f"{row['parameters']:,}",
                    f"{row['milliseconds']:.1f}",
                    duration(row["seconds"]),
                )
            )
    return table(["training rows", "flow", "nats", "parameters", "ms a step", "time"], rows)


def images(records: list[dict[str, Any]]) -> str:
    """The best run of each data set of images within each budget."""
    sets = sorted({record["data"]["name"] for record in records if not is_table(record)})
    rows = []
    for name in sets:
        shown = None
        for budget in BUDGETS:
            within = [
                record
                for record in records
                if record["data"]["name"] == name and record["seconds"] <= 60 * SLACK * budget
            ]
            if not within:
                continue
            best = min(within, key=lambda record: record["metric"]["value"])
            if best is shown:
                continue
            shown = best
            rows.append(image_row(name, budget, best))
    head = ["data", "budget", "recipe", "score", "parameters", "steps", "time"]
    return table(head, rows)


def is_table(record: dict[str, Any]) -> bool:
    """Whether a run is of binary vectors, which are no images."""
    return "debd" in record["recipe"]


def image_row(name: str, budget: int, record: dict[str, Any]) -> tuple[str, ...]:
    """The row of a run."""
    metric = record["metric"]
    places = 3 if metric["unit"] == "bits/dim" else 2
    return (
        name,
        f"{budget} min",
        f"`{record['recipe']}`",
        f"{metric['value']:.{places}f} {metric['unit']} ({metric['bound']})",
        f"{record['parameters']:,}",
        f"{record['steps']:,}",
        duration(record["seconds"]),
    )


def guides(record: dict[str, Any]) -> str:
    """The ELBO of each guide of this library, and of those without a flow."""
    elbos = [
        elbo
        for elbo in record["elbos"]
        if elbo["name"].startswith("Auto") or not elbo["name"].startswith(("Pyro", "zuko"))
    ]
    problems = list(dict.fromkeys(elbo["group"] for elbo in elbos))
    names = list(dict.fromkeys(elbo["name"] for elbo in elbos))
    found = {(elbo["name"], elbo["group"]): elbo for elbo in elbos}

    rows = []
    for name in names:
        own = [found[name, problem] for problem in problems]
        seconds = sum(elbo["cpu_seconds"] for elbo in own) / len(own)
        values = ("not finite" if e["value"] is None else f"{e['value']:.2f}" for e in own)
        rows.append((f"`{name}`", *values, f"{own[0]['parameters']:,}", f"{seconds:.0f} s"))
    return table(["guide", *problems, "parameters", "time"], rows)


def page(folder: Path) -> str:
    """The whole page for the records of a folder."""

    def read(path: Path) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    runs = [read(path) for path in sorted(folder.glob("*.json"))]
    ours = [run for run in runs if not run.get("peer") and run["hardware"].startswith(CORE)]
    benchmarks = folder / "benchmarks"
    return "".join(
        (
            HEAD,
            RULES,
            f"{VECTORS}\n",
            vectors(read(benchmarks / "density-cpu.json")),
            f"{IMAGES}\n",
            images(ours),
            f"{GUIDES}\n",
            guides(read(benchmarks / "guide_elbo-cpu.json")),
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit with 1 if the page is out of date"
    )
    text = page(DOCS / "results")
    if not parser.parse_args(arguments).check:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.name} is not what its records say. Run `make results` and commit it.")


if __name__ == "__main__":
    main()
