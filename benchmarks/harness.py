"""What every benchmark shares: contenders measured in turn in one process, peak memory, and the record."""

from __future__ import annotations

import argparse
import ctypes
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
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

# On a CPU: the time of one thread that always computes, which on a busy machine is not the time that passes.
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
torch.set_num_threads(1)
if sys.platform == "linux":
    # Keep the memory of large tensors. The C library gives back what is above 32 MB, and takes it again page by page,
    # which can be three quarters of the time of a call.
    for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        ctypes.CDLL(None).mallopt(option, 2**30)


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int, warmup: int = 3) -> dict[str, float]:
    """Return the median time of each contender's call in milliseconds.

    They take turns, so that a busy machine is fair to all, in an order drawn anew each round: what a call leaves in the
    caches can cost its successor 2 %. A short call is repeated in its turn, as in a training loop.
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
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


def synchronize() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def report(
    benchmark: str,
    what: str,
    milliseconds: Mapping[str, float],
    peaks: Mapping[str, float],
    ratios: list[dict[str, Any]],
) -> None:
    """Print the rows and the ratios; with ``--record``, write them to docs/results/benchmarks."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--record", action="store_true", help="write the record that docs/results.md shows")
    record = parser.parse_args().record
    print(f"{benchmark}: {what}\n  on {hardware()}, torch {torch.__version__}")
    rows = [
        {"name": name, "milliseconds": milliseconds.get(name), "peak_megabytes": peaks.get(name)}
        for name in dict.fromkeys([*milliseconds, *peaks])
    ]
    for row in rows:
        time_, peak = row["milliseconds"], row["peak_megabytes"]
        shown = [f"{time_:9.2f} ms" if time_ is not None else "", f"{peak:9.1f} MB" if peak is not None else ""]
        print(f"  {row['name']:<32} {'  '.join(shown)}")
    for ratio in ratios:
        print(f"  {ratio['what']}: {ratio['value']:.2f} (bar: {ratio['bar']})")
    if record:
        values = {
            "benchmark": benchmark,
            "what": what,
            **provenance(),
            "rows": rows,
            "ratios": ratios,
        }
        write_json(values, RECORDS / f"{benchmark}-{DEVICE.type}.json")
