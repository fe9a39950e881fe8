"""The measured facts of the README are those of the records."""

import json
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text().split())
PEERS = {
    "maf": "zuko MAF",
    "nsf": "zuko NSF",
    "spline_coupling": "zuko NSF, couplings",
    "real_nvp": "zuko RealNVP",
}


def record(name):
    path = ROOT / "docs" / "results" / "benchmarks" / f"{name}-cpu.json"
    return json.loads(path.read_text())


@pytest.mark.parametrize("flow", PEERS)
def test_readme_counts_the_data_sets_on_which_a_flow_is_better(flow):
    rows = record("density")["densities"]
    nats = {(row["target"], row["flow"]): row["nats"] for row in rows}
    targets = {row["target"] for row in rows}
    better = sum(nats[target, flow] < nats[target, PEERS[flow]] for target in targets)
    said = re.search(rf"`{flow}` (?:is better than zuko's )?on (\d+) of (\d+)", README)
    assert said.groups() == (str(better), str(len(targets)))


def test_readme_says_how_long_other_libraries_take():
    times = {}
    for cell in record("guides")["cells"]:
        times.setdefault((cell["group"], cell["size"]), {})[cell["name"]] = cell["milliseconds"]
    assert f"in {len(times)} settings" in README
    for name, verb in (("Pyro", "takes "), ("zuko", "")):
        ratios = [found[name] / found["ours"] for found in times.values() if name in found]
        said = re.search(
            rf"{name} {verb}([\d.]+) to ([\d.]+) times.*?median of ([\d.]+)[.,]", README
        )
        expected = min(ratios), max(ratios), median(ratios)
        assert said.groups() == tuple(f"{ratio:.2f}" for ratio in expected)


def test_readme_says_that_each_flow_is_a_better_guide_than_a_normal():
    elbos = record("guide_elbo")["elbos"]
    value = {(elbo["name"], elbo["group"]): elbo["value"] for elbo in elbos}
    ours = {elbo["name"] for elbo in elbos if not elbo["name"].startswith(("Auto", "Pyro", "zuko"))}
    groups = {elbo["group"] for elbo in elbos}
    assert len(groups) == 3
    assert all(value[name, group] > value["AutoNormal", group] for name in ours for group in groups)
