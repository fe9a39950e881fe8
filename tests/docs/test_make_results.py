"""The page of results is made from its records, and from nothing else."""

import copy
import importlib.util
import json
import statistics
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"

spec = importlib.util.spec_from_file_location("make_results", DOCS / "make_results.py")

make_results = importlib.util.module_from_spec(spec)

spec.loader.exec_module(make_results)

RUN = {
    "recipe": "glow_toy",
    "model": "Glow",
    "paper": {
        "reference": "Kingma and Dhariwal 2018",
        "value": 3.35,
        "unit": "bits/dim",
        "budget": "8 GPUs | a week",
    },
    "commit": "0123456789abcdef",
    "seed": 0,
    "data": {
        "name": "toy",
        "split": "test",
        "images": 1000,
        "note": "the first 1,000 of the test set",
    },
    "hardware": "2 CPU cores",
    "torch": "2.6.0",
    "steps": 1436,
    "seconds": 1200.0,
    "clock": "wall",
    "parameters": 1234567,
    "metric": {
        "unit": "bits/dim",
        "value": 4.0521,
        "standard_error": 0.0123,
        "bound": "elbo",
        "k": 16,
    },
    "ema": True,
    "date": "2026-01-02",
}

BENCHMARK = {
    "benchmark": "conv1x1",
    "what": "forward and backward on 32x48x16x16",
    "hardware": "2 CPU cores",
    "torch": "2.6.0",
    "commit": "0123456789abcdef",
    "rows": [{"name": "ours", "milliseconds": 3.14159, "peak_megabytes": None}],
    "ratios": [{"what": "ours / bare convolution", "value": 1.2, "bar": "at most 1.3"}],
    "date": "2026-01-02",
}

EXAMPLE = {
    "example": "toy",
    "what": "KL in nats",
    "rows": [
        {"target": "U1", "flow": "planar", "value": 0.1234, "standard_error": 0.00234},
        {"target": "U1", "flow": "radial", "value": 0.5, "standard_error": 0.1},
        {"target": "U2", "flow": "radial", "value": -1.0, "standard_error": None},
    ],
    "steps": 3000,
    "samples": 100000,
    "seed": 0,
    "cpu_seconds": 480.0,
    "hardware": "1 CPU thread",
    "torch": "2.6.0",
    "commit": "0123456789abcdef",
    "date": "2026-01-02",
}


@pytest.fixture
def docs(tmp_path):
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    (tmp_path / "results" / "examples").mkdir()
    return tmp_path


def write(docs, record, name="run.json"):
    (docs / "results" / name).write_text(json.dumps(record))


def generate(docs):
    make_results.main([], docs)
    return (docs / "results.md").read_text()


def test_results_page_is_up_to_date():
    make_results.main(["--check"])


def test_results_show_a_run_as_one_row_of_its_data_set(docs):
    write(docs, RUN)
    row, source = (
        line for line in generate(docs).split("## toy\n")[1].splitlines() if "glow_toy" in line
    )
    assert row == (
        "| `glow_toy` | 3.35 bits/dim "
        "| **4.052** ± 0.012 bits/dim (elbo, k = 16, EMA), test, 1,000 images; the first 1,000 of the test set "
        "| 20 min, 1,436 steps | 1,234,567 | [run.json](results/run.json), `01234567` |"
    )
    assert source == "- `glow_toy`: Kingma and Dhariwal 2018 (8 GPUs | a week)"


def test_results_show_the_best_record_of_a_model_with_links_to_the_others(docs):
    worse = {**RUN["metric"], "value": 4.25, "bound": "exact", "k": 1}
    write(docs, RUN | {"metric": worse}, "a.json")
    write(docs, RUN, "b.json")
    (row,) = [line for line in generate(docs).splitlines() if line.startswith("| `glow_toy`")]
    assert "**4.052**" in row
    assert "[b.json](results/b.json), `01234567`; [4.250 (exact, 20 min)](results/a.json)" in row


def test_results_cite_a_paper_once(docs):
    for name in ("glow_toy", "glow_other"):
        write(docs, RUN | {"recipe": name}, f"{name}.json")
    page = generate(docs)
    assert page.count("Kingma and Dhariwal 2018") == 1
    assert "- `glow_other`, `glow_toy`: Kingma" in page


