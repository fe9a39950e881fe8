"""The command complete."""

import re

import numpy as np
import torch
from PIL import Image

TINY = [
    "--model.width",
    "4",
    "--model.head-width",
    "4",
    "--training.batch-size",
    "5",
    "--training.steps",
    "3",
]


def test_complete_has_a_row_for_each_image_with_what_is_seen_kept(here, run, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns: shown.update(grids, columns=columns),
    )
    assert (
        run(
            "train",
            "pixel_cnn_mnist",
            "--data",
            "toy.npz",
            "--out",
            "out",
            *TINY,
            "--model.depth",
            "1",
        )[0]
        == 0
    )
    command = ["complete", "out/checkpoint.ckpt", "--completions", "3", "--out", "c.png"]
    assert run(*command, "--n", "5") == (0, "Wrote c.png.\n", "")
    (rows, columns) = shown.values()
    rows = rows.view(5, 5, 4, 4)
    seen, drawn, real = rows[:, 0], rows[:, 1:4], rows[:, 4]
    assert columns == 5
    assert {tuple(image.flatten().tolist()) for image in real} <= {
        tuple(image.ravel().tolist()) for image in np.load("toy.npz")["test"]
    }
    assert torch.equal(seen[:, :2], real[:, :2])
    assert (seen[:, 2:] == 127.5).all()
    assert torch.equal(drawn[:, :, :2], real[:, None, :2].expand(5, 3, 2, 4))
    assert not torch.equal(drawn[:, 0], drawn[:, 1])

    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(pixels).save("image.png")
    Image.fromarray(np.uint8([[255, 0, 0, 0]] * 4)).save("left.png")
    assert run(*command, "--image", "image.png", "--mask", "left.png")[0] == 0
    rows = next(iter(shown.values())).view(5, 4, 4)
    assert torch.equal(rows[:, :, 0], torch.from_numpy(pixels[:, 0]).expand(5, 4).float())
    assert torch.equal(rows[4], torch.from_numpy(pixels).float())

    Image.fromarray(np.zeros((3, 4), np.uint8)).save("small.png")
    for flags, message in [
        (
            ["--mask", "small.png"],
            r"small.png expects an image of shape \(1, 4, 4\), as the model's; got \(1, 3, 4\)",
        ),
        (["--image", "small.png"], r"small.png expects an image of shape \(1, 4, 4\)"),
        (["--mask", "quarter.png"], "quarter.png"),
        (["--completions", "0"], "complete expects --completions from 1 to .*; got 0"),
        (
            ["--n", "11"],
            "--n expects at most 10, because the split test of toy has 10 rows; got 11",
        ),
        (["--label", "1"], "expects no --label, because its model has no classes"),
    ]:
        code, _, err = run(*command, *flags)
        assert code == 1
        assert re.search(message, err)


def test_complete_asks_for_the_class_and_for_an_autoregressive_model(trained, run):
    code, _, err = run("complete", "out/checkpoint.ckpt")
    assert (code, "expects an autoregressive or an order-agnostic model; got Dequ" in err) == (
        1,
        True,
    )
    small = [*TINY, "--model.depth", "1"]
    assert run("train", "gated_pixel_cnn_digits_by_class", "--out", "by_class", *small)[0] == 0
    code, _, err = run("complete", "by_class/checkpoint.ckpt", "--n", "2")
    assert (code, "Pass it with --label" in err) == (1, True)
    assert run("complete", "by_class/checkpoint.ckpt", "--n", "2", "--label", "3") == (
        0,
        "Wrote completions.png.\n",
        "",
    )
    assert run("sample", "by_class/checkpoint.ckpt", "--n", "20") == (0, "Wrote samples.png.\n", "")


def test_complete_with_a_network_of_any_order_uses_all_that_is_seen(here, run, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns: shown.update(grids, columns=columns),
    )
    bits = np.random.default_rng(0).integers(0, 2, (40, 4, 4), dtype=np.uint8)
    np.savez("bits.npz", train=bits[:20], valid=bits[20:30], test=bits[30:])
    small = ["--model.hidden-dims", "[4, 4]", "--training.batch-size", "5", "--training.steps", "3"]
    assert run("train", "deep_nade_mnist", "--data", "bits.npz", "--out", "out", *small)[0] == 0
    Image.fromarray(np.uint8([[0, 0, 255, 255]] * 4)).save("right.png")
    command = ["complete", "out/checkpoint.ckpt", "--completions", "30", "--n", "2"]
    assert run(*command, "--mask", "right.png") == (0, "Wrote completions.png.\n", "")
    rows = next(iter(shown.values())).view(2, 32, 4, 4)
    assert torch.equal(rows[:, :31, :, 2:], rows[:, 31:, :, 2:].expand(2, 31, 4, 2))
    assert 0.2 < rows[:, 1:31, :, :2].mean() < 0.8
    assert (rows[:, 0, :, :2] == 0.5).all()

    Image.new("L", (4, 4), 255).save("white.png")
    code, _, err = run(*command, "--mask", "white.png")
    assert (code, "expects a mask that hides a pixel; got a white mask" in err) == (1, True)


