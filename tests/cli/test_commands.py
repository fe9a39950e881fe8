"""The commands train, evaluate, sample, interpolate and reconstruct, as a user types them."""

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

from pyro_exact import train
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.lightning_module import TrainingModule

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
            "--out expects the name of a .png, .npz, .npy or .csv file; got 'samples.jpg'",
        ),
    ],
)
def test_cli_refuses_an_impossible_output_before_the_work(
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


def test_train_repeats_the_recipe_that_was_left_on_the_same_data(trained, run):
    assert yaml.safe_load(open("out/recipe.yaml"))["data"] == os.path.abspath("toy.npz")
    code, _, err = run("train", "out/recipe.yaml", "--out", "again")
    assert (code, err) == (0, "")
    assert yaml.safe_load(open("out/recipe.yaml")) == yaml.safe_load(open("again/recipe.yaml"))


def test_evaluate_takes_the_best_checkpoint_of_a_folder(here, trained, run):
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


def test_evaluate_leaves_a_record_of_each_evaluation(here, trained, run):
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
def test_cli_leaves_no_record_of_weights_that_are_not_finite(here, trained, run, command):
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


def test_evaluate_prints_a_score_though_its_record_cannot_be_written(trained, run, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    code, out, err = run("evaluate", "out")
    assert (code, "No space left on device" in err) == (1, True)
    assert re.search(r"glow_digits on toy, test: \d\.\d{4} ± .*\n.* nats per image\n", out)


def test_sample_has_a_row_of_the_same_noise_for_each_temperature(trained, run, monkeypatch):
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


def test_train_and_sample_a_class_conditional_model(here, run, monkeypatch):
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
            "toy, test expects a label for each row",
        ),
    ):
        code, _, err = run(*command.split())
        assert (code, message in err) == (1, True), err


def test_sample_refuses_a_label_for_a_model_without_classes(trained, run):
    code, _, err = run("sample", "out/checkpoint.ckpt", "--label", "1")
    assert (code, err) == (
        1,
        "pyro-exact: Dequantized expects no labels, because it is not class-conditional; got labels. "
        "Omit the labels.\n",
    )


def test_train_and_sample_an_autoregressive_recipe(here, run):
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


def test_train_checks_the_labels_of_every_split_first(here, run):
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


def test_train_prints_the_rules_by_which_data_are_read(here, run):
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


def test_interpolate_has_a_row_for_each_pair_between_the_real_images(
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
            "--n expects at most 5, because the split test of toy has 10 rows; got 6",
        ),
        (
            ["reconstruct", "--n", "11"],
            "--n expects at most 10, because the split test of toy has 10 rows; got 11",
        ),
        (
            ["sample", "--temperature", "-1"],
            "--temperature as a finite number that is at least 0; got -1.0",
        ),
        (["sample", "--n", "100000000"], "--n from 1 to"),
        (["sample", "--n", "10000000"], "Use fewer images"),
        (["sample", "--data", "toy.npz"], "Add --nearest"),
        (["reconstruct", "--out", "r.jpg"], "expects the name of a .png file"),
    ],
)
def test_cli_refuses_what_cannot_be_drawn(trained, run, command, message):
    code, _, err = run(command[0], "out/checkpoint.ckpt", *command[1:])
    assert code == 1
    assert message in err


def test_evaluate_finds_the_images_of_a_checkpoint_from_anywhere(here, trained, run, monkeypatch):
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert run("evaluate", "../out/checkpoint.ckpt")[0] == 0
    (here / "toy.npz").rename(here / "moved.npz")
    code, _, err = run("evaluate", "../out/checkpoint.ckpt")
    assert code == 1
    assert re.search(r"were not found\. .*toy\.npz: no such file.*--data", err)
    assert run("evaluate", "../out/checkpoint.ckpt", "--data", "../moved.npz")[0] == 0


def test_evaluate_finds_a_folder_that_is_called_as_a_data_set(here, run, monkeypatch):
    (here / "digits").mkdir()
    for i in range(12):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(here / "digits" / f"{i}.png")
    flags = ["--out", "out", "--training.steps", "1", *SMALL]
    assert run("train", "glow_digits", "--data", "./digits", *flags)[0] == 0
    assert train.load_model("out/checkpoint.ckpt")[1].source["name"] == str(here / "digits")


def test_evaluate_refuses_a_checkpoint_with_another_source(here, trained, run, monkeypatch):
    model, of_run = train.load_model("out/checkpoint.ckpt")
    changed = dataclasses.replace(of_run, source={**of_run.source, "download": True})
    monkeypatch.setattr("pyro_exact.train.load_model", lambda *_: (model, changed))
    code, _, err = run("evaluate", "out/checkpoint.ckpt")
    assert code == 1
    assert re.search("expects a source of name, root, .*; got download too", err)


def test_cli_needs_one_image_in_a_split_and_two_for_pairs(here, trained, run):
    pixels = np.load("toy.npz")["train"]
    np.savez("one.npz", train=pixels[:1], valid=pixels[1:2], test=pixels[2:3], levels=256)
    assert run("reconstruct", "out/checkpoint.ckpt", "--data", "one.npz")[0] == 0
    code, _, err = run("interpolate", "out/checkpoint.ckpt", "--data", "one.npz")
    assert (
        code,
        "The split test of one expects at least 2 rows; got 1. Choose another split" in err,
    ) == (1, True)


def test_evaluate_splits_the_data_as_the_training_did(trained, run):
    _, run_of_seed_0 = train.load_model("out/checkpoint.ckpt")
    assert run_of_seed_0.source["name"] == os.path.abspath("toy.npz")
    assert (run_of_seed_0.source["seed"], run_of_seed_0.source["valid_fraction"]) == (0, None)


def test_evaluate_scores_other_images_only_if_they_fit(trained, run):
    code, _, err = run("evaluate", "out/checkpoint.ckpt", "--data", "digits")
    assert code == 1
    assert re.search(
        r"model expects data of shape \(1, 4, 4\) with 256 levels.*got shape \(1, 8, 8\) with 17 levels from digits",
        err,
    )


def test_train_resumes_a_run(trained, run):
    again = ["train", "glow_digits", "--data", "toy.npz", "--out", "out", *SMALL]
    code, _, err = run(*again, "--training.steps", "5")
    assert code == 1
    assert "exists. Continue from it with resume=True (--resume)" in err
    assert run("train", "--resume", *again[1:], "--training.steps", "5")[0] == 0
    assert train.load_model("out/checkpoint.ckpt")[1].step == 5


def test_train_says_how_to_go_on_after_ctrl_c(run, monkeypatch):
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


def test_cli_ends_on_ctrl_c_outside_of_training(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_exact.data.load", interrupted)
    assert run("train", "glow_digits") == (130, "", "pyro-exact: interrupted\n")


def test_sample_is_that_of_the_seed(trained, run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pyro_exact.plots.save_grids", lambda grids, *_, **__: seen.extend(grids.values())
    )
    for seed in ("1", "1", "2"):
        run("sample", "out/checkpoint.ckpt", "--n", "2", "--seed", seed)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
