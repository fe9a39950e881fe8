"""Write docs/results.md from the records that training and benchmark runs left under docs/results/.

The table pyro_exact/recipes/measured.json, which `pyro-exact recipes NAME` prints, is written too.

    python docs/make_results.py            write the page
    python docs/make_results.py --check    exit with 1 if the page on disk is out of date

All values on the page are read from the records. This script only uses the standard library.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from math import inf
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
TABLE = DOCS.parent / "pyro_exact" / "recipes" / "measured.json"

# A record's keys: a type or a tuple of types for a value, a dict for a table, a list for a list of tables.
NUMBER, MAYBE = (int, float), (int, float, type(None))
PAPER = {"reference": str, "value": MAYBE, "unit": str, "budget": str}
RUN = {
    "recipe": str,
    "model": str,
    "paper": (dict, type(None)),
    "commit": str,
    "seed": int,
    "data": {"name": str, "split": str, "images": int},
    "hardware": str,
    "torch": str,
    "steps": int,
    "seconds": NUMBER,
    "clock": str,
    "parameters": int,
    "metric": {"unit": str, "value": NUMBER, "standard_error": MAYBE, "bound": str, "k": int},
    "ema": bool,
    "date": str,
}
BENCHMARK = {
    "benchmark": str,
    "what": str,
    "hardware": str,
    "torch": str,
    "commit": str,
    "rows": [{"name": str, "milliseconds": MAYBE, "peak_megabytes": MAYBE}],
    "ratios": [{"what": str, "value": NUMBER, "bar": str}],
    "date": str,
}
# A benchmark that compares contenders in many settings has cells: a row for each group and size, the first cell ours.
CELLS = [{"group": str, "size": str, "name": str, "milliseconds": NUMBER, "parameters": int}]

# A benchmark of guides has their ELBOs, each beside the log-evidence of its problem.
ELBOS = [
    {
        "group": str,
        "name": str,
        "value": MAYBE,
        "standard_error": MAYBE,
        "evidence": NUMBER,
        "cpu_seconds": NUMBER,
        "parameters": int,
    }
]

# The benchmark of held-out likelihood has densities: a row for each target and flow.
DENSITIES = [
    {
        "target": str,
        "flow": str,
        "nats": MAYBE,
        "standard_error": MAYBE,
        "splits": [MAYBE],
        "milliseconds": NUMBER,
        "parameters": int,
    }
]
PEER = "zuko "  # the names of zuko's flows begin with it
PAIRS = {"maf": "zuko MAF", "nsf": "zuko NSF", "spline_coupling": "zuko NSF, couplings"}

EXAMPLE = {
    "example": str,
    "what": str,
    "rows": [{"target": str, "flow": str, "value": NUMBER, "standard_error": MAYBE}],
    "steps": int,
    "samples": int,
    "seed": int,
    "cpu_seconds": NUMBER,
    "hardware": str,
    "torch": str,
    "commit": str,
    "date": str,
}

HEAD = """\
<!-- Written by docs/make_results.py from the records in docs/results/. Do not edit: run `make results`. -->

# Results

This page lists the results of training runs, examples and benchmarks. All values are read from
records, which are written by the code that made the run. The last column links to the record.

- Bits per dimension and nats are means over all images of the split, with the standard error of the
  mean. Lower is better.
- Each row shows the best record of a model. The other records have links with their values.
- `exact` means the likelihood itself. `elbo` and `importance-weighted` are bounds, using k samples
  for each image: the exact value is lower.
- Times `of computing` are CPU times of the training thread. All other times are wall times.
"""


class RecordError(ValueError):
    """A record that does not fit the schema; the message has the file and the key."""


def check(value: Any, schema: Any, where: str) -> None:
    """Raise a RecordError when a value does not have the keys and types of the schema."""
    if isinstance(schema, dict):
        check(value, dict, where)
        for key, inner in schema.items():
            if key not in value:
                raise RecordError(f"{where}: missing key {key!r}.")
            check(value[key], inner, f"{where}: {key}")
    elif isinstance(schema, list):
        check(value, list, where)
        for i, item in enumerate(value):
            check(item, schema[0], f"{where}[{i}]")
    else:
        kinds = schema if isinstance(schema, tuple) else (schema,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise RecordError(f"{where}: expected {names}, got {value!r}.")


def read(folder: Path, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """All records of a folder, sorted by file name, each with the key `file`."""
    records = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecordError(f"{path}: not JSON ({error}).") from None
        check(record, schema, str(path))
        if record.get("paper"):
            check(record["paper"], PAPER, f"{path}: paper")
        if "cells" in record:
            check(record["cells"], CELLS, f"{path}: cells")
        if "elbos" in record:
            check(record["elbos"], ELBOS, f"{path}: elbos")
        if "densities" in record:
            check(record["densities"], DENSITIES, f"{path}: densities")
        records.append(record | {"file": path.name})
    return records


def cell(text: object) -> str:
    """Text escaped for a cell of a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split())


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(text) for text in line)} |" for line in lines) + "\n"


