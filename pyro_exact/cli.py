"""The command line: typed functions, from which jsonargparse makes flags, help, YAML files and checks."""

from __future__ import annotations

import inspect
import re
import sys
import typing
from argparse import SUPPRESS
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from pyro_exact import __version__
from pyro_exact.recipes import Training, load_recipe, recipe_names
from pyro_exact.recipes.check import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Images
    from pyro_exact.models import Dequantized, GenerativeModel
    from pyro_exact.train import Evaluation, Run

Device = Literal["auto", "cpu", "cuda"]
Split = Literal["test", "valid", "train"]


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
        data: Name of a data set, an .npz file, or a folder of images; that of the recipe by default.
        data_root: Folder of the torchvision data sets.
        download: Whether to download a torchvision data set that is not there.
        out: Output folder; runs/NAME OF THE RECIPE by default.
        seed: Of the weights, the order of the images, the noise and the validation split.
        resume: Whether to go on from the checkpoint in the output folder.
        valid_fraction: Part of the training images held out for validation, where the data has no such split.
        device: Where to run; auto is cuda where there is one.
        devices: How many devices on each machine; more than one trains with DDP.
        nodes: How many machines, each started by torchrun.
        model: A setting of the model that differs from the recipe, e.g. --model.depth 4; those that there are:
            pyro-exact recipes --show RECIPE.
        training: Settings of the training that differ from the recipe.
    """
    from pyro_exact.data import load
    from pyro_exact.plots import save_curve
    from pyro_exact.train import BEST, LAST, first_process, fit, in_one_piece, labels_for, load_model, write_json
    from pyro_exact.train import evaluate as score_of
    from pyro_exact.train.task import looked_at

    chosen = load_recipe(recipe).changed(model or {}, training or {})
    out = out or Path("runs") / chosen.name
    asked: dict[str, Any] = {
        "name": data or chosen.data,
        "root": data_root,
        "valid_fraction": valid_fraction,
        "seed": seed,
    }
    images = load(download=download, **asked)
    fit(chosen, images, out, seed, resume, _source(asked, images), device=device, devices=devices, nodes=nodes)
    if not first_process():
        return
    trained, run = load_model(out / LAST, device)
    some, labels = looked_at(images, chosen.training), labels_for(trained, images, "valid")
    score = score_of(trained, images.valid[some], labels=None if labels is None else labels[some])
    write_json(_record(run, trained, images, "valid", score), out / "train.json")
    with in_one_piece(out / "recipe.yaml") as partial:
        partial.write_text(yaml.safe_dump(chosen.to_dict(), sort_keys=False))
    save_curve(run.curve, out / "curve.png")
    print(f"validation: {score}, {score.in_nats()}\n{out}: {LAST}, {BEST}, recipe.yaml, train.json, curve.png")


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
    note: str | None = None,
    out: Path | None = None,
) -> None:
    """Score a trained model on a split: nats per image and bits per dimension, with standard error; write a record.

    Args:
        checkpoint: A file that `pyro-exact train` wrote; it carries its recipe.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        download: Whether to download a torchvision data set that is not there.
        split: Which images.
        k: Samples per image: 1 is the ELBO, more the importance-weighted bound.
        batch_size: Images at once.
        seed: Of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
        note: A remark on the data for the record, e.g. "first 1,000 of the test set".
        out: The record; NAME-SPLIT.json beside the checkpoint NAME.ckpt by default.
    """
    from pyro_exact.train import check_writable, labels_for, load_model, write_json
    from pyro_exact.train import evaluate as score_of

    out = out or checkpoint.with_name(f"{checkpoint.stem}-{split}.json")
    check_writable(out.parent)
    model, run = load_model(checkpoint, device)
    images = _images(run, data, data_root, download)
    score = score_of(model, images.split(split), k, batch_size, seed, labels_for(model, images, split))
    write_json(_record(run, model, images, split, score, note), out)
    print(f"{run.recipe.name} on {images.name}, {split}: {score}")
    print(f"{score.in_nats()}\nWrote {out}.")


def sample(
    checkpoint: Path,
    out: Path = Path("samples.png"),
    n: int | None = None,
    temperature: float | list[float] | None = None,
    label: int | list[int] | None = None,
    nearest: bool = False,
    data: str | None = None,
    data_root: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Draw images from a trained model.

    Args:
        checkpoint: A file that `pyro-exact train` wrote.
        out: The PNG file to write.
        n: How many images of each temperature, spread evenly over the classes where there are any; by default 64, or of
            several temperatures 8.
        temperature: Standard deviation of a flow's base noise; 1, the default, is the model itself, less gives smoother
            images. Of several, e.g. "[0.5, 0.7, 1]", each has a row, with the same noise but for its scale. An
            autoregressive model has none.
        label: A class of a class-conditional model. Of several, e.g. "[3, 5]", each has a row; all classes by default.
        nearest: Whether to show the nearest training images beside the samples: has the model learned them by heart?
        data: Name, .npz file or folder of these; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        seed: Of the samples.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data import nearest as nearest_of
    from pyro_exact.plots import save_grids
    from pyro_exact.train import load_model

    temperatures = temperature if isinstance(temperature, list) else [temperature]
    n = n if n is not None else 64 if len(temperatures) == 1 else 8
    if n < 1 or not temperatures:
        raise ValueError(f"sample expects at least one image and temperature; got n = {n} and {temperature}.")
    _check_picture(out)
    model, run = load_model(checkpoint, device)
    labels = list(range(model.classes or 0)) if label is None else [label] if isinstance(label, int) else label
    each = max(1, n // len(labels)) if labels else n
    among = _images(run, data, data_root, download=False).train if nearest else None
    grids = {}
    for t in temperatures:
        torch.manual_seed(seed)
        title = "samples" if t is None else f"temperature {t:g}"
        grids[title] = drawn = _draw(model, each, t, labels)
        if among is not None:
            grids[f"{title}: nearest training images"] = nearest_of(drawn.cpu(), among)
    save_grids(grids, run.levels, out, columns=each if len(labels) > 1 else 8, rows=len(temperatures))
    print(f"Wrote {out}.")


def complete(
    checkpoint: Path,
    out: Path = Path("completions.png"),
    n: int = 8,
    completions: int = 6,
    mask: str = "half",
    image: Path | None = None,
    label: int | None = None,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Draw what is hidden of real images from an autoregressive model, a row for each image.

    Args:
        checkpoint: A file that `pyro-exact train` wrote.
        out: The PNG file to write: in each row what is seen, completions, and the image itself.
        n: How many images, drawn at random.
        completions: How many of each image.
        mask: What is seen: half for the upper half, or an image file, white where it is seen. What is seen below or to
            the right of a hidden pixel is kept, but does not act on it.
        image: An image file to complete, in place of images of the split.
        label: The class of the images, for a class-conditional model.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the completions.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data.folder import read
    from pyro_exact.distributions import Autoregressive
    from pyro_exact.models import Density
    from pyro_exact.plots import save_grids
    from pyro_exact.train import load_model

    if completions < 1:
        raise ValueError(f"complete expects at least one completion; got {completions}.")
    _check_picture(out)
    model, run = load_model(checkpoint, device)
    if not isinstance(model, Density) or not isinstance(model.distribution, Autoregressive):
        raise ValueError(
            f"{checkpoint}: expected an autoregressive model; got {run.recipe.model['name']}. Choose another "
            f"checkpoint."
        )
    if image is None:
        images = _drawn(_images(run, data, data_root, download=False), split, n, seed)
    else:
        images = read([image]).long() * run.levels // 256
        torch.manual_seed(seed)
    seen = torch.arange(run.shape[1])[:, None].expand(run.shape[1:]) < run.shape[1] // 2
    if mask != "half":
        seen = read([Path(mask)])[0].amin(0) > 127
    for what, shape in ((image, tuple(images.shape[1:])), (mask, (run.shape[0], *seen.shape))):
        if shape != run.shape:
            raise ValueError(f"{what}: expected an image of shape {run.shape}, as the model's; got {shape}.")
    device_of_model, given = next(model.parameters()).device, model
    if model.classes is not None:
        if label is None:
            raise ValueError(f"{checkpoint}: expected the class of the images; got none. Say it with --label.")
        given = typing.cast(Density, model.condition(torch.full((len(images),), label, device=device_of_model)))
    distribution = typing.cast(Autoregressive, given.distribution)
    x, known = images.to(device_of_model), seen.to(device_of_model)
    drawn = distribution.sample((completions,), observed=x, mask=known, progress=True)
    hidden = images.where(seen, torch.tensor((run.levels - 1) / 2))
    rows = torch.cat((hidden[None], drawn.cpu(), images[None])).transpose(0, 1).flatten(0, 1)
    save_grids({"seen, completions, image": rows}, run.levels, out, columns=completions + 2)
    print(f"Wrote {out}.")


def interpolate(
    checkpoint: Path,
    out: Path = Path("interpolation.png"),
    n: int = 8,
    steps: int = 8,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Walk from one real image to another on a straight line in the noise of a trained flow, a row for each pair.

    Args:
        checkpoint: A file that `pyro-exact train` wrote.
        out: The PNG file to write.
        n: How many pairs of images, drawn at random.
        steps: Images in a row, with the two real ones at its ends.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import save_grids

    if n < 1 or steps < 2:
        raise ValueError(f"interpolate expects n of at least 1 and steps of at least 2; got {n} and {steps}.")
    _check_picture(out)
    model, run, images = _flow_and_images(checkpoint, device, data, data_root, split, 2 * n, seed)
    ends = model.encode(images)
    weights = torch.linspace(0, 1, steps, device=ends.device)[:, None]
    rows = [model.decode(torch.lerp(first, last, weights)) for first, last in zip(ends[:n], ends[n:], strict=True)]
    save_grids({"real, between, real": torch.cat(rows)}, run.levels, out, columns=steps)
    print(f"Wrote {out}.")


def reconstruct(
    checkpoint: Path,
    out: Path = Path("reconstruction.png"),
    n: int = 64,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Send real images through a trained flow to noise and back, and print how far they are from what they were.

    Args:
        checkpoint: A file that `pyro-exact train` wrote.
        out: The PNG file to write: the images, those that came back, and the error, much enlarged.
        n: How many images, drawn at random.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import save_grids

    _check_picture(out)
    model, run, images = _flow_and_images(checkpoint, device, data, data_root, split, n, seed)
    with torch.no_grad():
        v = model.noise_of(images).sample()
        z = model.flow.bijection.inv(v).clone()  # of the noise itself the flow would remember the image
        error = (model.flow.bijection(z) - v).abs()
    back = model.decode(z)
    print(f"largest error {error.max():.2g} of a grey level, mean {error.mean():.2g}")
    print(f"{int((back != images).sum())} of {images.numel()} numbers came back as another level")
    grids = {"images": images, "to noise and back": back}
    grids[f"error, white is {error.max():.2g} of a level"] = (run.levels - 1) * error / error.max().clamp(min=1e-30)
    save_grids(grids, run.levels, out)
    print(f"Wrote {out}.")


def diagnose(
    checkpoint: Path,
    out: Path | None = None,
    n: int = 100,
    k: int = 5000,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Say how well the guide of a trained VAE fits, and whether its latent is used: a verdict, numbers and pictures.

    Args:
        checkpoint: A file that `pyro-exact train` wrote.
        out: Folder for diagnosis.json, diagnosis.nc (for ArviZ) and diagnosis.png; that of the checkpoint by default.
        n: How many images, drawn at random.
        k: Samples per image, of which the importance-weighted bounds are.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the noise.
        device: Where to run; auto is cuda where there is one.
    """
    from pyro_exact.diagnostics import diagnose as diagnosis_of
    from pyro_exact.diagnostics import inference_data, save_page
    from pyro_exact.train import check_writable, in_one_piece, load_model, write_json

    out = out or checkpoint.parent
    check_writable(out)
    model, run = load_model(checkpoint, device)
    images = _drawn(_images(run, data, data_root, download=False), split, n, seed)
    found = diagnosis_of(model, images, k, seed=seed)
    kept = inference_data(found)
    write_json({"recipe": run.recipe.name, "split": split, "seed": seed} | found.summary(), out / "diagnosis.json")
    with in_one_piece(out / "diagnosis.nc") as partial:
        kept.to_netcdf(str(partial))
    save_page(found, kept, run.levels, out / "diagnosis.png", f"{run.recipe.name}, {n} {split} images")
    for name, bound in found.summary()["bounds"].items():
        print(f"bound of {int(name):>5,} samples  {-bound:9.2f} nats")
    print(f"{found.verdict}\n{out}: diagnosis.json, diagnosis.nc, diagnosis.png")


