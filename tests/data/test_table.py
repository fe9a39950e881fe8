"""Tables: columns that are declared or inferred, files of several kinds, and their errors."""

import re

import numpy as np
import pandas
import pytest
import torch

from pyro_exact.data import DataWarning, Table, load, make_table
from pyro_exact.data.columns import Column, decoded
from pyro_exact.data.table import encoded, on_real_line
from pyro_exact.transforms import Limits

ROWS = 40


@pytest.fixture
def frame():
    """A table with a column of each kind."""
    generator = np.random.default_rng(0)
    return pandas.DataFrame(
        {
            "height": generator.normal(170, 8, ROWS),
            "share": generator.uniform(0.1, 0.9, ROWS),
            "wind": generator.uniform(0, 360, ROWS),
            "rooms": generator.integers(2, 7, ROWS),
            "city": np.resize(["Ulm", "Rom"], ROWS),
        }
    )


@pytest.fixture
def written(frame, tmp_path):
    """Write the table, and load it again; returns the function."""

    def call(suffix=".csv", **options):
        path = tmp_path / f"people{suffix}"
        write = {".parquet": frame.to_parquet, ".tsv": lambda p: frame.to_csv(p, sep="\t")}
        write.get(suffix, lambda p: frame.to_csv(p, index=False))(path)
        return load(path, **options)

    return call


def test_table_of_a_file_infers_its_columns(written):
    table = written()
    kinds = [column.kind for column in table.columns]
    assert kinds == ["real", "real", "real", "integer", "category"]
    assert (table.event_shape, table.levels, table.unit) == ((5,), None, "nats")
    assert "rooms: integer, from 2 to 6" in table.describe()
    assert "city: category of 2: Rom, Ulm" in table.describe()
    sizes = [len(table.split(name)) for name in ("train", "valid", "test")]
    assert sizes == [32, 4, 4]


def test_table_is_the_same_from_csv_and_parquet(written):
    assert torch.equal(written(".csv").train, written(".parquet").train)


def test_table_splits_do_not_depend_on_the_seed_but_for_validation(written):
    first, second = written(seed=1), written(seed=2)
    assert torch.equal(first.test, second.test)
    assert not torch.equal(first.valid, second.valid)


def test_table_takes_declared_columns(written, tmp_path):
    declaration = tmp_path / "columns.yaml"
    declaration.write_text(
        "share: {kind: bounded, low: 0, high: 1}\n"
        "wind: {kind: periodic, low: 0, high: 360}\n"
        "city: {kind: category, values: [Ulm, Rom, Oslo]}\n"
        "height: drop\n"
    )
    table = written(columns=declaration)
    assert [column.name for column in table.columns] == ["share", "wind", "rooms", "city"]
    assert table.columns[0].limits == (0, 1)
    assert table.columns[3].values == ("Ulm", "Rom", "Oslo")
    assert set(table.train[:, 3].tolist()) <= {0.0, 1.0}


def test_table_of_declared_columns_alone_has_their_order(written):
    columns = [Column("city", "category", values=("Rom", "Ulm")), Column("height")]
    table = written(columns=columns)
    assert [column.name for column in table.columns] == ["city", "height"]


def test_table_of_a_folder_keeps_its_splits(frame, tmp_path):
    frame[:20].to_csv(tmp_path / "train.csv", index=False)
    frame[20:25].to_csv(tmp_path / "val.csv", index=False)
    frame[25:].to_csv(tmp_path / "test.csv", index=False)
    table = load(tmp_path)
    assert [len(table.split(name)) for name in ("train", "valid", "test")] == [20, 5, 15]


