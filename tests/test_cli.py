"""The command line, as a user types it."""

import dataclasses
import errno
import json
import os
import re
import signal

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pyro_exact import __version__, train
from pyro_exact.cli import main
from pyro_exact.recipes import load_recipe
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.lightning_module import TrainingModule
from pyro_exact.train.lock import folder_lock

SMALL = [
    "--model.scales",
    "1",
    "--model.steps",
    "1",
    "--model.width",
    "4",
    "--training.batch-size",
    "8",
]
SMALL += [
    "--training.minutes",
    "null",
    "--training.validate-every",
    "2",
    "--training.warmup-steps",
    "50",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory with a data set of two splits: each pixel 3 or near it, of 8 bits."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 6, (40, 4, 4), dtype=np.uint8)
    np.savez("toy.npz", train=pixels[:30], test=pixels[30:])
    return tmp_path


@pytest.fixture
def run(capsys):
    """Run a command; returns exit code, stdout and stderr."""

    def call(*arguments):
        try:
            main(arguments)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def trained(run):
    """The folder of a short run on toy.npz."""
    code, _, err = run(
        "train", "glow_digits", "--data", "toy.npz", "--out", "out", "--training.steps", "3", *SMALL
    )
    assert (code, err) == (0, "")
    return "out"


def test_train_leaves_what_the_other_commands_need(here, trained, run):
    assert sorted(path.name for path in (here / "out").iterdir()) == [
        "best.ckpt", "checkpoint.ckpt", "curve.png", "recipe.yaml", "train.json",
    ]  # fmt: skip
    record = json.loads((here / "out" / "train.json").read_text())
    assert record["data"] == {"name": "toy", "split": "valid", "images": 3}
    assert (record["steps"], record["training"]["batch_size"], record["settings"]["steps"]) == (
        3,
        8,
        1,
    )
    assert record["training"]["ema_decay"] is not None  # all else is that of the recipe
    assert {
        "commit",
        "date",
        "hardware",
        "torch",
        "seconds",
        "clock",
        "parameters",
    } <= record.keys()

    code, out, err = run("evaluate", "out/checkpoint.ckpt", "--note", "ten images")
    assert (code, err) == (0, "")
    assert re.search(
        r"glow_digits on toy, test: \d\.\d{4} ± \d\.\d{4} bits/dim \(elbo, k = 1, 10 images\)", out
    )
    record = json.loads((here / "out" / "checkpoint-test.json").read_text())
    assert record["data"] == {"name": "toy", "split": "test", "images": 10, "note": "ten images"}

    bf16 = ["--note", "ten images", "--precision", "bf16", "--out", "b.json"]
    assert run("evaluate", "out/checkpoint.ckpt", *bf16)[0] == 0
    rounded = json.loads((here / "b.json").read_text())
    assert rounded["data"]["note"] == "ten images; networks in bfloat16"
    assert 0 < abs(rounded["metric"]["value"] - record["metric"]["value"]) < 0.02

    code, out, err = run(
        "sample", "out/best.ckpt", "--out", "below/samples.png", "--temperature", "0.7", "--n", "4"
    )
    assert (code, out, err) == (0, "Wrote below/samples.png.\n", "")
    assert (here / "below" / "samples.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "evaluate out/checkpoint.ckpt --out toy.npz/score.json",
            "The output folder toy.npz cannot be written",
        ),
        (
            "sample out/checkpoint.ckpt --out toy.npz/samples.png",
            "The output folder toy.npz cannot be written",
        ),
        (
            "sample out/checkpoint.ckpt --out samples.jpg",
            "--out expects the name of a .png file; got 'samples.jpg'",
        ),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_work(
    here, trained, run, monkeypatch, command, message
):
    monkeypatch.setattr("pyro_exact.train.load_model", None)
    code, _, err = run(*command.split())
    assert (code, err.startswith(f"pyro-exact: {message}")) == (1, True)


def test_evaluate_takes_options(here, trained, run):
    code, out, _ = run(
        "evaluate",
        "out/best.ckpt",
        "--split",
        "valid",
        "--k",
        "4",
        "--out",
        "score.json",
        "--seed",
        "3",
    )
    assert code == 0
    assert "(importance-weighted, k = 4, 3 images)" in out
    assert json.loads((here / "score.json").read_text())["metric"]["k"] == 4


def test_the_recipe_that_was_left_trains_again_on_the_same_data(trained, run):
    assert yaml.safe_load(open("out/recipe.yaml"))["data"] == os.path.abspath("toy.npz")
    code, _, err = run("train", "out/recipe.yaml", "--out", "again")
    assert (code, err) == (0, "")
    assert yaml.safe_load(open("out/recipe.yaml")) == yaml.safe_load(open("again/recipe.yaml"))


def test_of_the_folder_of_a_run_the_best_checkpoint_is_taken(here, trained, run):
    for command in ("evaluate", "sample --n 2", "interpolate --n 1", "reconstruct --n 2"):
        name, *flags = command.split()
        code, out, err = run(name, "out", *flags)
        assert (code, err) == (0, "")
        assert out.startswith("Taking out/best.ckpt, the state with the lowest validation loss.\n")
    assert (here / "out" / "best-test.json").exists()
    (here / "out" / "best.ckpt").unlink()
    assert run("evaluate", "out")[1].startswith(
        "Taking out/checkpoint.ckpt, the last state: there is no best.ckpt"
    )
    (here / "empty").mkdir()
    code, _, err = run("evaluate", "empty")
    assert (code, "empty expects a checkpoint, best.ckpt or checkpoint.ckpt; got none" in err) == (
        1,
        True,
    )


def test_each_evaluation_has_a_record_of_its_own(here, trained, run):
    np.savez("other.npz", **np.load("toy.npz"))
    flags = [
        "",
        "--k 2",
        "--seed 1",
        "--precision bf16",
        "--data other.npz",
        "--split valid",
        "--k 2 --seed 1",
    ]
    for checkpoint in ("best", "checkpoint"):
        for given in flags:
            assert run("evaluate", f"out/{checkpoint}.ckpt", *given.split())[0] == 0
    records = [json.loads(path.read_text()) for path in (here / "out").glob("*-*.json")]
    assert len(records) == 2 * len(flags)
    assert len(list((here / "out").glob("best-*.json"))) == len(flags)
    assert json.loads((here / "out" / "best-test-k2-seed1.json").read_text())["metric"]["k"] == 2


@pytest.mark.parametrize(
    "command", ["evaluate", "sample", "interpolate", "reconstruct", "diagnose"]
)
def test_weights_that_are_not_finite_leave_no_record_and_no_picture(here, trained, run, command):
    checkpoint = train.read_checkpoint("out/best.ckpt")
    name = next(name for name in checkpoint["state_dict"] if name.endswith("bias"))
    checkpoint["state_dict"][name].view(-1)[0] = float("nan")
    AtomicCheckpointIO().save_checkpoint(checkpoint, "out/best.ckpt")
    before = sorted(here.rglob("*"))
    code, _, err = run(command, "out")
    layer = name.removeprefix("model.").removesuffix(".bias")
    assert code == 1
    assert f"best.ckpt expects finite weights; got NaN in bias of {layer} (" in err
    assert sorted(here.rglob("*")) == before


def test_a_score_is_printed_though_its_record_cannot_be_written(trained, run, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    code, out, err = run("evaluate", "out")
    assert (code, "No space left on device" in err) == (1, True)
    assert re.search(r"glow_digits on toy, test: \d\.\d{4} ± .*\n.* nats per image\n", out)


def test_each_of_several_temperatures_has_a_row_of_the_same_noise(trained, run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids", lambda grids, *_, columns, rows: seen.append((grids, rows))
    )
    for temperature in ("[0.5, 1]", "[1]"):
        assert (
            run("sample", "out/checkpoint.ckpt", "--n", "8", "--temperature", temperature)[0] == 0
        )
    (both, rows), (alone, _) = seen
    assert (list(both), rows) == (["temperature 0.5", "temperature 1"], 2)
    assert both["temperature 1"].shape == (8, 1, 4, 4)
    assert torch.equal(both["temperature 1"], alone["temperature 1"])
    assert not torch.equal(both["temperature 0.5"], alone["temperature 1"])


def test_sample_shows_the_nearest_training_images(here, trained, run, monkeypatch):
    seen = {}
    monkeypatch.setattr("pyro_exact.plots.save_grids", lambda grids, *_, **__: seen.update(grids))
    assert run("sample", "out/checkpoint.ckpt", "--n", "2", "--nearest")[0] == 0
    assert list(seen) == ["samples", "samples: nearest training images"]
    known = torch.from_numpy(np.load("toy.npz")["train"])
    assert all(
        (known == image).flatten(1).all(1).any()
        for image in seen["samples: nearest training images"][:, 0]
    )


def test_a_class_conditional_model_from_training_to_samples(here, run, monkeypatch):
    pixels, labels = np.load("toy.npz")["train"], np.arange(30) % 3
    np.savez("named.npz", train=pixels, test=pixels, train_labels=labels, test_labels=labels)
    flags = [
        "--data",
        "named.npz",
        "--out",
        "out",
        "--training.steps",
        "3",
        "--model.context_dim",
        "3",
        *SMALL,
    ]
    assert run("train", "glow_digits", *flags)[0] == 0
    assert run("evaluate", "out/checkpoint.ckpt")[0] == 0
    seen = []
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns, rows: seen.append((grids, columns)),
    )
    for label in ([], ["--label", "2"], ["--label", "[2, 0]"]):
        assert run("sample", "out/checkpoint.ckpt", "--n", "12", *label)[0] == 0
    assert [(len(grids["samples"]), columns) for grids, columns in seen] == [
        (12, 4),
        (12, 8),
        (12, 6),
    ]
    for command, message in (
        ("sample out/checkpoint.ckpt --label 3", "expects integer classes from 0 to 2; got 3,"),
        (
            "interpolate out/checkpoint.ckpt",
            "expects a model whose noise has no classes; got one of 3 classes",
        ),
        (
            "evaluate out/checkpoint.ckpt --data toy.npz",
            "toy, test expects a label for each image",
        ),
    ):
        code, _, err = run(*command.split())
        assert (code, message in err) == (1, True), err


def test_a_label_for_a_model_without_classes_is_refused(trained, run):
    code, _, err = run("sample", "out/checkpoint.ckpt", "--label", "1")
    assert (code, err) == (
        1,
        "pyro-exact: This Dequantized is not class-conditional; got labels. Use it without them.\n",
    )


def test_an_autoregressive_recipe_from_training_to_samples(here, run):
    bits = np.random.default_rng(0).integers(0, 2, (40, 4, 4), dtype=np.uint8)
    np.savez("bits.npz", train=bits[:20], valid=bits[20:30], test=bits[30:])
    small = ["--model.width", "4", "--training.batch-size", "5", "--training.steps", "3"]
    code, out, err = run("train", "nade_mnist", "--data", "bits.npz", "--out", "out", *small)
    assert code == 0
    assert re.fullmatch(
        r"pyro-exact: Warning: .* are for batches of 100 images; with 5 the first steps .*\n", err
    )
    assert re.search(
        r"validation: \d\.\d{4} ± .* \(exact, 10 images\), \d+\.\d\d ± \d\.\d\d nats per image", out
    )
    assert json.loads((here / "out" / "train.json").read_text())["metric"]["unit"] == "nats"
    assert run("sample", "out/checkpoint.ckpt", "--n", "2")[0] == 0
    code, _, err = run("sample", "out/checkpoint.ckpt", "--temperature", "0.7")
    assert (code, "no base noise to scale; got temperature 0.7" in err) == (1, True)
    code, _, err = run("train", "nade_mnist", "--data", "toy.npz", "--out", "other", *small)
    assert (code, "NADE expects images of 2 levels, 0 and 1; got 256" in err) == (1, True)


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
            "--n expects at most 10, because the split test of toy has 10 images; got 11",
        ),
        (["--label", "1"], "expects no --label, because its model has no classes"),
    ]:
        code, _, err = run(*command, *flags)
        assert code == 1
        assert re.search(message, err)


