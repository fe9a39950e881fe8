"""Arguments, help and errors of the command line."""

import errno
import json
import re

import numpy as np
import pytest
import torch
import yaml

from pyro_exact import __version__
from pyro_exact.cli.parser import COMMANDS
from pyro_exact.recipes import recipe_names

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


def test_recipes_are_listed_and_shown(run):
    code, out, _ = run("recipes")
    assert code == 0
    assert re.search(
        r"Flows of images\n(.*\n)* +glow +glow_cifar10\[_small\] \(3\.35\), glow_digits", out
    )
    assert out.count("\n") < 60
    whole = re.sub(r"(\w+)\[_small\]", r"\1 \1_small", out)
    assert {*re.findall(r"\w+", whole)} >= {*recipe_names()}
    _, out, _ = run("recipes", "--show", "glow_digits")
    assert yaml.safe_load(out)["model"]["log_scale_factor"] == 3.0


def test_cli_takes_arguments_from_a_yaml_file_too(here, run):
    (here / "run.yaml").write_text(
        "recipe: glow_digits\ndata: toy.npz\nout: out\nmodel: {scales: 1, steps: 1, width: 4}\n"
        "training: {steps: 5, batch_size: 8, learning_rate: 1e-4}\n"
    )
    code, _, err = run("train", "--config", "run.yaml", "--training.steps", "2")
    assert (code, err) == (0, "")
    record = json.loads((here / "out" / "train.json").read_text())
    assert (record["steps"], record["training"]["learning_rate"]) == (2, 1e-4)
    assert record["training"]["warmup_steps"] == 50


def test_cli_help_explains_every_setting(run):
    code, out, _ = run("train", "--help")
    assert code == 0
    plain = " ".join(out.split())
    assert (
        "--training.batch_size BATCH_SIZE Images per step; several processes share them evenly. (type: int)"
        in plain
    )
    assert "--resume" in plain
    assert "If true, continue from the checkpoint in the output folder" in plain
    assert ",".join(COMMANDS) in run("--help")[1]
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
def test_cli_errors_are_one_line_and_leave_nothing(here, run, arguments, code, message):
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
def test_cli_names_what_to_lower_at_the_end_of_memory(run, monkeypatch, error):
    def load(**_):
        raise error

    monkeypatch.setattr("pyro_exact.data.load", load)
    code, _, err = run("train", "glow_digits")
    assert (code, err.count("\n")) == (1, 1)
    assert "not enough memory. Lower --training.batch_size" in err


def test_cli_does_not_take_other_errors_for_the_end_of_memory(run, monkeypatch):
    def load(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("pyro_exact.data.load", load)
    with pytest.raises(RuntimeError, match="a bug"):
        run("train", "glow_digits")


def test_cli_escapes_names_from_elsewhere(here, trained, run):
    code, out, _ = run("evaluate", "out/checkpoint.ckpt", "--out", "\x1b[2J.json")
    assert code == 0
    assert out.endswith("Wrote \\x1b[2J.json.\n")


def test_cli_says_in_one_line_that_a_model_diverges(run):
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