def recipes(show: str | None = None) -> None:
    """List the recipes that ship with the library, with the paper's number.

    Args:
        show: Name of a recipe to print with all its settings, as YAML; change it, and pass the file to train.
    """
    if show is not None:
        print(yaml.safe_dump(load_recipe(show).filled().to_dict(), sort_keys=False), end="")
        return
    loaded = [load_recipe(name) for name in recipe_names()]
    width, data_width = max(len(r.name) for r in loaded), max(len(r.data) for r in loaded)
    for r in loaded:
        paper = None if r.paper is None or r.paper.value is None else r.paper
        number = "no published number" if paper is None else f"{paper.value} {paper.unit}  {paper.reference}"
        print(f"{r.name:<{width}}  {r.data:<{data_width}}  {number}")


def demo(out: Path = Path("runs/demo"), seed: int = 0, training: dict[str, Any] | None = None) -> None:
    """Train a small Glow on scikit-learn's digits, and show what it learned; it needs no data and no network.

    Args:
        out: Output folder; what an earlier demo left there is replaced.
        seed: Of everything.
        training: Settings that differ from the recipe glow_digits.
    """
    import torch

    from pyro_exact.data import load
    from pyro_exact.plots import save_curve, save_grids
    from pyro_exact.train import BEST, LAST, fit, load_model, write_json
    from pyro_exact.train import evaluate as score_of

    torch.set_num_threads(1)  # the tensors are tiny: a second thread hardly helps, and on a busy machine it waits
    recipe = load_recipe("glow_digits").changed({}, training or {})
    for name in (LAST, BEST):
        (out / name).unlink(missing_ok=True)
    source: dict[str, Any] = {"name": recipe.data, "seed": seed}
    images = load(**source)
    print(f"Training {recipe.name} on {len(images.train)} images of shape {images.shape}, {images.levels} levels.")
    fit(recipe, images, out, seed, source=source, device="cpu")
    model, run = load_model(out / LAST)
    elbo, bound = score_of(model, images.test), score_of(model, images.test, k=16)
    anchors = _anchors(images)
    extra = {"anchors": anchors, "importance_weighted": bound.metric("bits/dim")}
    write_json(_record(run, model, images, "test", elbo) | extra, out / "metrics.json")
    torch.manual_seed(seed)
    grids = {"test images": images.test[:64]}
    grids |= {f"samples at {t:g}": model.sample(64, t) for t in (1.0, 0.7)}
    save_grids(grids, images.levels, out / "samples.png")
    save_curve(run.curve, out / "curve.png", anchors)
    print("\ntest bits/dim")
    for name, value in anchors.items():
        print(f"  {name:<20}{value:.3f}")
    for score in (elbo, bound):
        print(
            f"  {recipe.name:<20}{score.bits_per_dim:.3f} ± {score.standard_error:.3f}  ({score.bound}, k = {score.k})"
        )
    print(f"\n{out}: {LAST}, metrics.json, samples.png, curve.png")