def test_complete_asks_for_the_class_and_for_an_autoregressive_model(trained, run):
    code, _, err = run("complete", "out/checkpoint.ckpt")
    assert (code, "expects an autoregressive model; got glow" in err) == (1, True)
    small = [*TINY, "--model.depth", "1"]
    assert run("train", "gated_pixel_cnn_digits_by_class", "--out", "by_class", *small)[0] == 0
    code, _, err = run("complete", "by_class/checkpoint.ckpt", "--n", "2")
    assert (code, "Say it with --label" in err) == (1, True)
    assert run("complete", "by_class/checkpoint.ckpt", "--n", "2", "--label", "3") == (
        0,
        "Wrote completions.png.\n",
        "",
    )
    assert run("sample", "by_class/checkpoint.ckpt", "--n", "20") == (0, "Wrote samples.png.\n", "")


def test_a_network_of_any_order_completes_from_all_that_is_seen(here, run, monkeypatch):
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
    assert (code, "expects a mask that hides a pixel; got one that is white" in err) == (1, True)


def test_half_of_a_vector_is_seen(here, run, monkeypatch):
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


def test_labels_of_every_split_are_checked_before_training(here, run):
    pixels, labels = np.load("toy.npz")["train"], np.arange(30) % 3
    flags = ["--out", "out", "--training.steps", "3", "--model.context_dim", "3", *SMALL]
    for split in ("valid", "test"):
        arrays = {f"{name}_labels": labels for name in ("train", "valid", "test")} | {
            f"{split}_labels": labels + 1
        }
        np.savez("named.npz", train=pixels, valid=pixels, test=pixels, **arrays)
        code, _, err = run("train", "glow_digits", "--data", "named.npz", *flags)
        assert (code, err.count("\n")) == (1, 1)
        assert (
            f"named, {split} expects classes from 0 to 2, as the model has them; got labels from 1 to 3"
            in err
        )
        assert not (here / "out").exists()


