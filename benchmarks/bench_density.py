"""Held-out likelihood of the builders at their defaults, beside zuko's flows.

    python benchmarks/bench_density.py                           everything
    python benchmarks/bench_density.py --targets wine --only maf   a part

Each result is kept in a folder as soon as it is measured, so that a second call goes on where the
first one stopped.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from density_flows import FLOWS, Density, parameters, seeded
from density_targets import TARGETS, Splits, splits
from harness import RECORDS, write
from torch import Tensor

from pyro_exact.files import write_json
from pyro_exact.provenance import provenance

STEPS, BATCH, RATE = 800, 128, 3e-3
EVERY, PATIENCE = 10, 25  # validate each 10 steps; stop after 250 without progress
CACHE = Path(__file__).resolve().parents[1] / "build" / "density"
WHAT = (
    f"Held-out nats at the defaults of each builder: Adam at {RATE}, cosine decay over {STEPS} steps of {BATCH} rows, "
    f"the best step on validation, a stop after {EVERY * PATIENCE} steps without progress; without iaf, which is maf "
    f"in the other direction"
)
Result = dict[str, Any]


def fit(
    density: Density,
    data: Splits,
    steps: int,
    rate: float,
    seed: int,
    most_seconds: float = math.inf,
) -> Result:
    """Train a flow, and return its nats on the test rows at the best step on validation."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(density.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    best, best_step = nats(density, data.validation).mean().item(), 0
    best_state = copy.deepcopy(density.state_dict())
    seconds, step, waited = 0.0, 0, 0
    while step < steps and waited < PATIENCE and seconds < most_seconds:
        start = time.process_time()
        for _ in range(min(EVERY, steps - step)):
            rows = torch.randint(len(data.train), (BATCH,), generator=generator)
            loss = -density(data.train[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        seconds += time.process_time() - start

        found = nats(density, data.validation).mean().item()
        waited += 1
        if found < best:
            best, best_state, best_step = found, copy.deepcopy(density.state_dict()), step
            waited = 0

    density.load_state_dict(best_state)
    test = nats(density, data.test)
    return {
        "nats": mean if math.isfinite(mean := test.mean().item()) else None,
        "validation": best,
        "best_step": best_step,
        "steps": step,
        "seconds": seconds,
        "parameters": parameters(density),
    }


@torch.no_grad()
def nats(density: Density, x: Tensor) -> Tensor:
    """Return the negative log-density of each row, with dropout and the like switched off."""
    density.eval()
    found = torch.cat([-density(rows) for rows in x.split(1024)])
    density.train()
    return found


def measured(target: str, name: str, seed: int, cache: Path, steps: int, rate: float) -> Result:
    """Return the result of one fit, from the cache if it is there."""
    path = cache / f"{target}-{name}-{seed}.json".replace(" ", "_")
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))

    data = splits(target, seed)
    result = fit(seeded(name, data.train, seed), data, steps, rate, seed)
    write_json({"target": target, "flow": name, "seed": seed, **result}, path)
    return result


def summary(target: str, name: str, results: Sequence[Result]) -> Result:
    """Return the row of a flow on a target: means over the splits, with the standard error of the mean."""
    values = [result["nats"] for result in results]
    finite = None not in values
    return {
        "target": target,
        "flow": name,
        "nats": statistics.fmean(values) if finite else None,
        "standard_error": standard_error(values) if finite else None,
        "splits": values,
        "validation": statistics.fmean(result["validation"] for result in results),
        "milliseconds": 1e3 * sum(r["seconds"] for r in results) / sum(r["steps"] for r in results),
        "seconds": statistics.fmean(result["seconds"] for result in results),
        "parameters": results[0]["parameters"],
    }


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def rows(
    targets: Iterable[str], names: Iterable[str], cache: Path, steps: int, rate: float
) -> Iterator[Result]:
    """Yield a row for each target and flow as soon as it is measured."""
    for target, name in product(targets, names):
        seeds = range(TARGETS[target].repetitions)
        results = [measured(target, name, seed, cache, steps, rate) for seed in seeds]
        yield summary(target, name, results)


def shown(row: Result) -> str:
    """Return a row as a line of text."""
    finite = row["nats"] is not None
    nats = f"{row['nats']:8.3f} ± {row['standard_error']:.3f}" if finite else "not finite"
    return (
        f"  {row['target']:<16} {row['flow']:<26} {nats:<20}  validation {row['validation']:8.3f}"
        f"  {row['milliseconds']:6.2f} ms a step, {row['seconds']:5.1f} s, {row['parameters']:,} parameters"
    )


def options() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--only", nargs="+", choices=FLOWS, default=list(FLOWS), metavar="FLOW")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--cache", type=Path, default=CACHE, help="the folder of the results")
    parser.add_argument(
        "--record", type=Path, nargs="?", const=RECORDS, metavar="FOLDER", help="write the record"
    )
    arguments = parser.parse_args()

    changed = [
        name
        for name in ("targets", "only", "steps", "rate")
        if getattr(arguments, name) != parser.get_default(name)
    ]
    if arguments.record == RECORDS and changed:
        parser.error(f"--record expects a folder beside --{changed[0]}: the page shows the whole")
    return arguments


def main() -> None:
    """Measure and report."""
    arguments = options()
    settings = f"{provenance()['commit']}-{arguments.steps}-{arguments.rate}"
    print(f"density: {WHAT}", flush=True)

    found = []
    for row in rows(
        arguments.targets,
        arguments.only,
        arguments.cache / settings,
        arguments.steps,
        arguments.rate,
    ):
        found.append(row)
        print(shown(row), flush=True)
    if arguments.record:
        write(arguments.record, "density", WHAT, {"densities": found, "rows": [], "ratios": []})


if __name__ == "__main__":
    main()