def _draw(model: GenerativeModel, n: int, temperature: float | None, labels: list[int]) -> Tensor:
    """Return n images, or n of each class, one class after another."""
    import torch

    from pyro_exact.models import Density

    if labels:
        model = model.condition(torch.tensor(labels, device=next(model.parameters()).device))
    drawn = model.sample(n, temperature, progress=True) if isinstance(model, Density) else model.sample(n, temperature)
    return drawn.transpose(0, 1).flatten(0, 1) if labels else drawn


def _check_picture(out: Path) -> None:
    """Make sure, before anything is computed, that a picture can be written there."""
    from pyro_exact.train import check_writable

    if out.suffix.lower() != ".png":
        raise ValueError(f"--out expects the name of a .png file; got {str(out)!r}.")
    check_writable(out.parent)


def _flow_and_images(
    checkpoint: Path, device: str, data: str | None, data_root: Path | None, split: Split, n: int, seed: int
) -> tuple[Dequantized, Run, Tensor]:
    """Load a model whose images are behind a flow, and n images drawn at random; seed the noise that follows."""
    from pyro_exact.models import Dequantized
    from pyro_exact.train import load_model

    model, run = load_model(checkpoint, device)
    if not isinstance(model, Dequantized):
        raise ValueError(
            f"{checkpoint}: expected the model of a flow, which maps images to noise and back; got "
            f"{run.recipe.model['name']}. Choose another checkpoint."
        )
    if model.classes is not None:
        raise ValueError(
            f"{checkpoint}: expected a model whose noise has no classes; got one of {model.classes} classes. Choose "
            f"another checkpoint, or draw from this one with `pyro-exact sample`."
        )
    drawn = _drawn(_images(run, data, data_root, download=False), split, n, seed)
    return model, run, drawn.to(next(model.parameters()).device)