def test_rules_by_which_data_are_read_are_printed(here, run):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    np.savez("last.npz", train=pixels, test=pixels, names=np.arange(3))
    code, _, err = run("train", "glow_digits", "--data", "last.npz", "--model.scales", "9")
    left_out, turned, _, error = err.splitlines()
    assert code == 1
    assert turned.startswith(
        "pyro-exact: last.npz: train of shape (20, 8, 8, 3): read as (N, H, W, C)"
    )
    assert left_out.startswith("pyro-exact: last.npz: not read: names")
    assert "scales" in error


def test_interpolate_has_a_row_for_each_pair_with_the_real_images_at_its_ends(
    here, trained, run, monkeypatch
):
    shown = {}
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids",
        lambda grids, *_, columns: shown.update(grids, columns=columns),
    )
    code, out, err = run(
        "interpolate", "out/checkpoint.ckpt", "--n", "3", "--steps", "5", "--out", "i.png"
    )
    assert (code, out.strip(), err) == (0, "Wrote i.png.", "")
    (rows, columns) = shown.values()
    real = {tuple(image.ravel().tolist()) for image in np.load("toy.npz")["test"]}
    assert columns == 5
    rows = rows.view(3, 5, 16)
    assert all(tuple(rows[pair, end].tolist()) in real for pair in range(3) for end in (0, -1))
    assert not torch.equal(rows[:, 0], rows[:, 2])