def duration(seconds: float) -> str:
    """A time in a readable unit, for example 45 s, 20 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def digits(unit: str) -> int:
    """Decimals to show: three for bits/dim, two for nats."""
    return 3 if unit == "bits/dim" else 2


def ours(metric: dict[str, Any], ema: bool) -> str:
    """The measured value with the standard error and the type of measurement."""
    n = digits(metric["unit"])
    error = "" if metric["standard_error"] is None else f" ± {metric['standard_error']:.{n}f}"
    number = f"**{metric['value']:.{n}f}**{error} {metric['unit']}"
    k = "" if metric["bound"] == "exact" else f", k = {metric['k']:,}"
    return f"{number} ({metric['bound']}{k}{', EMA' if ema else ''})"


def split(data: dict[str, Any]) -> str:
    """The split, the size, and the optional remark of the record."""
    note = f"; {data['note']}" if data.get("note") else ""
    return f"{data['split']}, {data['images']:,} images{note}"


def commit(record: dict[str, Any]) -> str:
    """The short commit, and whether the tree had uncommitted changes."""
    return f"`{record['commit'][:8]}{'-dirty' if record['commit'].endswith('-dirty') else ''}`"


def link(record: dict[str, Any], folder: str) -> str:
    """The record's file."""
    return f"[{record['file']}]({folder}/{record['file']})"


RUN_HEAD = ["model", "paper", "measured", "time", "parameters", "record"]
FRONT_HEAD = ["model", "data", "paper", "ours", "time of one CPU core"]

# The recipes in the table of README.md; each shows its best record.
FRONT = [
    "nade_mnist",
    "made_mnist",
    "deep_nade_mnist",
    "pixel_cnn_mnist_small",
    "row_lstm_mnist_small",
    "diagonal_bilstm_mnist_small",
    "gated_pixel_cnn_mnist_small",
    "pixel_cnn_pp_cifar10_small",
    "glow_cifar10_small",
    "iaf_vae_cifar10_small",
]
FRONT_MARKS = "<!-- from the records, by docs/make_results.py -->\n", "<!-- end -->\n"


def noise(record: dict[str, Any]) -> str:
    """The type of dequantisation of a run, if any."""
    settings = record.get("settings", {})
    if "noise" not in settings:
        return ""
    return ", uniform noise" if settings["noise"] is None else ", variational noise"


def time_of(record: dict[str, Any]) -> str:
    """The time of a run, and whether it is time of computing or wall time."""
    return duration(record["seconds"]) + (" of computing" if record["clock"] == "computing" else "")


def model(record: dict[str, Any]) -> str:
    """The recipe, and the library where it is not ours."""
    peer = f", **peer: {record['peer']}**" if record.get("peer") else ""
    return f"`{record['recipe']}`{noise(record)}{peer}"


def value_of(reference: dict[str, Any] | None) -> str:
    """The value in the paper."""
    if reference is None or reference["value"] is None:
        return "none"
    return f"{reference['value']:g} {reference['unit']}"


def run_row(records: Sequence[dict[str, Any]]) -> list[str]:
    """The row of a model, in the order of RUN_HEAD: the best record, and links to the others."""
    best, *others = sorted(records, key=lambda record: float(record["metric"]["value"]))

    def other(record: dict[str, Any]) -> str:
        metric = record["metric"]
        value = f"{metric['value']:.{digits(metric['unit'])}f}"
        k = "" if metric["k"] == 1 else f", k = {metric['k']:,}"
        return f"[{value} ({metric['bound']}{k}, {time_of(record)})](results/{record['file']})"

    return [
        model(best),
        value_of(best["paper"]),
        f"{ours(best['metric'], best['ema'])}, {split(best['data'])}",
        f"{time_of(best)}, {best['steps']:,} steps",
        f"{best['parameters']:,}",
        "; ".join([f"{link(best, 'results')}, {commit(best)}", *map(other, others)]),
    ]