def test_table_of_arrays_in_npy_and_npz(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", train=x[:20], test=x[20:])
    one, three = load(tmp_path / "x.npy"), load(tmp_path / "x.npz")
    assert isinstance(one, Table)
    assert [column.name for column in one.columns] == ["x0", "x1", "x2"]
    assert torch.equal(three.test, torch.from_numpy(x[20:]).float())
    assert len(three.valid) == 2


def test_table_of_integers_is_integers_with_levels(tmp_path):
    pandas.DataFrame({"a": [0, 1] * 10, "b": [2, 0] * 10}).to_csv(tmp_path / "t.csv", index=False)
    table = load(tmp_path / "t.csv")
    assert (table.train.dtype, table.levels) == (torch.int64, 3)


def test_table_without_names_and_with_semicolons(tmp_path):
    (tmp_path / "t.csv").write_text("\n".join(f"{i}.5;{i % 3}" for i in range(20)))
    with pytest.warns(DataWarning, match="first line holds numbers"):
        table = load(tmp_path / "t.csv")
    assert [column.name for column in table.columns] == ["x0", "x1"]
    assert sum(len(table.split(name)) for name in ("train", "valid", "test")) == 20


def test_table_counts_missing_values_by_column(frame, written):
    frame.loc[:2, "height"] = np.nan
    frame.loc[5, "city"] = None
    table = written()
    assert table.missing == {"height": 3, "city": 1}
    assert "height: real, 3 missing" in table.describe()


def test_table_leaves_constant_columns_out(frame, written):
    frame["one"] = 1
    with pytest.warns(DataWarning, match="column one has a single value"):
        assert len(written().columns) == 5


def test_table_leaves_out_texts_that_no_row_or_every_row_shares(frame, written):
    frame["day"] = [f"day {row}" for row in range(ROWS)]
    frame["planet"] = "Earth"
    with pytest.warns(DataWarning) as caught:
        assert len(written().columns) == 5
    said = " ".join(str(each.message) for each in caught)
    assert "column day has another text in each row" in said
    assert "column planet has a single value" in said


@pytest.mark.parametrize(
    ("change", "declared", "match"),
    [
        (
            {"height": np.resize([np.inf, 1.5], ROWS)},
            "",
            "height expects finite values; got 20 of 40",
        ),
        ({}, "share: {kind: bounded, low: 0.5, high: 1}", "share expects values above 0.5; got"),
        ({}, "height: integer", "height expects integers; got 40 of 40"),
        ({}, "city: {kind: category, values: [Ulm, Bonn]}", "expects its 2 categories; got 'Rom'"),
        ({}, "city: real", "expects numbers for kind real; got text such as 'Ulm'"),
        ({}, "hight: real", "no column hight. Did you mean height?"),
        ({}, "wind: periodic", "expects low and high, the ends of the period"),
        ({}, "wind: angle", "expects a kind out of real, bounded"),
        ({}, "[1, 2]", "expects a line `name: kind` for each column"),
    ],
)
def test_table_refuses(frame, tmp_path, change, declared, match):
    frame = frame.assign(**change)
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "columns.yaml").write_text(declared or "{}")
    with pytest.raises(ValueError, match=re.escape(match)):
        load(tmp_path / "t.csv", columns=tmp_path / "columns.yaml")


def test_table_refuses_a_column_of_names():
    names = {"id": np.array([f"row {i}" for i in range(1100)], object)}
    with pytest.raises(ValueError, match="from 2 to 1000 categories; got 1100"):
        make_table("t", [names, names, names])


def test_table_needs_files_that_are_tables(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"no table")
    (tmp_path / "t.npy").write_bytes(b"no array")
    for name in ("t.parquet", "t.npy"):
        with pytest.raises(ValueError, match=name):
            load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        load(tmp_path / "absent.csv")


def test_table_of_an_object_array_runs_no_code(tmp_path):
    np.save(tmp_path / "t.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="loading data never runs code"):
        load(tmp_path / "t.npy")


def test_column_values_are_encoded_and_decoded():
    city = Column("city", "category", 0, 1, ("Rom", "Ulm"))
    codes = encoded(city, np.array(["Ulm", None, "Rom"], object), "t")
    assert codes[[0, 2]].tolist() == [1, 0]
    assert np.isnan(codes[1])
    assert decoded(city, codes[[0, 2]]).tolist() == ["Ulm", "Rom"]

    wind = Column("wind", "periodic", 0, 360)
    assert encoded(wind, np.array([-90.0, 360.0]), "t").tolist() == [270, 0]


@pytest.mark.parametrize("limits", [(0.0, 4.0), (0.0, None), (None, 4.0), (None, None)])
def test_column_statistics_are_those_of_the_layer(limits):
    column = Column("x", "real", *limits)
    x = np.linspace(0.5, 3.5, 7)
    low, high = (torch.tensor([end]) for end in column.limits)
    expected = Limits(low, high).inv(torch.from_numpy(x).float()[:, None])[:, 0]
    assert torch.allclose(torch.from_numpy(on_real_line(column, x)).float(), expected, atol=1e-6)


def test_table_warns_of_digits_that_float32_loses():
    x = {"time": 1.6e9 + np.random.default_rng(0).random(20)}
    with pytest.warns(DataWarning, match="column time varies by .* Subtract a constant"):
        make_table("t", [x, x, x])