def test_reconstruct_prints_its_error(here, trained, run):
    code, out, err = run("reconstruct", "out/checkpoint.ckpt", "--n", "10", "--out", "r.png")
    assert (code, err) == (0, "")
    assert float(re.search(r"largest error (\S+) of a grey level", out)[1]) < 0.05
    assert "0 of 160 elements came back as another level" in out
    assert (here / "r.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["interpolate", "--steps", "1"], "interpolate expects --steps from 2 to 10000; got 1"),
        (
            ["interpolate", "--n", "6"],
            "--n expects at most 5, because the split test of toy has 10 images; got 6",
        ),
        (
            ["reconstruct", "--n", "11"],
            "--n expects at most 10, because the split test of toy has 10 images; got 11",
        ),
        (
            ["sample", "--temperature", "-1"],
            "--temperature as a finite number that is at least 0; got -1.0",
        ),
        (["sample", "--n", "100000000"], "--n from 1 to"),
        (["sample", "--n", "10000000"], "Lower their number"),
        (["sample", "--data", "toy.npz"], "Add --nearest"),
        (["reconstruct", "--out", "r.jpg"], "expects the name of a .png file"),
    ],
)
def test_what_cannot_be_drawn_is_refused(trained, run, command, message):
    code, _, err = run(command[0], "out/checkpoint.ckpt", *command[1:])
    assert code == 1
    assert message in err


