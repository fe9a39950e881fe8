"""The commands compress and decompress, as a user types them."""

import contextlib
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_exact.cli import main
from pyro_exact.cli.compress import _save
from pyro_exact.codec import Decoded
from pyro_exact.train import load_model

TINY = ["--model.width", "4", "--model.components", "2", "--training.batch-size", "8"]
TINY += ["--training.minutes", "null", "--training.initial-images", "8"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two short runs of PixelCNN++, of 2 and 3 steps."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.chdir(folder)
        pixels = np.random.default_rng(0).integers(0, 6, (40, 4, 4), dtype=np.uint8)
        np.savez("toy.npz", train=pixels[:30], test=pixels[30:])
        for steps in ("2", "3"):
            command = ["train", "pixel_cnn_pp_cifar10_small", "--data", "toy.npz", "--out", steps]
            main([*command, *TINY, "--training.steps", steps])
    return folder


@pytest.fixture
def coder(runs):
    """The checkpoint of the run of 2 steps."""
    return str(runs / "2" / "best.ckpt")


def test_commands_bring_the_images_back(here, coder, run):
    code, out, err = run("compress", coder, "toy.npz", "--out", "a.pyx", "--map", "bits.png")
    assert (code, err) == (0, "")
    found = re.search(
        r"10 images, (\d+) bytes: (\d+\.\d+) bits/dim coded, (\d+\.\d+) by likelihood \(exact\), "
        r"\d+\.\d+ PNG, \d+\.\d+ WebP, \d+\.\d+ JPEG XL",
        out,
    )
    size = (here / "a.pyx").stat().st_size
    assert int(found[1]) == size
    assert float(found[2]) == pytest.approx(8 * size / 160, abs=1e-4)
    assert Image.open("bits.png").size[0] > 500

    assert run("decompress", "a.pyx", "--out", "back.npz")[0] == 0
    back, test = np.load("back.npz"), np.load("toy.npz")["test"]
    assert (back["images"][:, 0] == test).all()
    assert back["levels"] == 256

    code, out, err = run("decompress", "a.pyx", "--out", "back", "--checkpoint", coder)
    assert (code, err) == (0, "")
    pictures = [np.array(Image.open(file)) for file in sorted((here / "back").iterdir())]
    assert (np.stack(pictures) == test).all()
    assert "expects a new or empty folder" in run("decompress", "a.pyx", "--out", "back")[2]


def test_folder_of_images_comes_back(here, coder, run):
    pixels = np.load("toy.npz")["train"][:5]
    (here / "pictures").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(here / "pictures" / f"{index}.png")
    code, _, err = run("compress", coder, "pictures", "--split", "all", "--out", "a.pyx")
    assert (code, err) == (0, "")
    assert run("decompress", "a.pyx", "--out", "back")[0] == 0
    back = [np.array(Image.open(file)).tobytes() for file in sorted((here / "back").iterdir())]
    assert sorted(back) == sorted(image.tobytes() for image in pixels)


def test_decompress_writes_the_blocks_that_are_whole(here, coder, run):
    run("compress", coder, "toy.npz", "--out", "a.pyx", "--block-size", "4")
    data = bytearray((here / "a.pyx").read_bytes())
    data[data.index(b"PXBK", data.index(b"PXBK") + 1) + 30] ^= 1  # in block 1
    (here / "b.pyx").write_bytes(data)

    code, _, err = run("decompress", "b.pyx", "--out", "b.npz")
    assert code == 1
    assert "Block 1 of 3" in err
    assert not (here / "b.npz").exists()

    code, out, err = run("decompress", "b.pyx", "--out", "b.npz", "--keep-going")
    assert code == 1
    assert "Block 1 of 3" in err
    assert "Wrote 6 of 10 images" in out
    kept, test = np.load("b.npz"), np.load("toy.npz")["test"]
    assert kept["index"].tolist() == [0, 1, 2, 3, 8, 9]
    assert (kept["images"][:, 0] == test[kept["index"]]).all()


def test_decompress_refuses_other_weights(here, coder, runs, run):
    run("compress", coder, "toy.npz", "--out", "a.pyx", "--n", "2")
    other = str(runs / "3" / "best.ckpt")
    code, _, err = run("decompress", "a.pyx", "--out", "b.npz", "--checkpoint", other)
    assert code == 1
    assert "expects the weights of pixel_cnn_pp_cifar10_small with SHA-256" in err


def test_compress_writes_nothing_when_the_images_would_not_come_back(here, coder, run, monkeypatch):
    from pyro_exact.codec import entropy

    exact = entropy.table_code
    calls = iter(range(10**9))
    monkeypatch.setattr(  # tables that differ between the two sides
        "pyro_exact.codec.values.table_code",
        lambda p: exact(p if next(calls) < 16 else p.roll(1, -1)),
    )
    code, _, err = run("compress", coder, "toy.npz", "--out", "a.pyx")
    assert code == 1
    assert "Block 0 of 1" in err
    assert not (here / "a.pyx").exists()


def test_flow_counts_its_initial_bits(here, trained, run):
    code, out, err = run("compress", trained, "toy.npz", "--out", "a.pyx", "--n", "3")
    assert (code, err) == (0, "")
    assert re.search(r"by likelihood \(elbo\).*\n.* \d+ initial bytes of bits-back", out)
    assert run("decompress", "a.pyx", "--out", "back.npz")[0] == 0
    index = np.arange(3) * 10 // 3
    assert (np.load("back.npz")["images"][:, 0] == np.load("toy.npz")["test"][index]).all()


def test_map_of_a_flow_is_refused(here, trained, run):
    code, _, err = run("compress", trained, "toy.npz", "--out", "a.pyx", "--map", "a.png")
    assert code == 1
    assert "A map of bits expects a model that codes pixel by pixel; got Dequantized" in err
    assert not (here / "a.pyx").exists()


def test_hash_is_that_of_the_weights(here, coder):
    from pyro_exact.codec.fingerprint import hash_weights

    model, _ = load_model(coder)
    before = hash_weights(model)
    assert hash_weights(load_model(coder)[0]) == before
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert hash_weights(model) != before


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--out", "m.png", "--map", "m.png"], "--out"),
        (["--out", "toy.npz"], "the data"),
        (["--map", "./toy.npz"], "a .png file"),
    ],
)
def test_outputs_replace_neither_each_other_nor_the_data(here, coder, run, arguments, name):
    before = (here / "toy.npz").read_bytes()
    code, _, err = run("compress", coder, "toy.npz", *arguments)
    assert code == 1
    assert name in err
    assert (here / "toy.npz").read_bytes() == before
    assert not (here / "m.png").exists()


def test_decompressed_images_do_not_replace_the_compressed_file(here, coder, run):
    run("compress", coder, "toy.npz", "--out", "a.npz")
    before = (here / "a.npz").read_bytes()
    code, _, err = run("decompress", "a.npz", "--out", "a.npz")
    assert code == 1
    assert "--out expects another file than the compressed file" in err
    assert (here / "a.npz").read_bytes() == before


def test_vectors_are_no_pictures(tmp_path):
    vectors = torch.zeros(2, 16, dtype=torch.uint8)
    decoded = Decoded(vectors, torch.arange(2), None, [])
    with pytest.raises(ValueError, match="1 or 3 channels"):
        _save(decoded, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()