def _drawn(images: Images, split: Split, n: int, seed: int) -> Tensor:
    """Return n images of a split, drawn at random; seed the noise that follows."""
    import torch

    every = images.split(split)
    if not 0 < n <= len(every):
        raise ValueError(f"--split {split} has {len(every)} images; {n} were asked for. Choose another --n.")
    torch.manual_seed(seed)
    return every[torch.randperm(len(every))[:n]]


def _images(run: Run, data: str | None, data_root: Path | None, download: bool) -> Images:
    """Load the images of a run again, or others that its model can score."""
    from pyro_exact.data import load

    given = {"name": data, "root": data_root}
    source = {**(run.source or {}), **{key: value for key, value in given.items() if value is not None}}
    if "name" not in source:
        raise ValueError("The checkpoint does not say where its images are. Say it with --data.")
    try:
        images = load(**source, download=download)
    except (OSError, ValueError) as error:
        if data is not None:
            raise
        raise ValueError(
            f"The images that the checkpoint was trained on are not where they were. {error} "
            f"Say where they are, with --data and --data-root."
        ) from error
    if (images.shape, images.levels) != (run.shape, run.levels):
        raise ValueError(
            f"{images.name}: expected images of shape {run.shape} with {run.levels} levels, as the model was trained "
            f"on; got {images.shape} with {images.levels}. Choose others with --data."
        )
    return images


