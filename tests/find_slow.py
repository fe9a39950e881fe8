"""Write tests/slow.txt, the tests that `make check` leaves out, from measured durations.

python tests/find_slow.py JUNIT.xml [SECONDS]

A test function is left out with all its cases if a case takes long on average. The longest come
first, until the others together take at most SECONDS (200 by default) of computing.
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

BUDGET = 200.0


def durations(path):
    """The seconds of each case, by the name of its function; doctests are left alone."""
    found = defaultdict(list)
    for case in ElementTree.parse(path).iter("testcase"):
        name = case.get("name").partition("[")[0]
        if name.startswith("test_"):
            found[name].append(float(case.get("time")))
    return found


def slow(found, budget):
    """The names of the slow functions."""
    left = sum(map(sum, found.values()))
    names = []
    for name in sorted(found, key=lambda name: -sum(found[name]) / len(found[name])):
        if left <= budget:
            break
        names.append(name)
        left -= sum(found[name])
    return sorted(names)


if __name__ == "__main__":
    budget = float(sys.argv[2]) if len(sys.argv) > 2 else BUDGET
    names = slow(durations(sys.argv[1]), budget)
    (Path(__file__).parent / "slow.txt").write_text("".join(f"{name}\n" for name in names))
    print(f"{len(names)} slow test functions")
