"""Data sets in npz files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_exact.data import load


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def rows(x):
    return {bytes(image.numpy().tobytes()) for image in x}


def save(path, **arrays):
    np.savez(path, **{key: np.asarray(array) for key, array in arrays.items()})
    return path


@pytest.mark.parametrize(
    ("levels", "stored", "expected"), [(2, None, 2), (17, None, 256), (17, 17, 17), (2, 256, 256)]
)
def test_npz(tmp_path, levels, stored, expected):
    x = {"train": pixels(10, 4, 6, levels=levels), "test": pixels(3, 1, 4, 6, levels=levels)}
    images = load(save(tmp_path / "toy.npz", **x, **({"levels": stored} if stored else {})))
    assert (
        repr(images)
        == f"Images('toy', shape=(1, 4, 6), levels={expected}, train=9, valid=1, test=3)"
    )
    assert rows(images.train) | rows(images.valid) == rows(x["train"])


def test_npz_of_vectors(tmp_path):
    rows_of_bits = np.random.default_rng(0).integers(2, size=(10, 5), dtype=np.uint8)
    images = load(
        save(
            tmp_path / "bits.npz",
            train=rows_of_bits[:6],
            valid=rows_of_bits[6:8],
            test=rows_of_bits[8:],
        )
    )
    assert repr(images) == "ArrayDataset('bits', shape=(5,), levels=2, train=6, valid=2, test=2)"
    assert np.array_equal(images.train, rows_of_bits[:6])


def test_npz_keeps_valid_and_labels(tmp_path):
    x = pixels(4, 3, 2, 2)
    labels = np.arange(4, dtype=np.uint8)
    images = load(
        save(
            tmp_path / "a.npz",
            train=x,
            valid=x[:3],
            test=x[:2],
            train_labels=labels,
            test_labels=[7, 8],
        )
    )
    assert torch.equal(images.valid, x[:3])
    assert images.train_labels.tolist() == [0, 1, 2, 3]
    assert images.valid_labels is None
    assert images.test_labels.dtype == torch.int64


GOOD = np.zeros((4, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            {"test": None, "extra": [1]},
            ValueError,
            r"expects arrays train and test .* got train, extra. Add test",
        ),
        ({"train": None, "test": None}, ValueError, r"got none. Add train and test"),
        (
            {"train": GOOD / 2},
            TypeError,
            r"train expects pixel levels as uint8; got float64. Store .*astype\('uint8'\)",
        ),
        ({"train": GOOD + 0.5}, TypeError, r"got float64, with values that are not whole"),
        (
            {"train": GOOD + np.nan},
            TypeError,
            r"got float64, with 36 of 36 elements NaN or infinite",
        ),
        (
            {"test": GOOD.astype(np.int64) - 1},
            TypeError,
            r"test expects .*got int64, with values from -1 to -1",
        ),
        ({"test": GOOD == 0}, TypeError, r"test expects .*got bool. Store them with .astype"),
        ({"test": np.array("a")}, TypeError, r"test expects .*got <U1. Store whole numbers"),
        (
            {"test": np.array([None])},
            ValueError,
            r"test holds Python objects, and loading data never runs code",
        ),
        ({"train": GOOD[0, 0]}, ValueError, r"train expects shape .* got \(3,\). Reshape it"),
        (
            {"valid": GOOD[:0]},
            ValueError,
            r"valid expects at least one image; got shape \(0, 3, 3\)",
        ),
        ({"test": GOOD[:, :2]}, ValueError, r"Images toy expects test images of shape \(1, 3, 3\)"),
        (
            {"train": GOOD[:1]},
            ValueError,
            r"toy: train expects at least 2 images, because one is held out for validation; got 1",
        ),
        ({"train_labels": [0.5] * 4}, TypeError, r"train_labels expects integers; got float64"),
        (
            {"train_labels": [1, 2]},
            ValueError,
            r"train_labels expects shape \(4,\), one label for each image; got \(2,\)",
        ),
        (
            {"levels": [2, 3]},
            ValueError,
            r"levels expects one whole number from 2 to 256; got an array",
        ),
        ({"levels": 2.0}, ValueError, r"levels expects one whole number from 2 to 256; got 2.0"),
        ({"levels": 1}, ValueError, r"levels expects one whole number from 2 to 256; got 1"),
        (
            {"test": GOOD + 16, "levels": 16},
            ValueError,
            r"expects test images with pixels from 0 to 15",
        ),
    ],
)
def test_npz_names_what_is_wrong(tmp_path, change, error, match):
    arrays = {
        key: array
        for key, array in ({"train": GOOD, "test": GOOD} | change).items()
        if array is not None
    }
    with pytest.raises(error, match=match):
        load(save(tmp_path / "toy.npz", **arrays))


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"hello"]
)
def test_npz_that_is_truncated(tmp_path, damage):
    path = save(tmp_path / "toy.npz", train=GOOD, test=GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"toy.npz: load expects an .npz file .*; got one that is damaged"
    ):
        load(path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_npz_with_damage_is_never_another_error(tmp_path_factory, data):
    path = save(tmp_path_factory.mktemp("npz") / "toy.npz", train=GOOD, test=GOOD)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        load(path)
    except (TypeError, ValueError) as error:
        assert "toy" in str(error)  # noqa: PT017
