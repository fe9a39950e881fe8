"""Data sets of tensors and arrays: splits, levels, and errors."""

import numpy as np
import pytest
import torch

from pyro_exact.data import ArrayDataset, Images, as_dataset, load


def test_as_dataset_splits_every_row_once_and_is_seeded():
    x = torch.arange(50.0)[:, None].repeat(1, 3)
    data = as_dataset(x, "rows", seed=1)
    assert (data.event_shape, data.levels, data.unit) == ((3,), None, "nats")
    parts = [data.split(name)[:, 0] for name in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [40, 5, 5]
    assert torch.cat(parts).sort().values.equal(x[:, 0])

    again, other = as_dataset(x, seed=1), as_dataset(x, seed=2)
    assert again.split("train").equal(data.split("train"))
    assert not other.split("train").equal(data.split("train"))
    assert as_dataset(x, valid_fraction=0.2, seed=1).split("test").equal(data.split("test"))


def test_as_dataset_takes_arrays_pairs_and_data_sets():
    x = np.arange(12.0).reshape(4, 3)
    data = as_dataset((x, x[:2]))
    assert data.split("valid").dtype == torch.get_default_dtype()
    assert repr(data) == "ArrayDataset('data', shape=(3,), train=4, valid=2)"
    with pytest.raises(ValueError, match="data has no test split"):
        data.split("test")
    assert as_dataset(data) is data
    digits = load("digits")
    assert as_dataset(digits) is digits
    assert (digits.event_shape, digits.unit, digits.context("train")) == (
        (1, 8, 8),
        "bits/dim",
        None,
    )


@pytest.mark.parametrize(
    ("x", "levels"),
    [
        (torch.ones(20, 3, dtype=torch.bool), 2),
        (torch.full((20, 3), 7, dtype=torch.uint8), 256),
        (torch.full((20, 3), 6), 7),
    ],
)
def test_as_dataset_counts_levels_of_integers(x, levels):
    assert as_dataset(x).levels == levels


def test_as_dataset_of_bytes_in_four_dimensions_is_images():
    assert isinstance(as_dataset(torch.zeros(20, 3, 4, 4, dtype=torch.uint8)), Images)


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        ("a", TypeError, "expects a tensor, an array, .* got str"),
        (np.array(["a"]), TypeError, "expects an array of numbers; got <U1"),
        (torch.tensor(1.0), ValueError, "got a single number"),
        (torch.zeros(2, 3), ValueError, "expects more than 2 rows"),
        (torch.full((9, 2), torch.nan), ValueError, "18 of 18 elements NaN"),
        (torch.full((9, 2), -1), ValueError, "levels 0, 1, ...; got values from -1 to -1"),
        ((torch.zeros(4, 3), torch.zeros(4, 2)), ValueError, r"shape \(3,\), as in train"),
        ((torch.zeros(4, 3), torch.zeros(0, 3)), ValueError, "valid rows, at least one"),
        ((torch.zeros(4, 3), torch.ones(4, 3).long()), ValueError, "floats or integers; got both"),
    ],
)
def test_as_dataset_refuses(data, error, match):
    with pytest.raises(error, match=match):
        as_dataset(data)


def test_array_dataset_has_labels_and_contexts_of_its_rows():
    x = torch.zeros(4, 3)
    data = ArrayDataset("d", x, x, labels_of={"train": torch.arange(4)}, context_of={"valid": x})
    assert data.labels("train").tolist() == [0, 1, 2, 3]
    assert data.labels("valid") is None
    assert data.context("valid") is x
    with pytest.raises(ValueError, match="expects 4 labels of train, one for each row; got 3"):
        ArrayDataset("d", x, x, labels_of={"train": torch.arange(3)})