def test_results_show_a_run_without_a_paper_and_with_an_exact_likelihood(docs):
    metric = RUN["metric"] | {"unit": "nats", "value": 81.8349, "bound": "exact", "k": 1}
    write(docs, RUN | {"paper": None, "ema": False, "metric": metric})
    page = generate(docs)
    assert "| none | **81.83** ± 0.01 nats (exact), test" in page
    assert "The papers" not in page


def test_results_say_how_a_run_dequantised(docs):
    for i, noise in enumerate((None, {"formula": "mixture"})):
        write(docs, RUN | {"settings": {"noise": noise}}, f"{i}.json")
    page = generate(docs)
    assert "| `glow_toy`, uniform noise |" in page
    assert "| `glow_toy`, variational noise |" in page


def test_results_tell_time_of_computing_from_wall_time(docs):
    write(docs, RUN | {"clock": "computing"})
    assert "| 20 min of computing, 1,436 steps |" in generate(docs)


def test_results_say_that_a_commit_had_changes(docs):
    write(docs, RUN | {"commit": "0123456789ab-dirty"})
    assert ", `01234567-dirty` |" in generate(docs)


def test_results_take_a_paper_without_a_value(docs):
    write(docs, RUN | {"paper": RUN["paper"] | {"value": None}})
    page = generate(docs)
    assert "| `glow_toy` | none |" in page
    assert "Kingma and Dhariwal 2018" in page


def test_results_put_peers_after_ours_in_the_same_group(docs):
    write(docs, RUN | {"recipe": "a_peer", "peer": "normflows"}, "a.json")
    write(docs, RUN, "b.json")
    page = generate(docs)
    assert page.count("## toy\n") == 1
    assert page.index("| `glow_toy` |") < page.index("| `a_peer`, **peer: normflows** |")


def test_readme_shows_the_best_record_of_each_recipe_between_the_marks():
    metric = {**RUN["metric"], "value": 3.9}
    records = [
        RUN | {"recipe": "glow_cifar10_small", "file": "a.json", "seconds": 3600.0},
        RUN | {"recipe": "glow_cifar10_small", "file": "b.json", "metric": metric},
        RUN | {"recipe": "glow_cifar10_small", "file": "c.json", "peer": "normflows"},
    ]
    begin, end = make_results.FRONT_MARKS
    text = make_results.readme(f"before\n{begin}old\n{end}after\n", records)
    assert text.startswith(f"before\n{begin}")
    assert text.endswith(f"{end}after\n")
    assert (
        "| `glow_cifar10_small` | toy | 3.35 bits/dim | [3.900 bits/dim](docs/results/b.json) | 20 min |"
        in text
    )
    assert "old" not in text
    assert make_results.readme(text, records) == text


def test_results_group_data_sets_in_alphabetical_order(docs):
    write(docs, RUN, "a.json")
    write(docs, RUN | {"data": RUN["data"] | {"name": "digits"}}, "b.json")
    page = generate(docs)
    assert page.index("## digits\n") < page.index("## toy\n")


def test_results_show_a_benchmark_with_its_rows_and_its_ratios_with_the_bar(docs):
    write(docs, BENCHMARK, "benchmarks/conv1x1.json")
    page = generate(docs)
    assert "No run is recorded yet." in page
    assert "| ours | 3.14 |  |" in page
    assert "| ours / bare convolution | **1.20** | at most 1.3 |" in page
    assert "(results/benchmarks/conv1x1.json)" in page


def cell(name, milliseconds, parameters=10, size="16 x 5"):
    return {
        "group": "iaf",
        "size": size,
        "name": name,
        "milliseconds": milliseconds,
        "parameters": parameters,
    }