def test_complete_sees_half_of_a_vector(here, run, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns: shown.update(grids, columns=columns),
    )
    rows = np.random.default_rng(0).integers(0, 2, (30, 7), dtype=np.uint8)
    np.savez("rows.npz", train=rows[:20], valid=rows[20:21], test=rows[21:22])
    small = ["--model.width", "4", "--training.batch-size", "5", "--training.steps", "3"]
    assert run("train", "nade_debd", "--data", "rows.npz", "--out", "out", *small)[0] == 0
    assert run("complete", "out/checkpoint.ckpt", "--completions", "20")[0] == 0
    found = next(iter(shown.values()))[:, 0, 0]  # of the only image of the split
    assert found.shape == (22, 7)
    assert torch.equal(found[:21, :3], torch.from_numpy(rows[21, :3]).expand(21, 3).float())
    assert (found[0, 3:] == 0.5).all()
    assert len(found[1:21].unique(dim=0)) > 1


def test_complete_draws_large_images_of_a_small_one(here, run, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns: shown.update(grids, columns=columns),
    )
    tiny = [f"--model.{name}=2" for name in ("scales", "width", "depth", "head-width")]
    tiny += [f"--model.base-{name}=2" for name in ("width", "depth", "head-width")]
    tiny += ["--training.batch-size", "5", "--training.steps", "3"]
    name = "multiscale_pixel_cnn_mnist_small"
    assert run("train", name, "--data", "toy.npz", "--out", "out", *tiny)[0] == 0
    command = ["complete", "out/checkpoint.ckpt", "--completions", "4", "--n", "2"]
    assert run(*command, "--mask", "lowres") == (0, "Wrote completions.png.\n", "")
    rows = next(iter(shown.values())).view(2, 6, 4, 4)
    seen, drawn, real = rows[:, 0], rows[:, 1:5], rows[:, 5]
    assert (seen != 127.5).sum() == 2  # one pixel of each image
    assert torch.equal(seen[:, 0, 0], real[:, 0, 0])
    assert torch.equal(drawn[:, :, 0, 0], real[:, None, 0, 0].expand(2, 4))
    assert not torch.equal(drawn[:, 0], drawn[:, 1])

    assert run("train", "pixel_cnn_mnist", "--data", "toy.npz", "--out", "other", *TINY)[0] == 0
    code, _, err = run("complete", "other/checkpoint.ckpt", "--mask", "lowres")
    assert (code, "no small image; got PixelCNN. Use --mask half" in err) == (1, True)


def test_sample_shows_the_image_of_each_count_of_steps(here, run, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns, rows: shown.update(grids, columns=columns, rows=rows),
    )
    tiny = ["--model.steps=3", "--model.width=2", "--model.latent-channels=2"]
    tiny += ["--training.batch-size", "5", "--training.steps", "3"]
    name = "conv_draw_mnist_small"
    assert run("train", name, "--data", "toy.npz", "--out", "out", *tiny)[0] == 0
    command = ["sample", "out/checkpoint.ckpt", "--n", "4"]
    assert run(*command, "--steps", "[0, 3]") == (0, "Wrote samples.png.\n", "")
    assert (shown.pop("columns"), shown.pop("rows")) == (4, 2)
    assert list(shown) == ["0 steps", "3 steps"]
    assert all(drawn.shape == (4, 1, 4, 4) for drawn in shown.values())

    for flags, message in [
        (["--steps", "[4]"], "expects steps from 0 to 3; got 4"),
        (["--steps", "[]"], "expects --steps of at least one count"),
        (["--steps", "[1]", "--out", "x.npz"], "and a .png file; got"),
    ]:
        code, _, err = run(*command, *flags)
        assert (code, message in err) == (1, True), err
    assert run("train", "pixel_cnn_mnist", "--data", "toy.npz", "--out", "other", *TINY)[0] == 0
    code, _, err = run("sample", "other/checkpoint.ckpt", "--steps", "[1]")
    assert (code, "expects a ConvDRAW, which draws an image step by step" in err) == (1, True)
