"""The commands that train and score a model."""

from __future__ import annotations

import dataclasses
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from pyro_exact.checks import check_size
from pyro_exact.cli.data_args import (
    Device,
    Split,
    checkpoint_of,
    images_of,
    load_images,
    model_of,
    source_of,
)
from pyro_exact.cli.output import say, tell
from pyro_exact.recipes import list_recipes, load_recipe
from pyro_exact.recipes.training import caution

if TYPE_CHECKING:
    from pyro_exact.data import Images
    from pyro_exact.models import GenerativeModel
    from pyro_exact.recipes import Recipe
    from pyro_exact.train import Evaluation, RunRecord


def train(
    recipe: str,
    data: str | None = None,
    data_root: Path | None = None,
    download: bool = False,
    out: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    valid_fraction: float | None = None,
    device: Device = "auto",
    devices: int = 1,
    nodes: int = 1,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Train the model of a recipe; write checkpoints, the training curve and a record of the run.

    Args:
        recipe: Name of a recipe (see `pyro-exact recipes`), or a YAML file.
        data: Name of a data set, an .npz file, or a folder of images; that of the recipe by
            default.
        data_root: Folder of the torchvision data sets.
        download: Whether to download a torchvision data set that is not there.
        out: Output folder; runs/NAME OF THE RECIPE by default.
        seed: Of the weights, the order of the images, the noise and the validation split.
        resume: Whether to go on from the checkpoint in the output folder.
        valid_fraction: Part of the training images held out for validation, where the data has no
            such split.
        device: Where to run; auto is cuda where there is one.
        devices: How many devices on each machine; more than one trains with DDP.
        nodes: How many machines, each started by torchrun.
        model: A setting of the model that differs from the recipe, e.g. --model.steps 4; those that
            there are: pyro-exact recipes --show RECIPE.
        training: Settings of the training that differ from the recipe.
    """
    original = load_recipe(recipe)  # before torch is imported: a wrong name is told at once

    from pyro_exact.files import atomic_write, write_json
    from pyro_exact.plots import save_curve
    from pyro_exact.train import BEST, LAST, first_process, fit, labels_for, load_model
    from pyro_exact.train import evaluate as score_of
    from pyro_exact.train.lightning_module import validation_subset

    chosen = original.changed(model or {}, training or {})
    if (warning := caution(original.training, training or {})) is not None:
        say(f"Warning: {warning}")
    out = out or Path("runs") / chosen.name
    asked: dict[str, Any] = {
        "name": data or chosen.data,
        "root": data_root,
        "valid_fraction": valid_fraction,
        "seed": seed,
    }
    images = load_images(download=download, **asked)
    source = source_of(asked)
    chosen = dataclasses.replace(
        chosen, data=source["name"]
    )  # what the run was trained on, not what it was made for
    fit(chosen, images, out, seed, resume, source, device=device, devices=devices, nodes=nodes)
    if not first_process():
        return
    trained, run = load_model(out / LAST, device)
    some, labels = validation_subset(images, chosen.training), labels_for(trained, images, "valid")
    score = score_of(trained, images.valid[some], labels=None if labels is None else labels[some])
    tell(f"validation: {score}, {score.in_nats()}")  # before it is written, for a disk may be full
    step, _, lowest = min(run.curve["valid"], key=itemgetter(2))
    if step != run.step:
        tell(f"lowest: {lowest:.4f} bits/dim after {step} steps, in {BEST}")
    write_json(_record(run, trained, images, "valid", score), out / "train.json")
    with atomic_write(out / "recipe.yaml") as partial:
        partial.write_text(yaml.safe_dump(chosen.to_dict(), sort_keys=False))
    save_curve(run.curve, out / "curve.png")
    tell(f"{out}: {LAST}, {BEST}, recipe.yaml, train.json, curve.png")


def evaluate(
    checkpoint: Path,
    data: str | None = None,
    data_root: Path | None = None,
    download: bool = False,
    split: Split = "test",
    k: int = 1,
    batch_size: int = 100,
    seed: int = 0,
    device: Device = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    note: str | None = None,
    out: Path | None = None,
) -> None:
    """Score a trained model on a split: nats per image and bits per dimension, with standard error; write a record.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint; it
            carries its recipe.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        download: Whether to download a torchvision data set that is not there.
        split: Which images.
        k: Samples per image: 1 is the ELBO, more the importance-weighted bound.
        batch_size: Images at once.
        seed: Of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
        precision: bf16 runs the networks under autocast: faster on many devices, and not quite the
            same score.
        note: A remark on the data for the record, e.g. "first 1,000 of the test set".
        out: The record; by default NAME-SPLIT.json beside the checkpoint NAME.ckpt, with what else
            was asked for in the name: best-test-k50.json.
    """
    import torch

    from pyro_exact.files import check_writable, write_json
    from pyro_exact.train import evaluate as score_of
    from pyro_exact.train import labels_for

    checkpoint = checkpoint_of(checkpoint)
    asked = [
        Path(data).stem if data else "",
        f"k{k}" if k > 1 else "",
        f"seed{seed}" if seed else "",
    ]
    named = [checkpoint.stem, split, *asked, "bf16" if precision == "bf16" else ""]
    out = out or checkpoint.with_name(
        "-".join(filter(None, named)) + ".json"
    )  # a record for each evaluation
    check_writable(out.parent)
    model, run = model_of(checkpoint, device)
    images = images_of(run, data, data_root, download)
    with torch.autocast(
        next(model.parameters()).device.type, torch.bfloat16, enabled=precision == "bf16"
    ):
        score = score_of(
            model, images.split(split), k, batch_size, seed, labels_for(model, images, split)
        )
    notes = [note, "networks in bfloat16" if precision == "bf16" else None]
    tell(
        f"{run.recipe.name} on {images.name}, {split}: {score}\n{score.in_nats()}"
    )  # before a disk can be full
    write_json(_record(run, model, images, split, score, "; ".join(filter(None, notes))), out)
    tell(f"Wrote {out}.")


def recipes(show: str | None = None) -> None:
    """List the recipes that ship with the library, with the paper's number.

    Args:
        show: Name of a recipe to print with all its settings, as YAML; change it, and pass the file
            to train.
    """
    if show is not None:
        tell(yaml.safe_dump(load_recipe(show).filled().to_dict(), sort_keys=False), end="")
        return
    entries = list_recipes()
    width, data_width = max(len(r.name) for r in entries), max(len(r.data) for r in entries)
    for r in entries:
        paper = None if r.paper is None or r.paper.value is None else r.paper
        number = (
            "no published number"
            if paper is None
            else f"{paper.value} {paper.unit}  {paper.reference}"
        )
        tell(f"{r.name:<{width}}  {r.data:<{data_width}}  {number}")


def demo(
    out: Path = Path("runs/demo"), seed: int = 0, training: dict[str, Any] | None = None
) -> None:
    """Train a small Glow on scikit-learn's digits, and show what it learned; it needs no data and no network.

    Args:
        out: Output folder; what an earlier demo left there is replaced, and any other run is
            refused.
        seed: Of everything.
        training: Settings that differ from the recipe glow_digits.
    """
    import torch

    from pyro_exact.files import check_writable
    from pyro_exact.train.lock import folder_lock
    from pyro_exact.train.run_record import LARGEST_SEED

    seed = check_size("demo", "--seed", seed, least=0, most=LARGEST_SEED)
    torch.set_num_threads(
        1
    )  # the tensors are tiny: a second thread hardly helps, and on a busy machine it waits
    recipe = load_recipe("glow_digits").changed({}, training or {})
    check_writable(out)
    with folder_lock(out):
        _make_room(out, recipe)
        _demo(recipe, out, seed)


def _make_room(out: Path, recipe: Recipe) -> None:
    """Remove the checkpoints of an earlier demo; raise ValueError if a folder holds any other run."""
    from pyro_exact.train import BEST, LAST
    from pyro_exact.train.checkpoint import KEY, read_checkpoint
    from pyro_exact.train.run_record import RunRecord

    expected, advice = (
        f"{out} expects nothing, or an earlier demo",
        "Choose another folder (--out).",
    )
    found = [path for path in (out / LAST, out / BEST) if path.exists()]
    for path in (out / "recipe.yaml", out / "train.json"):  # which `train` leaves, and no demo
        if path.exists():
            raise ValueError(f"{expected}; got {path.name} of another run. {advice}")
    for path in found:
        try:
            run = RunRecord.from_dict(read_checkpoint(path)[KEY], str(path))
        except ValueError as error:
            raise ValueError(f"{error} A demo replaces only an earlier demo. {advice}") from error
        if run.recipe.model != recipe.filled().model or {*(run.source or {})} != {
            *_demo_source(recipe, run.seed)
        }:
            raise ValueError(
                f"{expected}; got {path.name} of another run, {run.recipe.name}. {advice}"
            )

    for path in found:
        path.unlink()


def _demo_source(recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return the arguments of `load` of a demo; runs of `train` have more of them."""
    return {"name": recipe.data, "seed": seed}


def _demo(recipe: Recipe, out: Path, seed: int) -> None:
    """Train, score and draw, in a folder that this process holds."""
    import torch

    from pyro_exact.data import load
    from pyro_exact.files import write_json
    from pyro_exact.plots import save_curve, save_grids
    from pyro_exact.train import BEST, LAST, fit, load_model
    from pyro_exact.train import evaluate as score_of

    source = _demo_source(recipe, seed)
    images = load(**source)
    tell(
        f"Training {recipe.name} on {len(images.train)} images of shape {images.shape}, {images.levels} levels."
    )
    fit(recipe, images, out, seed, source=source, device="cpu", locked=True)
    model, best = load_model(out / BEST)
    _, last = load_model(out / LAST)
    elbo, bound = score_of(model, images.test), score_of(model, images.test, k=16)
    baselines = _baselines(images)
    tell(f"\ntest bits/dim of {BEST}, the state after {best.step} of {last.step} steps")
    for name, value in baselines.items():
        tell(f"  {name:<20}{value:.3f}")
    for score in (elbo, bound):
        tell(f"  {recipe.name:<20}{score}")
    extra = {"baselines": baselines, "importance_weighted": bound.metric("bits/dim")}
    write_json(_record(best, model, images, "test", elbo) | extra, out / "metrics.json")
    torch.manual_seed(seed)
    grids = {"test images": images.test[:64]}
    grids |= {f"samples at {t:g}": model.sample(64, t) for t in (1.0, 0.7)}
    save_grids(grids, images.levels, out / "samples.png")
    save_curve(last.curve, out / "curve.png", baselines)
    tell(f"\n{out}: {BEST}, {LAST}, metrics.json, samples.png, curve.png")


def _record(
    run: RunRecord,
    model: GenerativeModel,
    images: Images,
    split: str,
    score: Evaluation,
    note: str | None = None,
) -> dict[str, Any]:
    scored = {"name": images.name, "split": split, "images": score.images} | (
        {"note": note} if note else {}
    )
    return run.record(scored, score, sum(p.numel() for p in model.parameters() if p.requires_grad))


def _baselines(images: Images) -> dict[str, float]:
    """Return the bits/dim of two codes that any model should beat."""
    import torch

    from pyro_exact.train.baselines import independent_bits_per_dim, uniform_bits_per_dim

    seen = torch.cat([images.train, images.valid])
    return {
        "uniform code": uniform_bits_per_dim(images.levels),
        "independent pixels": independent_bits_per_dim(seen, images.test, images.levels),
    }
