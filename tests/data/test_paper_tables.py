"""The data sets of the MAF paper, as tiny files of the published formats."""

import h5py
import numpy as np
import pandas
import pytest

from pyro_exact.data import load

GENERATOR = np.random.default_rng(0)


def columns(table):
    return table.event_shape[0], [len(table.split(name)) for name in ("train", "valid", "test")]


def both_standardised(table):
    """Whether train and valid together have mean 0 and deviation 1."""
    seen = np.concatenate([table.train.numpy(), table.valid.numpy()])
    assert np.allclose(seen.mean(0), 0, atol=1e-5)
    assert np.allclose(seen.std(0), 1, atol=1e-5)


def test_power_is_prepared_as_in_the_paper(tmp_path):
    (tmp_path / "power").mkdir()
    data = GENERATOR.normal(size=(100, 8))
    np.save(tmp_path / "power" / "data.npy", data)
    table = load("power", root=tmp_path)
    assert columns(table) == (6, [81, 9, 10])
    both_standardised(table)

    # The rows are shuffled by seed 42, columns 1 and 3 dropped; the time of the day has no noise.
    shuffled = data.copy()
    np.random.RandomState(42).shuffle(shuffled)
    time = shuffled[:, 7]
    expected = (time - time[:90].mean()) / time[:90].std()
    assert np.allclose(table.train[:, 5], expected[:81], atol=1e-5)


def test_miniboone_is_split_in_order(tmp_path):
    (tmp_path / "miniboone").mkdir()
    np.save(tmp_path / "miniboone" / "data.npy", GENERATOR.normal(3, 2, (50, 4)))
    table = load("miniboone", root=tmp_path)
    assert columns(table) == (4, [41, 4, 5])
    both_standardised(table)


def test_gas_drops_concentrations_and_correlated_sensors(tmp_path):
    (tmp_path / "gas").mkdir()
    frame = pandas.DataFrame(
        GENERATOR.normal(size=(60, 6)), columns=["Time", "Meth", "Eth", "R1", "R2", "R3"]
    )
    frame["R4"] = 2 * frame["R1"] + 0.01 * frame["R2"]
    frame.to_csv(tmp_path / "gas" / "ethylene_CO.csv", index=False)
    table = load("gas", root=tmp_path)
    assert columns(table) == (3, [49, 5, 6])
    kept = frame[["R2", "R3", "R4"]].to_numpy()  # the first of a correlated pair is dropped
    expected = (kept - kept.mean(0)) / kept.std(0, ddof=1)
    assert np.allclose(table.train, expected[:49], atol=1e-5)


def test_gas_refuses_the_pickle(tmp_path):
    (tmp_path / "gas").mkdir()
    (tmp_path / "gas" / "ethylene_CO.pickle").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is a pickle.* convert it once: pandas\.read_pickle"):
        load("gas", root=tmp_path)


def test_hepmass_keeps_the_signal_and_drops_repeated_columns(tmp_path):
    (tmp_path / "hepmass").mkdir()
    names = ["# label", "f0", "f1", "f2"]
    train = np.column_stack([np.resize([0, 1], 80), GENERATOR.normal(size=(80, 3))])
    train[:40, 2] = -9  # the smallest value of f1, many times
    test = np.column_stack([np.resize([1, 0], 30), GENERATOR.normal(size=(30, 4))])
    pandas.DataFrame(train, columns=names).to_csv(
        tmp_path / "hepmass" / "1000_train.csv", index=False
    )
    pandas.DataFrame(test, columns=[*names, "mass"]).to_csv(
        tmp_path / "hepmass" / "1000_test.csv", index=False
    )
    table = load("hepmass", root=tmp_path)
    assert columns(table) == (2, [36, 4, 15])
    signal = train[train[:, 0] == 1][:, [1, 3]]
    expected = (test[test[:, 0] == 1][:, [1, 3]] - signal.mean(0)) / signal.std(0, ddof=1)
    assert np.allclose(table.test, expected, atol=1e-5)


def test_bsds300_is_read_as_it_is(tmp_path):
    (tmp_path / "BSDS300").mkdir()
    parts = {
        name: GENERATOR.normal(size=(size, 63))
        for name, size in (("train", 20), ("validation", 5), ("test", 6))
    }
    with h5py.File(tmp_path / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for name, part in parts.items():
            file[name] = part
    table = load("bsds300", root=tmp_path)
    assert columns(table) == (63, [20, 5, 6])
    assert np.allclose(table.valid, parts["validation"].astype(np.float32))


@pytest.mark.parametrize("name", ["power", "gas", "hepmass", "miniboone", "bsds300"])
def test_paper_table_says_where_its_files_belong(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"no such file|Download the data of the paper"):
        load(name, root=tmp_path)
