"""Start-up time of the command line: `--help` and the list of recipes, beside `import torch`."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

from harness import report

ROUNDS = 7
MOST = 700.0  # milliseconds
CLI = ["-m", "pyro_exact.cli"]


def main() -> None:
    """Measure and report."""
    contenders = {
        "pyro-exact --help": [*CLI, "--help"],
        "pyro-exact recipes": [*CLI, "recipes"],
        "pyro-exact train --help": [*CLI, "train", "--help"],
        "import torch": ["-c", "import torch"],
        "Python alone": ["-c", ""],
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, arguments in contenders.items():
            times[name].append(computing(arguments))

    # The least of several: what else the machine does can only add to it.
    ms = {name: min(values) for name, values in times.items()}
    commands = [name for name in contenders if name.startswith("pyro-exact")]
    ratios = [
        {"what": f"{name} / 0.7 s", "value": ms[name] / MOST, "bar": "at most 1"}
        for name in commands
    ]
    report("start", "time that a fresh process computes (user and system)", ms, {}, ratios)


def computing(arguments: Sequence[str]) -> float:
    """Return how many milliseconds a fresh interpreter computes, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e3 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