def references(records: Sequence[dict[str, Any]]) -> str:
    """A line for each paper, with the recipes that have the settings of the paper."""
    found: dict[str, list[str]] = {}
    for record in records:
        if record["paper"]:
            source = f"{record['paper']['reference']} ({record['paper']['budget']})"
            if model(record) not in found.setdefault(source, []):
                found[source].append(model(record))
    return "".join(f"- {', '.join(names)}: {source}\n" for source, names in found.items())


def runs(records: list[dict[str, Any]]) -> str:
    """A section for each data set, our runs first, with a row for each model."""

    def data_set(record: dict[str, Any]) -> str:
        return str(record["data"]["name"])

    records = sorted(records, key=lambda r: (data_set(r), bool(r.get("peer")), model(r), r["file"]))
    sections = []
    for name, group in groupby(records, data_set):
        own = [*group]
        rows = [run_row([*same]) for _, same in groupby(own, model)]
        sections.append(f"## {name}\n\n{table(RUN_HEAD, rows)}")
        if cited := references(own):
            sections.append(f"The papers:\n\n{cited}")
    return "\n".join(sections) or "No run is recorded yet.\n"


def front(records: list[dict[str, Any]]) -> str:
    """The table of README.md: the best record of each recipe in FRONT."""
    rows = []
    for recipe in FRONT:
        found = [r for r in records if r["recipe"] == recipe and not r.get("peer")]
        if not found:
            continue
        best = min(found, key=lambda record: float(record["metric"]["value"]))
        metric = best["metric"]
        value = f"{metric['value']:.{digits(metric['unit'])}f} {metric['unit']}"
        rows.append(
            [
                f"`{recipe}`",
                best["data"]["name"],
                value_of(best["paper"]),
                f"[{value}](docs/results/{best['file']})",
                duration(best["seconds"]),
            ]
        )
    return table(FRONT_HEAD, rows)


def readme(text: str, records: list[dict[str, Any]]) -> str:
    """The text of README.md with the table between the marks."""
    begin, end = FRONT_MARKS
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{front(records)}\n{end}{after}"


def benchmark(record: dict[str, Any]) -> str:
    """The section of a benchmark: rows, then ratios with the required bounds."""

    def measured(value: float | None, places: int) -> str:
        return "" if value is None else f"{value:,.{places}f}"

    rows = [
        (r["name"], measured(r["milliseconds"], 2), measured(r["peak_megabytes"], 0))
        for r in record["rows"]
    ]
    ratios = [(r["what"], f"**{r['value']:.2f}**", r["bar"]) for r in record["ratios"]]
    source = (
        f"{record['hardware']}, torch {record['torch']}, commit {commit(record)}, {record['date']}"
    )
    parts = [f"### {record['benchmark']}", f"{record['what']}."]
    if rows:
        parts.append(table(["", "ms", "peak MB"], rows).rstrip())
    if ratios:
        parts.append(table(["ratio", "measured", "bar"], ratios).rstrip())
    if record.get("cells"):
        parts += [RATIOS, beside(record["cells"]).rstrip()]
    if record.get("elbos"):
        parts.append(guides(record["elbos"]).rstrip())
    if record.get("densities"):
        parts += densities(record["densities"])
    return "\n\n".join([*parts, f"{source}; {link(record, 'results/benchmarks')}"]) + "\n"


RATIOS = """\
`ms` is our time. The columns of other libraries show their time divided by our time: above 1, ours
is faster. When a library does not allow a network of the same size, the parameter count is given in
brackets."""


def beside(cells: list[dict[str, Any]]) -> str:
    """A row for each group and size: our time and size, then a ratio for each other library."""
    others = list(dict.fromkeys(cell["name"] for cell in cells if cell["name"] != "ours"))

    def row(group: str, size: str, found: dict[str, dict[str, Any]]) -> list[str]:
        mine = found["ours"]

        def ratio(name: str) -> str:
            if name not in found:
                return ""
            other = found[name]
            unequal = other["parameters"] != mine["parameters"]
            count = f" ({other['parameters']:,})" if unequal else ""
            return f"{other['milliseconds'] / mine['milliseconds']:.2f}{count}"

        return [
            group,
            size,
            f"{mine['milliseconds']:.3g}",
            *map(ratio, others),
            f"{mine['parameters']:,}",
        ]

    def place(cell: dict[str, Any]) -> tuple[str, str]:
        return cell["group"], cell["size"]

    rows = [
        row(*key, {cell["name"]: cell for cell in group}) for key, group in groupby(cells, place)
    ]
    return table(["", "size", "ms", *others, "parameters"], rows)


