"""Arrays in .npy files, which batches map."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pyro_exact.data import ArrayDataset, Batches, DataWarning, Images, load, npy
from pyro_exact.data.dataset import SPLITS
from pyro_exact.data.mapped import Mapped
from pyro_exact.data.views import in_memory


def images(count, *shape, high=256, seed=0):
    return np.random.default_rng(seed).integers(0, high, (count, *shape), dtype=np.uint8)


def rows_of(data):
    return {row.numpy().tobytes() for split in SPLITS for row in in_memory(data.split(split))}


def test_npy_holds_images_of_which_parts_are_held_out(tmp_path):
    x = images(50, 3, 4, 6)
    np.save(tmp_path / "x.npy", x)
    data, other = load(tmp_path / "x.npy"), load(tmp_path / "x.npy", seed=1)
    assert repr(data) == "Images('x', shape=(3, 4, 6), levels=256, train=40, valid=5, test=5)"
    assert rows_of(data) == {row.tobytes() for row in x}
    assert torch.equal(in_memory(data.test), in_memory(other.test))
    assert not torch.equal(in_memory(data.valid), in_memory(other.valid))


def test_npy_folders_join_parts_or_hold_splits(tmp_path):
    x = images(30, 5, 5, high=2)
    for name, part in (("a", x[:7]), ("b", x[7:8]), ("c", x[8:])):
        np.save(tmp_path / f"{name}.npy", part)
    (tmp_path / "notes.txt").write_text("")
    with pytest.warns(DataWarning, match=r"not an array of a split: notes.txt"):
        data = load(tmp_path)
    assert (data.shape, data.levels, rows_of(data)) == (
        (1, 5, 5),
        2,
        {row.tobytes() for row in x},
    )

    split = tmp_path / "split"
    split.mkdir()
    for name, part in (("train", x[:20]), ("val", x[20:24]), ("test", x[24:])):
        np.save(split / f"{name}.npy", part)
    np.save(split / "test_labels.npy", np.arange(6, dtype=np.uint8))
    data = load(split)
    assert (data.test_labels.tolist(), data.train_labels) == ([*range(6)], None)
    assert np.array_equal(in_memory(data.valid).squeeze(1).numpy(), x[20:24])

    np.save(split / "train_labels.npy", np.arange(6))
    with pytest.raises(ValueError, match=r"train_labels.npy expects 20 integers.*got shape \(6,\)"):
        load(split)


def test_npy_turns_channels_that_come_last(tmp_path):
    x = images(10, 6, 5, 3)
    np.save(tmp_path / "x.npy", x)
    with pytest.warns(DataWarning, match=r"read as \(N, H, W, C\), channels last, and turned"):
        data = load(tmp_path / "x.npy")
    assert data.shape == (3, 6, 5)
    assert rows_of(data) == {np.moveaxis(row, -1, 0).tobytes() for row in x}


@pytest.mark.parametrize(
    ("x", "levels"),
    [
        (np.linspace(-1, 1, 120).reshape(20, 2, 3), None),
        (np.arange(120).reshape(20, 2, 3), 120),
        (images(20, 6), 256),
        (images(20, 6, high=2), 2),
    ],
    ids=["floats", "integers", "bytes", "bits"],
)
def test_npy_holds_rows_of_any_shape(tmp_path, x, levels):
    np.save(tmp_path / "x.npy", x)
    data = load(tmp_path / "x.npy")
    assert isinstance(data, ArrayDataset)
    assert (data.event_shape, data.levels) == (x.shape[1:], levels)
    expected = torch.from_numpy(x).to(torch.get_default_dtype()) if levels is None else x
    assert rows_of(data) == {bytes(row.numpy() if levels is None else row) for row in expected}


def test_npy_of_vectors_is_a_table_until_it_is_large(tmp_path, monkeypatch):
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "x.npy", x)
    assert type(load(tmp_path / "x.npy")).__name__ == "Table"
    monkeypatch.setattr(npy, "LARGEST_TABLE", 100)
    assert isinstance(load(tmp_path / "x.npy"), ArrayDataset)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.array([[[1.0, np.nan]]] * 5), "finite elements; got 5 of 10 NaN or infinite"),
        (np.array([[[1, -2]]] * 5), "levels 0, 1, ...; got -2"),
        (np.asfortranarray(images(5, 4, 4)), "C order.*numpy.ascontiguousarray"),
        (images(0, 4, 4), r"expects rows, of shape \(N, ...\); got \(0, 4, 4\)"),
        (np.zeros((5, 2, 2), np.complex64), "integers or floats; got complex64"),
        (np.array([[[None]]] * 5), "holds Python objects, and loading data never runs code"),
    ],
)
def test_npy_names_what_is_wrong(tmp_path, x, match):
    np.save(tmp_path / "x.npy", x, allow_pickle=True)
    with pytest.raises(ValueError, match=match):
        load(tmp_path / "x.npy")


def test_npy_refuses_files_that_are_cut_short(tmp_path):
    np.save(tmp_path / "x.npy", images(10, 4, 4))
    data = load(tmp_path / "x.npy")
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"x.npy expects 288 bytes.*got 287\. Copy it again"):
        load(tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"gone or shorter. Leave data alone during a run"):
        data.train[torch.arange(2)]


def test_mapped_rows_serve_worker_processes_and_other_byte_orders(tmp_path):
    x = np.arange(24, dtype=">i4").reshape(8, 3)
    (tmp_path / "x.bin").write_bytes(b"four" + x.tobytes())
    rows = Mapped(tmp_path / "x.bin", 4, (8, 3), x.dtype)
    assert (rows.dtype, rows[torch.tensor([7, 0])].tolist()) == (torch.int32, x[[7, 0]].tolist())

    batches = Batches(rows, 3, seed=0)
    loader = DataLoader(batches, batch_size=None, num_workers=2)
    for step, batch in zip(range(4), loader, strict=False):
        assert torch.equal(batch, batches.batch(step))


def test_levels_keep_the_high_bits_of_every_set(tmp_path):
    x = images(20, 3, 4, 6)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", train=x, test=x)
    for name in ("x.npy", "x.npz"):
        data = load(tmp_path / name, levels=32)
        assert (data.name, data.levels) == ("x_32_levels", 32)
        assert rows_of(data) == {row.tobytes() for row in x // 8}
    assert isinstance(data, Images)


def test_levels_that_the_pixels_have_already_stay(tmp_path):
    x = images(20, 3, 4, 6, high=32)
    np.save(tmp_path / "x.npy", x)
    with pytest.warns(DataWarning, match="all pixels are below 32: read as 32 levels already"):
        data = load(tmp_path / "x.npy", levels=32)
    assert rows_of(data) == {row.tobytes() for row in x}


def test_levels_must_divide_those_of_the_data(tmp_path):
    with pytest.raises(ValueError, match=r"divide its 17 levels.*got 8"):
        load("digits", levels=8)
    np.save(tmp_path / "x.npy", np.zeros((5, 2, 3)))
    with pytest.raises(ValueError, match="levels for images alone"):
        load(tmp_path / "x.npy", levels=32)