def test_results_show_our_time_beside_the_ratios_of_peers(docs):
    cells = [cell("ours", 2.0), cell("Pyro", 3.0), cell("zuko", 1.0, parameters=1200)]
    cells += [cell("ours", 4.0, size="64 x 10"), cell("zuko", 4.0, size="64 x 10")]
    write(docs, BENCHMARK | {"rows": [], "ratios": [], "cells": cells}, "benchmarks/guides.json")
    page = generate(docs)
    assert "|  | size | ms | Pyro | zuko | parameters |\n" in page
    assert (
        "| iaf | 16 x 5 | 2 | 1.50 | 0.50 (1,200) | 10 |\n| iaf | 64 x 10 | 4 |  | 1.00 | 10 |\n"
        in page
    )
    assert "peak MB" not in page


def elbo(name, group, value, **changes):
    return {
        "group": group,
        "name": name,
        "value": value,
        "standard_error": 0.25,
        "evidence": -1.5,
        "cpu_seconds": 2.0,
        "parameters": 10,
        **changes,
    }


def test_results_show_a_row_for_each_guide_below_the_evidence(docs):
    elbos = [elbo("iaf", "funnel", -2.0), elbo("planar", "funnel", None, standard_error=None)]
    elbos += [elbo("iaf", "banana", -1.75, cpu_seconds=4.0), elbo("planar", "banana", -3.0)]
    write(docs, BENCHMARK | {"rows": [], "ratios": [], "elbos": elbos}, "benchmarks/guides.json")
    page = generate(docs)
    assert "|  | funnel | banana | CPU s |\n" in page
    assert (
        "| log-evidence | -1.50 | -1.50 |  |\n| iaf | -2.00 ± 0.25 | -1.75 ± 0.25 | 3.0 |\n" in page
    )
    assert "| planar | not finite | -3.00 ± 0.25 | 2.0 |\n" in page


def density(target, flow, splits, milliseconds=2.0):
    finite = None not in splits
    return {
        "target": target,
        "flow": flow,
        "nats": statistics.fmean(splits) if finite else None,
        "standard_error": statistics.stdev(splits) / len(splits) ** 0.5 if finite else None,
        "splits": splits,
        "milliseconds": milliseconds,
        "parameters": 10,
    }


def test_results_compare_densities_split_by_split(docs):
    rows = [
        density("wine", "maf", [1.0, 3.0], 2.0),
        density("wine", "nice", [1.2, 3.3], 1.0),
        density("wine", "zuko MAF", [1.2, 3.1], 4.0),
        density("moons", "maf", [2.0, 2.1], 3.0),
        density("moons", "nice", [None, 2.0], 1.0),
        density("moons", "zuko MAF", [1.0, 1.1], 4.0),
    ]
    measured = {"rows": [], "ratios": [], "densities": rows}
    write(docs, BENCHMARK | measured, "benchmarks/density.json")
    page = generate(docs)
    assert "Use `maf` first: the mean rank over all targets is 1.5 of 3 flows." in page
    assert "| flow | wine | moons | mean rank | ms |\n" in page
    assert "| maf | **2.00 ± 1.00** | 2.05 ± 0.05 | 1.5 | 2.5 |\n" in page
    assert "| nice | 2.25 ± 1.05 | not finite | 3.0 | 1.0 |\n" in page
    assert "| wine | -0.15 ± 0.05 (maf, zuko MAF) | -0.15 ± 0.05 |\n" in page
    assert "| moons | +1.00 ± 0.00 (maf, zuko MAF) | +1.00 ± 0.00 |\n" in page


def test_results_refuse_a_density_without_its_splits(docs):
    row = density("wine", "maf", [1.0, 3.0])
    del row["splits"]
    measured = {"rows": [], "ratios": [], "densities": [row]}
    write(docs, BENCHMARK | measured, "benchmarks/density.json")
    with pytest.raises(SystemExit, match="missing key 'splits'"):
        make_results.main([], docs)


def test_results_show_an_example_by_target_and_flow(docs):
    write(docs, EXAMPLE, "examples/toy.json")
    section = generate(docs).split("### toy\n")[1]
    assert "|  | planar | radial |\n" in section
    assert "| U1 | 0.123 ± 0.002 | 0.500 ± 0.1 |\n| U2 |  | -1.000 |\n" in section
    assert "3,000 steps a fit, 100,000 samples, seed 0; 8 min of 1 CPU thread" in section
    assert "(results/examples/toy.json)" in section


