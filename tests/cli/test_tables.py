"""Tables on the command line: from a CSV file to a checkpoint, scores, samples and a report."""

import json

import numpy as np
import pandas
import pytest

SMALL = ["--model.layers", "1", "--model.hidden_dims", "[8]", "--training.steps", "4"]


@pytest.fixture
def trained(run):
    """The folder of a short run on a table with a column of each kind."""
    generator = np.random.default_rng(0)
    pandas.DataFrame(
        {
            "height": generator.normal(170, 8, 60),
            "wind": generator.uniform(0, 360, 60),
            "rooms": generator.integers(2, 7, 60),
            "city": np.resize(["Ulm", "Rom"], 60),
        }
    ).to_csv("people.csv", index=False)
    with open("columns.yaml", "w") as file:
        file.write("wind: {kind: periodic, low: 0, high: 360}\n")

    arguments = ["--data", "people.csv", "--columns", "columns.yaml", "--device", "cpu"]
    code, out, err = run("train", "maf", *arguments, "--out", "out", *SMALL)
    assert code == 0, err
    assert "wind: periodic, from 0 to 360" in out
    assert "nats per row (elbo" in out
    return "out"


def test_tables_are_trained_scored_sampled_and_diagnosed(trained, run):
    code, out, err = run("evaluate", trained, "--per-item", "scores.csv")
    assert (code, err) == (0, "")
    assert "nats per row (elbo, k = 1, 6 rows)" in out
    with open("out/best-test.json") as file:
        record = json.load(file)
    assert record["metric"]["unit"] == "nats"
    assert len(pandas.read_csv("scores.csv")) == 6

    assert run("sample", trained, "--out", "drawn.csv", "--n", "20")[0] == 0
    drawn = pandas.read_csv("drawn.csv")
    assert list(drawn.columns) == ["height", "wind", "rooms", "city"]
    assert set(drawn["city"]) <= {"Ulm", "Rom"}
    assert drawn["rooms"].dtype == np.int64
    assert run("sample", trained, "--n", "3")[0] == 0
    assert len(pandas.read_csv("samples.csv")) == 3
    assert run("sample", trained, "--out", "drawn.npz", "--n", "5")[0] == 0
    assert np.load("drawn.npz")["height"].shape == (5,)

    code, out, _ = run("diagnose", trained, "--n", "6")
    assert code == 0
    assert "MaskedAutoregressive of Affine" in out


def test_tables_are_scored_by_the_columns_of_the_model(trained, run):
    code, first, _ = run("evaluate", trained, "--data", "people.csv")
    table = pandas.read_csv("people.csv")
    table[["city", "height", "rooms", "wind"]].to_csv("turned.csv", index=False)
    code, second, _ = run("evaluate", trained, "--data", "turned.csv")
    assert code == 0
    assert first.split(": ")[2:] == second.split(": ")[2:]

    table.drop(columns="wind").to_csv("less.csv", index=False)
    code, _, err = run("evaluate", trained, "--data", "less.csv")
    assert code == 1
    assert "less has no column wind" in err


def test_tables_with_missing_values_are_refused(run):
    pandas.DataFrame({"a": [0.5, None, 1.5, 2.5] * 5, "b": np.arange(20) / 3}).to_csv(
        "t.csv", index=False
    )
    code, _, err = run("train", "nsf", "--data", "t.csv", "--out", "out", "--device", "cpu")
    assert code == 1
    assert "missing values in columns: a 5" in err


def test_vectors_of_bits_keep_their_shape_and_unit(run):
    rows = np.random.default_rng(0).integers(0, 2, (40, 7), dtype=np.uint8)
    np.savez("bits.npz", train=rows[:30], valid=rows[30:35], test=rows[35:])
    small = ["--model.hidden_dims", "[8]", "--model.masks", "1", "--training.batch-size", "10"]
    arguments = ["--data", "bits.npz", "--out", "out", "--device", "cpu", "--training.steps", "3"]
    code, out, err = run("train", "made_debd", *arguments, *small)
    assert code == 0, err
    assert "nats per row (exact" in out
    assert run("sample", "out", "--out", "s.npy", "--n", "4")[0] == 0
    assert np.load("s.npy").shape == (4, 7)