def test_the_images_of_a_checkpoint_are_found_from_anywhere(here, trained, run, monkeypatch):
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert run("evaluate", "../out/checkpoint.ckpt")[0] == 0
    (here / "toy.npz").rename(here / "moved.npz")
    code, _, err = run("evaluate", "../out/checkpoint.ckpt")
    assert code == 1
    assert re.search(r"not where they were\. .*toy\.npz: no such file.*--data", err)
    assert run("evaluate", "../out/checkpoint.ckpt", "--data", "../moved.npz")[0] == 0


def test_a_folder_that_is_called_as_a_data_set_is_found_from_anywhere(here, run, monkeypatch):
    (here / "digits").mkdir()
    for i in range(12):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(here / "digits" / f"{i}.png")
    flags = ["--out", "out", "--training.steps", "1", *SMALL]
    assert run("train", "glow_digits", "--data", "./digits", *flags)[0] == 0
    assert train.load_model("out/checkpoint.ckpt")[1].source["name"] == str(here / "digits")


def test_a_checkpoint_with_another_source_is_refused(here, trained, run, monkeypatch):
    model, of_run = train.load_model("out/checkpoint.ckpt")
    changed = dataclasses.replace(of_run, source={**of_run.source, "download": True})
    monkeypatch.setattr("pyro_exact.train.load_model", lambda *_: (model, changed))
    code, _, err = run("evaluate", "out/checkpoint.ckpt")
    assert (
        code,
        "expects a source of name, root, valid_fraction, seed; got download too" in err,
    ) == (1, True)


def test_a_split_of_one_image_is_enough_but_for_pairs(here, trained, run):
    pixels = np.load("toy.npz")["train"]
    np.savez("one.npz", train=pixels[:1], valid=pixels[1:2], test=pixels[2:3], levels=256)
    assert run("reconstruct", "out/checkpoint.ckpt", "--data", "one.npz")[0] == 0
    code, _, err = run("interpolate", "out/checkpoint.ckpt", "--data", "one.npz")
    assert (
        code,
        "The split test of one expects at least 2 images; got 1. Choose another split" in err,
    ) == (1, True)


def test_a_split_is_that_of_the_training(trained, run):
    _, run_of_seed_0 = train.load_model("out/checkpoint.ckpt")
    assert run_of_seed_0.source["name"] == os.path.abspath("toy.npz")
    assert (run_of_seed_0.source["seed"], run_of_seed_0.source["valid_fraction"]) == (0, None)


def test_other_images_are_scored_only_if_they_fit(trained, run):
    code, _, err = run("evaluate", "out/checkpoint.ckpt", "--data", "digits")
    assert code == 1
    assert re.search(
        r"model expects images of shape \(1, 4, 4\) with 256 levels.*got \(1, 8, 8\) with 17 from digits",
        err,
    )


def test_a_run_is_resumed(trained, run):
    again = ["train", "glow_digits", "--data", "toy.npz", "--out", "out", *SMALL]
    code, _, err = run(*again, "--training.steps", "5")
    assert code == 1
    assert "exists. Go on from it with resume=True (--resume)" in err
    assert run("train", "--resume", *again[1:], "--training.steps", "5")[0] == 0
    assert train.load_model("out/checkpoint.ckpt")[1].step == 5


def test_ctrl_c_says_how_to_go_on(run, monkeypatch):
    begin = TrainingModule.on_train_batch_start

    def on_train_batch_start(self, batch, batch_idx):
        begin(self, batch, batch_idx)
        if self.global_step == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", on_train_batch_start)
    command = ["train", "glow_digits", "--data", "toy.npz", *SMALL]
    code, _, err = run(*command)
    assert code == 130
    assert (
        "pyro-exact: Stopped after 3 steps. runs/glow_digits/checkpoint.ckpt goes on from there with --resume"
        in err
    )
    assert run(*command, "--resume", "--training.steps", "4")[0] == 0


