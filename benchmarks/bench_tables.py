"""Held-out likelihood of the recipes of tables by `train.fit`, beside zuko's flows in the same time.

    python benchmarks/bench_tables.py                              everything
    python benchmarks/bench_tables.py --targets wine --only maf    a part

The splits and zuko's flows are those of bench_density.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_density import Result, shown, summary
from bench_density import fit as fit_peer
from density_flows import seeded
from density_targets import Splits, splits
from harness import RECORDS, write

from pyro_exact.data import ArrayDataset
from pyro_exact.recipes import load_recipe
from pyro_exact.train import evaluate, fit, load_model

TARGETS = ("wine", "diabetes", "breast cancer", "housing")
PEERS = {"maf": "zuko MAF", "nsf": "zuko NSF"}
SEEDS = 2
RATE = 3e-3  # of the peers, as in bench_density
WHAT = (
    "Held-out nats of the recipes of tables, trained by fit with their own settings (best.ckpt), and of zuko's flows "
    f"(Adam at {RATE}, cosine decay over the steps of the recipe, the best step on validation) in at most the same "
    "computing time; the same random splits"
)


def ours(name: str, data: Splits, seed: int) -> Result:
    """Train a recipe; return the nats on the test rows of the best checkpoint."""
    dataset = ArrayDataset("rows", data.train, data.validation, data.test)
    recipe = load_recipe(name)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        run = fit(recipe, dataset, out=folder, seed=seed, progress=False, device="cpu")
        seconds = time.process_time() - start
        best, record = load_model(run.best)
    return {
        "nats": evaluate(best, data.test).nats,
        "validation": record.validation_loss(record.step),
        "best_step": record.step,
        "steps": run.record.step,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in best.parameters() if p.requires_grad),
    }


def measured(target: str, names: list[str], seed: int) -> Iterator[tuple[str, Result]]:
    """Yield the result of each recipe on a split, each followed by the peer in the same time."""
    data = splits(target, seed)
    for name in names:
        mine = ours(name, data, seed)
        yield name, mine
        if name in PEERS:
            peer = seeded(PEERS[name], data.train, seed)
            steps = load_recipe(name).training.steps
            yield PEERS[name], fit_peer(peer, data, steps, RATE, seed, mine["seconds"])


def options() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(description=WHAT)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--only", nargs="+", default=["maf", "nsf", "mixture"], metavar="RECIPE")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--record", type=Path, nargs="?", const=RECORDS, metavar="FOLDER", help="write the record"
    )
    arguments = parser.parse_args()

    changed = [
        name
        for name in ("targets", "only", "seeds")
        if getattr(arguments, name) != parser.get_default(name)
    ]
    if arguments.record == RECORDS and changed:
        parser.error(f"--record expects a folder beside --{changed[0]}: the page shows the whole")
    return arguments


def main() -> None:
    """Measure and report."""
    arguments = options()
    print(f"tables: {WHAT}", flush=True)

    rows: list[dict[str, Any]] = []
    for target in arguments.targets:
        found: dict[str, list[Result]] = {}
        for seed in range(arguments.seeds):
            for name, result in measured(target, arguments.only, seed):
                found.setdefault(name, []).append(result)
        for name, results in found.items():
            rows.append(summary(target, name, results))
            print(shown(rows[-1]), flush=True)

    if arguments.record:
        write(arguments.record, "tables", WHAT, {"densities": rows, "rows": [], "ratios": []})


if __name__ == "__main__":
    main()