def _source(asked: Mapping[str, Any], images: Images) -> dict[str, Any]:
    """Return the arguments of `load` in a form that holds in another working directory too."""
    from pyro_exact.data.load import NAMES

    name = asked["name"]
    is_path = Path(name).suffix == ".npz" or len(Path(name).parts) > 1 or images.name not in NAMES
    root = asked["root"]
    return {
        **asked,
        "name": str(Path(name).resolve()) if is_path else name,
        "root": None if root is None else str(root.resolve()),
    }


def _record(
    run: Run, model: GenerativeModel, images: Images, split: str, score: Evaluation, note: str | None = None
) -> dict[str, Any]:
    scored = {"name": images.name, "split": split, "images": score.images} | ({"note": note} if note else {})
    return run.record(scored, score, sum(p.numel() for p in model.parameters() if p.requires_grad))


def _anchors(images: Images) -> dict[str, float]:
    """Return the bits/dim of two codes that any model should beat."""
    import torch

    from pyro_exact.train.anchors import independent_bits_per_dim, uniform_bits_per_dim

    seen = torch.cat([images.train, images.valid])
    return {
        "uniform code": uniform_bits_per_dim(images.levels),
        "independent pixels": independent_bits_per_dim(seen, images.test, images.levels),
    }


COMMANDS: dict[str, Callable[..., None]] = {
    f.__name__: f for f in (train, evaluate, sample, complete, interpolate, reconstruct, diagnose, recipes, demo)
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 2 for a wrong command, 1 for what went wrong later, 130 for Ctrl-C."""
    try:
        parsed = _parser().parse_args(list(_normal(sys.argv[1:] if arguments is None else arguments)))
        values = parsed[parsed.subcommand].as_dict()
        del values["config"]
        COMMANDS[parsed.subcommand](**values)
    except ArgumentError as error:
        _fail(_readable(str(error)), 2)
    except (ValueError, TypeError, OSError, ModuleNotFoundError, FloatingPointError) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt as error:
        _fail(str(error) or "interrupted", 130)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="pyro-exact",
        description="Generative models with exact or exactly bounded likelihood.",
        version=__version__,
        exit_on_error=False,
    )
    commands = parser.add_subcommands(required=True)
    for name, function in COMMANDS.items():
        summary = (function.__doc__ or "").splitlines()[0]
        command = ArgumentParser(description=summary, exit_on_error=False)
        command.add_argument("--config", action="config", help="A YAML file with any of these arguments.")
        command.add_function_arguments(function, as_positional=True, skip={"training"})
        if "training" in inspect.signature(function).parameters:
            command.add_class_arguments(Training, "training")
            # Only what is given may differ from the recipe.
            settings = [key for key in command.get_defaults().keys() if key.startswith("training.")]
            command.set_defaults(dict.fromkeys(settings, SUPPRESS))
        commands.add_subcommand(name, command, help=summary)
    return parser


def _normal(arguments: Sequence[str]) -> Iterator[str]:
    """Let flags be written with dashes, and those that are true or false without a value."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if not argument.startswith("--"):
            yield argument
            continue
        flag, equals, value = argument[2:].partition("=")
        flag = flag.replace("-", "_")
        bare = flag in _flags(bool) and not equals and following not in ("true", "false")
        yield f"--{flag}{equals}{value}" + ("=true" if bare else "")


def _flags(kind: type = object) -> set[str]:
    """Return the names of all flags, or of those that take a value of one type."""
    owners: list[tuple[str, Callable[..., Any]]] = [("", function) for function in COMMANDS.values()]
    owners.append(("training.", Training.__init__))
    hints = ((prefix + name, hint) for prefix, f in owners for name, hint in typing.get_type_hints(f).items())
    return {name for name, hint in hints if kind in (object, hint)}


def _readable(message: str) -> str:
    """Return an error of jsonargparse in one line, with the known name nearest to an unknown one."""
    message = " ".join(re.sub(r"<class '(\w+)'>", r"\1", message).replace("typing.", "").split())
    message = re.sub(
        r"Does not validate against any.* Subtypes: \[(.*?)\] Errors:.*(Given value: )", r"Expected \1. \2", message
    )
    message = re.sub(r'Parser key "(.+?)"', r"--\1", message)
    known = {*_flags(), *COMMANDS}
    words = [word for word in re.findall(r"(?:--|')([\w.]+)", message) if word not in known]
    return message + next((f".{hint}" for word in words if (hint := nearest(word, known))), "")


def _fail(message: str, code: int) -> NoReturn:
    print(f"pyro-exact: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