def test_ctrl_c_outside_of_training(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_exact.data.load", interrupted)
    assert run("train", "glow_digits") == (130, "", "pyro-exact: interrupted\n")


def test_the_demo_shows_what_it_learned(here, run, monkeypatch):
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe",
        lambda name: load_recipe(name).changed({"steps": 1, "width": 4}, {}),
    )
    code, out, err = run("demo", "--training.steps", "4", "--out", "demo", *SMALL[6:8], *SMALL[12:])
    assert (code, err) == (0, "")
    assert sorted(path.name for path in (here / "demo").iterdir()) == [
        "best.ckpt", "checkpoint.ckpt", "curve.png", "metrics.json", "samples.png",
    ]  # fmt: skip
    metrics = json.loads((here / "demo" / "metrics.json").read_text())
    assert metrics["data"]["images"] == 400
    assert metrics["baselines"]["uniform code"] == pytest.approx(np.log2(17))
    assert metrics["baselines"]["independent pixels"] == pytest.approx(2.43, abs=0.05)
    assert f"{metrics['metric']['value']:.4f} ± {metrics['metric']['standard_error']:.4f}" in out
    assert "test bits/dim of best.ckpt, the state after 4 of 4 steps" in out
    assert run("demo", "--training.steps", "1", "--out", "demo")[0] == 0  # it replaces what it left


@pytest.mark.parametrize("lost", [[], ["recipe.yaml", "train.json"]])
def test_the_demo_leaves_another_run_alone(here, trained, run, monkeypatch, lost):
    same = {"scales": 1, "steps": 1, "width": 4}  # a run of `train`, though of the same model
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe", lambda name: load_recipe(name).changed(same, {})
    )
    for name in lost:  # as of a run that was killed
        (here / trained / name).unlink()
    before = {path.name: path.read_bytes() for path in (here / trained).iterdir()}
    code, out, err = run("demo", "--training.steps", "1", "--out", trained)
    assert (code, out) == (1, "")
    assert re.fullmatch(
        r"pyro-exact: out expects nothing, or an earlier demo; got .* of another run.*--out.*\n",
        err,
    )
    assert {path.name: path.read_bytes() for path in (here / trained).iterdir()} == before


def test_the_demo_leaves_a_damaged_checkpoint_alone(here, run):
    (here / "out").mkdir()
    (here / "out" / "best.ckpt").write_bytes(b"mine")
    code, out, err = run("demo", "--out", "out")
    assert (code, out) == (1, "")
    assert "A demo replaces only an earlier demo. Choose another folder (--out)." in err
    assert (here / "out" / "best.ckpt").read_bytes() == b"mine"


def test_the_demo_keeps_its_folder_to_the_end(here, run, monkeypatch):
    def save_curve(*arguments):
        with pytest.raises(ValueError, match="in use by another run"), folder_lock(here / "demo"):
            pass
        seen.append(arguments)

    seen = []
    monkeypatch.setattr("pyro_exact.plots.save_curve", save_curve)
    monkeypatch.setattr(
        "pyro_exact.cli.demo.load_recipe",
        lambda name: load_recipe(name).changed({"steps": 1, "width": 4}, {}),
    )
    assert run("demo", "--training.steps", "1", "--out", "demo")[0] == 0
    assert len(seen) == 1


def test_recipes_are_listed_and_shown(run):
    code, out, _ = run("recipes")
    assert code == 0
    assert re.search(r"glow_cifar10 +cifar10 +3\.35 bits/dim  Kingma and Dhariwal", out)
    assert re.search(r"glow_digits +digits +no published number", out)
    _, out, _ = run("recipes", "--show", "glow_digits")
    assert yaml.safe_load(out)["model"]["log_scale_factor"] == 3.0