def guides(elbos: list[dict[str, Any]]) -> str:
    """A row for each guide: the ELBO on each problem and the CPU time, below the log-evidence."""
    problems = list(dict.fromkeys(elbo["group"] for elbo in elbos))
    evidence = {elbo["group"]: elbo["evidence"] for elbo in elbos}
    found = {(elbo["name"], elbo["group"]): elbo for elbo in elbos}

    def nats(elbo: dict[str, Any]) -> str:
        if elbo["value"] is None:
            return "not finite"
        error = elbo["standard_error"]
        return f"{elbo['value']:.2f}" + ("" if error is None else f" ± {error:.2f}")

    def row(name: str) -> list[str]:
        own = [found[name, problem] for problem in problems]
        seconds = sum(elbo["cpu_seconds"] for elbo in own) / len(own)
        return [name, *map(nats, own), f"{seconds:.1f}"]

    names = dict.fromkeys(elbo["name"] for elbo in elbos)
    bound = ["log-evidence", *(f"{evidence[problem]:.2f}" for problem in problems), ""]
    return table(["", *problems, "CPU s"], [bound, *map(row, names)])


LIKELIHOODS = """\
This table shows the negative log-likelihood of a held-out row in nats, in units of the standardised
training rows; lower is better. Each value is the mean over random splits, or over seeds, with the
standard error of this mean. In each column the best flow is bold, and also every flow whose paired
difference from the best flow is within a standard error. `ms` is the time of a training step on a
CPU core, as the median over the targets."""
DIFFERENCES = """\
This table shows the differences of our flows from zuko's, paired by split, with the standard error
of the mean difference. Below zero, ours is better."""


def densities(rows: list[dict[str, Any]]) -> list[str]:
    """The parts of the section of held-out likelihoods: the advice, the likelihoods and the differences."""
    found = {(row["target"], row["flow"]): row for row in rows}
    targets, flows = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    ranks = {flow: mean_rank(found, flow, targets, flows) for flow in flows}
    flows.sort(key=lambda flow: (flow.startswith(PEER), ranks[flow]))

    def row(flow: str) -> list[str]:
        times = [found[target, flow]["milliseconds"] for target in targets]
        cells = [likelihood(found, target, flow, flows) for target in targets]
        return [flow, *cells, f"{ranks[flow]:.1f}", f"{median(times):.1f}"]

    return [
        advice(ranks),
        LIKELIHOODS,
        table(["flow", *targets, "mean rank", "ms"], map(row, flows)).rstrip(),
        DIFFERENCES,
        differences(found, targets, flows).rstrip(),
    ]


def advice(ranks: dict[str, float]) -> str:
    """Advice on the first flow to use: our two flows with the best mean rank over the targets."""
    first, second, *_ = sorted((f for f in ranks if not f.startswith(PEER)), key=ranks.__getitem__)
    return (
        f"Use `{first}` first: the mean rank over all targets is {ranks[first]:.1f} of {len(ranks)} "
        f"flows. The second is `{second}`, with {ranks[second]:.1f}. When you need samples, note that "
        f"`maf` and `nsf` take a step for each dimension; couplings and `nice` take a single pass."
    )


def mean_rank(
    found: dict[tuple[str, str], dict[str, Any]],
    flow: str,
    targets: Sequence[str],
    flows: Sequence[str],
) -> float:
    """The rank of a flow by its mean nats, 1 for the best, averaged over the targets."""
    better = [
        sum(nats(found[target, other]) < nats(found[target, flow]) for other in flows)
        for target in targets
    ]
    return 1 + sum(better) / len(targets)


def nats(row: dict[str, Any]) -> float:
    """The mean of a row, or infinity when it is not finite."""
    return inf if row["nats"] is None else float(row["nats"])


def likelihood(
    found: dict[tuple[str, str], dict[str, Any]], target: str, flow: str, flows: Sequence[str]
) -> str:
    """A cell: mean and standard error, bold if no flow is better by more than a standard error."""
    row = found[target, flow]
    if row["nats"] is None:
        return "not finite"

    best = min((found[target, other] for other in flows), key=nats)
    mean, error = difference(row, best)
    text = f"{row['nats']:.2f} ± {row['standard_error']:.2f}"
    return f"**{text}**" if mean <= error else text