@pytest.mark.parametrize(
    "keys",
    [
        *((key,) for key in RUN),
        *(("data", key) for key in ("name", "split", "images")),
        ("paper", "budget"),
        ("metric", "k"),
    ],
    ids=".".join,
)
def test_results_name_a_missing_key_with_its_file(docs, keys):
    record = copy.deepcopy(RUN)
    *parents, last = keys
    inner = record
    for key in parents:
        inner = inner[key]
    del inner[last]
    write(docs, record)
    with pytest.raises(SystemExit, match=rf"run\.json: .*missing key '{last}'"):
        make_results.main([], docs)
    assert not (docs / "results.md").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "many"}, "steps: expected int, got 'many'"),
        ({"steps": True}, "steps: expected int, got True"),
        ({"ema": 0}, "ema: expected bool, got 0"),
        ({"metric": None}, "metric: expected dict, got None"),
    ],
    ids=str,
)
def test_results_name_a_value_of_the_wrong_type(docs, change, message):
    write(docs, RUN | change)
    with pytest.raises(SystemExit, match=message):
        make_results.main([], docs)


def test_results_check_a_benchmark_row_too(docs):
    write(
        docs,
        BENCHMARK | {"rows": [{"name": "ours", "milliseconds": 1.0}]},
        "benchmarks/conv1x1.json",
    )
    with pytest.raises(SystemExit, match=r"conv1x1\.json: rows\[0\]: missing key 'peak_megabytes'"):
        make_results.main([], docs)


def test_results_check_a_benchmark_cell_too(docs):
    write(docs, BENCHMARK | {"cells": [cell("ours", "fast")]}, "benchmarks/guides.json")
    with pytest.raises(
        SystemExit,
        match=r"guides\.json: cells\[0\]: milliseconds: expected int or float, got 'fast'",
    ):
        make_results.main([], docs)


def test_results_name_a_record_that_is_not_json(docs):
    (docs / "results" / "run.json").write_text("{")
    with pytest.raises(SystemExit, match=r"run\.json: not JSON"):
        make_results.main([], docs)


def test_results_check_refuses_an_outdated_page_and_writes_nothing(docs):
    write(docs, RUN)
    with pytest.raises(SystemExit, match="make results"):
        make_results.main(["--check"], docs)
    assert not (docs / "results.md").exists()
    text = generate(docs)
    make_results.main(["--check"], docs)
    (docs / "results.md").write_text(text.replace("4.052", "3.352"))
    with pytest.raises(SystemExit, match="make results"):
        make_results.main(["--check"], docs)


def rows(name):
    """The rows of a committed record by (target, flow)."""
    record = json.loads((DOCS / "results" / "examples" / f"{name}.json").read_text())
    return {(row["target"], row["flow"]): row for row in record["rows"]}


@pytest.mark.parametrize("target", ["U1", "U2", "U3", "U4"])
def test_records_fit_energies_better_by_longer_flows(target):
    found = rows("energies")
    for flow in ("planar", "radial"):
        two, eight, many = (found[target, f"{flow}, K = {k}"] for k in (2, 8, 32))
        for short, long in ((two, eight), (eight, many)):
            assert short["value"] - long["value"] > 3 * (
                short["standard_error"] + long["standard_error"]
            )
    assert (
        found[target, "planar, K = 32"]["value"]
        + 3 * found[target, "planar, K = 32"]["standard_error"]
        < 0.2
    )
    assert all(
        row["value"] > -3 * row["standard_error"] for row in found.values()
    )  # a divergence is not negative


def test_records_of_spirals_never_beat_the_true_density():
    found = rows("density_2d")
    for bent in ("spline couplings", "mixture-CDF couplings"):
        for affine in ("RealNVP", "MAF"):
            better, worse = found["spirals", bent], found["spirals", affine]
            assert better["value"] - worse["value"] > 3 * (
                better["standard_error"] + worse["standard_error"]
            )
    best = found.pop(("checkerboard", "true density"))["value"]
    for (target, _), row in found.items():
        assert target != "checkerboard" or row["value"] < best + 3 * row["standard_error"]
