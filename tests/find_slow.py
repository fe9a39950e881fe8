"""Write tests/slow.txt, the tests that `make check` leaves out, from measured durations.

python tests/find_slow.py JUNIT.xml [SECONDS]

A test function is left out with all its cases if a case takes long on average. The longest come
first, until the remaining tests take at most SECONDS (200 by default).
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
BUDGET = 200.0

sys.path.insert(0, str(ROOT))

from conftest import group  # noqa: E402


def durations(path):
    """The seconds of each case, by the group of its test; doctests are left alone."""
    found = defaultdict(list)
    for case in ElementTree.parse(path).iter("testcase"):
        if case.get("name").startswith("test_"):
            found[group(case.get("name"))].append(float(case.get("time")))
    return found


def slow(found, budget):
    """The names of the slow groups."""
    left, names = sum(map(sum, found.values())), []
    for name in sorted(found, key=lambda name: -sum(found[name]) / len(found[name])):
        if left <= budget:
            break
        names.append(name)
        left -= sum(found[name])
    return sorted(names)


if __name__ == "__main__":
    budget = float(sys.argv[2]) if len(sys.argv) > 2 else BUDGET
    names = slow(durations(sys.argv[1]), budget)
    (ROOT / "tests" / "slow.txt").write_text("".join(f"{name}\n" for name in names))
    print(f"{len(names)} slow tests")