def test_arguments_come_from_a_yaml_file_too(here, run):
    (here / "run.yaml").write_text(
        "recipe: glow_digits\ndata: toy.npz\nout: out\nmodel: {scales: 1, steps: 1, width: 4}\n"
        "training: {steps: 5, batch_size: 8, learning_rate: 1e-4}\n"
    )
    code, _, err = run("train", "--config", "run.yaml", "--training.steps", "2")
    assert (code, err) == (0, "")
    record = json.loads((here / "out" / "train.json").read_text())
    assert (record["steps"], record["training"]["learning_rate"]) == (2, 1e-4)
    assert record["training"]["warmup_steps"] == 50


def test_help_explains_every_setting(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    plain = " ".join(out.split())
    assert (
        "--training.batch_size BATCH_SIZE Images per step; several processes share them evenly. (type: int)"
        in plain
    )
    assert "--resume" in plain
    assert "If true, continue from the checkpoint in the output folder" in plain
    assert (
        "{train,evaluate,sample,complete,interpolate,reconstruct,diagnose,recipes,demo}"
        in run("--help")[1]
    )
    assert run("--version") == (0, f"pyro-exact {__version__}\n", "")


@pytest.mark.parametrize(
    "flag", ["--data-root", "--data_root", "--data-root=a-b", "--data_root=a-b"]
)
def test_flags_are_written_with_dashes_or_underscores(run, flag):
    value = [] if "=" in flag else ["a-b"]
    code, _, err = run("train", "glow_cifar10_small", flag, *value)
    assert code == 1
    assert "a-b" in err
    assert "--download" in err


@pytest.mark.parametrize(
    "flag", [["--download"], ["--download", "true"], ["--download=true"], ["--download", "false"]]
)
def test_flags_that_are_true_or_false_need_no_value(run, monkeypatch, flag):
    def load(download, **_):
        raise ValueError(f"download is {download}")

    monkeypatch.setattr("pyro_exact.data.load", load)
    assert (
        run("train", *flag, "glow_digits")[2] == f"pyro-exact: download is {'false' not in flag}\n"
    )
    assert (
        run("train", "glow_digits", *flag)[2] == f"pyro-exact: download is {'false' not in flag}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 2, 'expected "subcommand" to be one of'),
        ("trian", 2, "invalid choice: 'trian'.*Did you mean 'train'"),
        ("train", 2, "train.recipe"),
        (
            "train glow_digits --training.batch_sise 8",
            2,
            r"training.batch_sise 8\. Did you mean 'training.batch_size'",
        ),
        ("train glow_digits --resumee", 2, "Did you mean 'resume'"),
        (
            "train glow_digits --training.batch_size many",
            2,
            "--training.batch_size expects an integer; got many. Corr",
        ),
        (
            "train glow_digits --training.minutes long",
            2,
            "--training.minutes expects a number or null; got long. Correct it",
        ),
        (
            "train glow_digits --data toy.npz --model.scales 1 --model.steps 1000000000",
            1,
            "steps from 1 to 10000; got 10",
        ),
        ("train glow_digits --model.stps 8", 1, r"unknown key 'stps'\. Did you mean 'steps'"),
        ("train glow_digits --model.steps deep", 1, "steps expects int; got 'deep'"),
        (
            "train glow_digits --training.steps 0",
            1,
            "training.steps expects a positive number of at most 1\\d+; got 0",
        ),
        (
            "train glow_digits --training.lr 8",
            2,
            r"training.lr 8\. Did you mean 'training.learning_rate'",
        ),
        ("train glow_digits --training.ema 0.9", 2, r"Did you mean 'training.ema_decay'"),
        ("train glow_digits --training.batch 8", 2, r"Did you mean 'training.batch_size'"),
        ("train " + "n" * 300 + ".yaml", 1, "There is no recipe file nnn"),
        ("evaluate " + "n" * 300, 1, "nnn: File name too long. Check the name"),
        ("train \x1b[2J.yaml", 1, r"There is no recipe file \\x1b\[2J\.yaml"),
        ("evaluate \x1b[2J", 1, r"There is no checkpoint \\x1b\[2J"),
        ("evaluate \x1b[2J --device cpu --split \x1b[2J", 2, r"\\x1b\[2J"),
        ("train glow_digit", 1, r"no recipe 'glow_digit'\. Did you mean 'glow_digits'"),
        ("train glow_digits --data cifar", 1, "Did you mean cifar10"),
        ("train glow_cifar10_small", 1, "--data-root"),
        ("train glow_digits --data nothing.npz", 1, "nothing.npz: no such file"),
        ("train glow_digits --data odd.npz", 1, r"multiples of 2\^scales = 4; got .*\(1, 5, 5\)"),
        ("train glow_digits --data half.npz", 1, "expects arrays train and test"),
        ("train glow_digits --out toy.npz/below", 1, "cannot be written: Not a directory.*--out"),
        ("train glow_digits --device tpu", 2, "tpu"),
        ("train glow_digits --config wrong.yaml", 2, "steppes.*Did you mean 'training.steps'"),
        ("evaluate nothing.ckpt", 1, "There is no checkpoint nothing.ckpt"),
        ("evaluate toy.npz", 1, "toy.npz is (damaged|refused|no checkpoint)"),
        ("sample nothing.ckpt", 1, "There is no checkpoint nothing.ckpt"),
        ("sample nothing.ckpt --n 0", 1, "sample expects --n from 1 to .*; got 0"),
        ("sample nothing.ckpt --temperature []", 1, "at least one temperature"),
        (f"evaluate {'n' * 300}", 1, "File name too long. Check the name"),
        (f"train glow_digits --out {'n' * 300}", 1, "cannot be written: File name too long"),
        (
            "sample nothing.ckpt --temperature nan",
            2,
            "expects a number, a list of numbers or null; got nan. Correct it",
        ),
        (
            "sample nothing.ckpt --temperature .nan",
            1,
            "--temperature as a finite number .*; got nan. Choose",
        ),
        (
            "evaluate nothing.ckpt --precision half",
            2,
            "--precision expects Literal.*; got half. Correct it; --help",
        ),
        ("demo --seed -1", 1, r"demo expects --seed from 0 to \d+; got -1"),
        ("recipes --show nothing", 1, "There is no recipe 'nothing'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(here, run, arguments, code, message):
    np.savez("odd.npz", train=np.zeros((4, 5, 5), np.uint8), test=np.zeros((4, 5, 5), np.uint8))
    np.savez("half.npz", train=np.zeros((4, 4, 4), np.uint8))
    (here / "wrong.yaml").write_text("training: {steppes: 3}\n")
    before = sorted(here.rglob("*"))
    found, out, err = run(*arguments.split())
    assert (found, out) == (code, "")
    assert re.fullmatch(rf"pyro-exact: .*{message}.*\n", err), err
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        ImportError("libx.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_end_of_memory_is_one_line_that_says_what_to_lower(run, monkeypatch, error):
    def load(**_):
        raise error

    monkeypatch.setattr("pyro_exact.data.load", load)
    code, _, err = run("train", "glow_digits")
    assert (code, err.count("\n")) == (1, 1)
    assert "not enough memory. Lower --training.batch_size" in err


def test_other_errors_of_torch_are_not_taken_for_the_end_of_memory(run, monkeypatch):
    def load(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("pyro_exact.data.load", load)
    with pytest.raises(RuntimeError, match="a bug"):
        run("train", "glow_digits")


def test_names_from_elsewhere_reach_no_terminal_as_they_are(here, trained, run):
    code, out, _ = run("evaluate", "out/checkpoint.ckpt", "--out", "\x1b[2J.json")
    assert code == 0
    assert out.endswith("Wrote \\x1b[2J.json.\n")


def test_a_model_that_diverges_is_an_error_in_one_line(run):
    command = [
        "train",
        "glow_digits",
        "--data",
        "toy.npz",
        *SMALL,
        "--training.learning_rate",
        "1e9",
    ]
    code, _, err = run(*command, "--training.warmup_steps", "0", "--training.optimizer", "adam")
    assert code == 1
    assert re.fullmatch(
        r"pyro-exact: The \w+.* is not finite after \d steps; first so is the .*\n", err
    )


def test_sampling_is_that_of_the_seed(trained, run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids", lambda grids, *_, **__: seen.extend(grids.values())
    )
    for seed in ("1", "1", "2"):
        run("sample", "out/checkpoint.ckpt", "--n", "2", "--seed", seed)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
