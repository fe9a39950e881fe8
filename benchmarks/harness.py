"""Tools of all benchmarks: time contenders in turn in one process, measure peak memory, write the record."""

from __future__ import annotations

import argparse
import ctypes
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from pyro_exact.files import write_json
from pyro_exact.provenance import hardware, provenance

RECORDS = Path(__file__).resolve().parents[1] / "docs" / "results" / "benchmarks"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TURN = 0.03  # seconds
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# On a CPU: the time of one thread that always computes, which on a busy machine is not the time
# that passes.
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
torch.set_num_threads(1)
if sys.platform == "linux":
    # Keep the memory of large tensors. The C library gives back what is above 32 MB, and takes it
    # again page by page, which can be three quarters of the time of a call.
    for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        ctypes.CDLL(None).mallopt(option, 2**30)


def alternate(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3
) -> dict[str, float]:
    """Return the median time of each contender's call in milliseconds.

    They take turns, so that a busy machine is fair to all, in an order drawn anew each round: what
    a call leaves in the caches can cost its successor 2 %. A short call is repeated in its turn, as
    in a training loop.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    calls = dict.fromkeys(contenders, 1)
    for i in range(warmup + rounds):
        for name, run in random.sample(list(contenders.items()), len(contenders)):
            synchronize()
            start = CLOCK()
            for _ in range(calls[name]):
                run()
            synchronize()
            seconds = (CLOCK() - start) / calls[name]
            if i < warmup:
                calls[name] = max(1, round(TURN / seconds))
            else:
                times[name].append(1e3 * seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_megabytes(run: Callable[[], object]) -> float:
    """Return the largest amount of tensor memory that one call holds at once beyond what it finds, in MB (10^6)."""
    run()
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [
        event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def parser(what: str) -> argparse.ArgumentParser:
    """Return the options that all benchmarks share."""
    options = argparse.ArgumentParser(description=what)
    options.add_argument(
        "--record",
        type=Path,
        nargs="?",
        const=RECORDS,
        metavar="FOLDER",
        help="write the record; without a folder, to where docs/results.md shows it",
    )
    return options


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the arguments, or refuse to replace the record that is shown by one of a part."""
    arguments = options.parse_args()
    given = [
        name
        for name, value in vars(arguments).items()
        if name != "record" and value != options.get_default(name)
    ]
    if arguments.record == RECORDS and given:
        options.error(
            f"--record expects a folder beside --{given[0]}: the record that is shown is one of the whole"
        )
    return arguments


def report(
    benchmark: str,
    what: str,
    milliseconds: Mapping[str, float],
    peaks: Mapping[str, float],
    ratios: list[dict[str, Any]],
) -> None:
    """Print the rows and the ratios; with ``--record``, write them to docs/results/benchmarks."""
    folder = parser(what).parse_args().record
    print(f"{benchmark}: {what}\n  on {hardware()}, torch {torch.__version__}")
    rows = [
        {"name": name, "milliseconds": milliseconds.get(name), "peak_megabytes": peaks.get(name)}
        for name in dict.fromkeys([*milliseconds, *peaks])
    ]
    for row in rows:
        time_, peak = row["milliseconds"], row["peak_megabytes"]
        shown = [
            f"{time_:9.2f} ms" if time_ is not None else "",
            f"{peak:9.1f} MB" if peak is not None else "",
        ]
        print(f"  {row['name']:<32} {'  '.join(shown)}")
    for ratio in ratios:
        print(f"  {ratio['what']}: {ratio['value']:.2f} (bar: {ratio['bar']})")
    if folder:
        write(folder, benchmark, what, {"rows": rows, "ratios": ratios})


def report_cells(
    benchmark: str, what: str, rows: Iterable[list[dict[str, Any]]], folder: Path | None
) -> None:
    """Print each row as soon as it is measured; with a folder, write the record.

    A row is a list of cells, one for each contender, the first of which is ours. A cell has the
    ``group`` and the ``size`` of its row, a ``name``, ``milliseconds`` and ``parameters``.
    """
    print(f"{benchmark}: {what}\n  on {hardware()}, torch {torch.__version__}")
    print("  our time; the times of the others divided by it; numbers of parameters", flush=True)
    cells = []
    for row in rows:
        mine = row[0]
        title = f"{mine['group']}, {mine['size']}"
        ratios = [
            f"{cell['name']} {cell['milliseconds'] / mine['milliseconds']:5.2f}" for cell in row[1:]
        ]
        counts = [f"{cell['name']} {cell['parameters']:,}" for cell in row]
        shown = f"{title:<62} {mine['milliseconds']:8.3f} ms  {'  '.join(ratios):<54}  {', '.join(counts)}"
        print(f"  {shown}", flush=True)
        cells += row
    if folder:
        write(folder, benchmark, what, {"rows": [], "ratios": [], "cells": cells})


def write(folder: Path, benchmark: str, what: str, measured: dict[str, Any]) -> None:
    """Write a record."""
    values = {"benchmark": benchmark, "what": what, **provenance(), **measured}
    write_json(values, folder / f"{benchmark}-{DEVICE.type}.json")