def difference(row: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """The mean difference of two flows over the same splits, and its standard error."""
    pairs = zip(row["splits"], other["splits"], strict=True)
    values = [a - b for a, b in pairs if a is not None and b is not None]
    if len(values) < 2:
        return (nats(row) - nats(other) if row is not other else 0.0), 0.0
    return fmean(values), stdev(values) / len(values) ** 0.5


def differences(
    found: dict[tuple[str, str], dict[str, Any]], targets: Sequence[str], flows: Sequence[str]
) -> str:
    """A row for each target: the best flows, and each flow against the corresponding flow."""

    def best(target: str, peer: bool) -> dict[str, Any]:
        return min((found[target, f] for f in flows if f.startswith(PEER) == peer), key=nats)

    def shown(mine: dict[str, Any], other: dict[str, Any]) -> str:
        mean, error = difference(mine, other)
        return f"{mean:+.2f} ± {error:.2f}"

    pairs = {mine: peer for mine, peer in PAIRS.items() if mine in flows and peer in flows}
    rows = []
    for target in targets:
        mine, peer = best(target, False), best(target, True)
        cells = [shown(found[target, a], found[target, b]) for a, b in pairs.items()]
        rows.append([target, f"{shown(mine, peer)} ({mine['flow']}, {peer['flow']})", *cells])

    return table(["", "best of each", *(f"{a} - {b}" for a, b in pairs.items())], rows)


def example(record: dict[str, Any]) -> str:
    """The section of an example: a row for each target, a column for each flow."""
    cells = {}
    for row in record["rows"]:
        error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.1g}"
        cells[row["target"], row["flow"]] = f"{row['value']:.3f}{error}"
    targets, flows = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    rows = [(target, *(cells.get((target, flow), "") for flow in flows)) for target in targets]
    run = f"{record['steps']:,} steps a fit, {record['samples']:,} samples, seed {record['seed']}"
    place = f"{duration(record['cpu_seconds'])} of {record['hardware']}, torch {record['torch']}"
    source = f"{run}; {place}, commit {commit(record)}, {record['date']}; {link(record, 'results/examples')}"
    parts = [
        f"### {record['example']}",
        f"{record['what']}.",
        table(["", *flows], rows).rstrip(),
        source,
    ]
    return "\n\n".join(parts) + "\n"


def measured(folder: Path) -> str:
    """The table of runs that ships with the package, for `pyro-exact recipes NAME`, as JSON.

    It has our runs of each recipe; where a recipe was scored several times, the tightest bound.
    """
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for record in read(folder, RUN):
        if record.get("peer"):
            continue
        metric, data = record["metric"], record["data"]
        key = f"{data['name']}{noise(record)}, {record['steps']} steps"
        row = {
            "value": round(metric["value"], digits(metric["unit"])),
            "unit": metric["unit"],
            "bound": metric["bound"],
            "data": f"{data['images']:,} {data['split']} images of {data['name']}{noise(record)}",
            "steps": record["steps"],
            "seconds": round(record["seconds"]),
            "hardware": record["hardware"],
            "parameters": record["parameters"],
        }
        best = table.setdefault(record["recipe"], {}).get(key)
        if best is None or row["value"] < best["value"]:
            table[record["recipe"]][key] = row

    rows = {recipe: [*found.values()] for recipe, found in sorted(table.items())}
    return json.dumps(rows, indent=1) + "\n"


def page(folder: Path) -> str:
    """The whole page for the records of a folder."""
    benchmarks = [benchmark(record) for record in read(folder / "benchmarks", BENCHMARK)]
    examples = [example(record) for record in read(folder / "examples", EXAMPLE)]
    sections = [HEAD, runs(read(folder, RUN))]
    if examples:
        sections += ["## Examples\n", *examples]
    if benchmarks:
        sections += ["## Benchmarks\n", *benchmarks]
    return "\n".join(sections)


def main(arguments: Sequence[str] | None = None, docs: Path = DOCS) -> None:
    """Write or check the page and the table of the package; exits with a message when a record or the page is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit with 1 if the page is out of date"
    )
    check_only = parser.parse_args(arguments).check
    table = TABLE if docs == DOCS else docs / TABLE.name
    try:
        texts = {docs / "results.md": page(docs / "results"), table: measured(docs / "results")}
        if docs == DOCS:
            text = README.read_text(encoding="utf-8")
            texts[README] = readme(text, read(docs / "results", RUN))
    except RecordError as error:
        sys.exit(str(error))

    for target, text in texts.items():
        if not check_only:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit(
                f"{target.name} is not what its records say. Run `make results` and commit it."
            )


if __name__ == "__main__":
    main()
