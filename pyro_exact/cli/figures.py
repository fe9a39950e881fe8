"""The commands that draw images: `pyro-exact sample`, `interpolate` and `reconstruct`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.cli.data_args import CheckpointArgs, SplitArgs
from pyro_exact.cli.loading import check_picture, data_for, load_checkpoint, random_images
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import Dequantized, GenerativeModel
    from pyro_exact.train import RunRecord


def sample(
    source: CheckpointArgs,
    out: Path = Path("samples.png"),
    n: int | None = None,
    temperature: float | list[float] | None = None,
    label: int | list[int] | None = None,
    nearest: bool = False,
) -> None:
    """Draw images from a trained model.

    Args:
        source: The model, the training images, and where to compute.
        out: The PNG file to write.
        n: How many images to draw for each temperature, spread evenly over the classes if there are
            any; by default 64, or 8 if there are several temperatures.
        temperature: Standard deviation of a flow's base noise; the default, 1, is the model
            itself, less gives smoother images. Each of several, for example "[0.5, 0.7, 1]", has a
            row, using the same noise up to the scale. This must not be used with an autoregressive
            model.
        label: A class of a class-conditional model. Each of several, for example "[3, 5]", has a
            row; the default is all classes.
        nearest: If true, show the nearest training images beside the samples, to see whether the
            model has memorised training images.
    """
    import torch

    from pyro_exact.data import nearest as nearest_of
    from pyro_exact.data.dataset import in_memory
    from pyro_exact.plots import check_grid, save_grids

    temperatures = _temperatures(temperature)
    if source.data is not None and not nearest:
        raise ValueError(
            "sample expects --data together with --nearest only; got it alone. Add --nearest."
        )
    total = 64 if len(temperatures) == 1 else 8
    if n is not None:
        total = check_size("sample", "--n", n)
    check_picture(out)

    model, run = load_checkpoint(source)
    labels = _labels(model, label)
    each = max(1, total // len(labels)) if labels else total
    columns = each if len(labels) > 1 else max(8, math.isqrt(total - 1) + 1)
    check_grid(each * max(1, len(labels)), run.image_shape, columns)
    train = in_memory(data_for(source, run).split("train")) if nearest else None

    grids = {}
    for t in temperatures:
        torch.manual_seed(source.seed)
        title = "samples" if t is None else f"temperature {t:g}"
        grids[title] = drawn = _draw(model, each, t, labels)
        if train is not None:
            grids[f"{title}: nearest training images"] = nearest_of(drawn.cpu(), train)
    save_grids(grids, run.image_levels, out, columns=columns, rows=len(temperatures))
    tell(f"Wrote {out}.")


def interpolate(
    source: SplitArgs,
    out: Path = Path("interpolation.png"),
    n: int | None = None,
    steps: int = 8,
) -> None:
    """Interpolate between real images on a straight line in the noise of a trained flow.

    Args:
        source: The model, the images, and where to compute.
        out: The PNG file to write, with a row for each pair of images.
        n: How many pairs of images to use, drawn at random; by default 8, or as many as there are.
        steps: Images in each row, including the two real images at the ends.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_size("interpolate", "--steps", steps, 2, LARGEST_COUNT)
    check_picture(out)
    model, run = _load_flow(source)
    images = random_images(source, data_for(source, run), n, default=8, each=2)
    check_grid(len(images) // 2 * steps, run.image_shape, steps)

    z = model.encode(images.to(next(model.parameters()).device))
    weights = torch.linspace(0, 1, steps, device=z.device)[:, None]
    rows = []
    for first, last in zip(*z.chunk(2), strict=True):
        rows.append(model.decode(torch.lerp(first, last, weights)))

    save_grids({"real, between, real": torch.cat(rows)}, run.image_levels, out, columns=steps)
    tell(f"Wrote {out}.")


def reconstruct(
    source: SplitArgs, out: Path = Path("reconstruction.png"), n: int | None = None
) -> None:
    """Send real images through a trained flow to noise and back, and print the error.

    Args:
        source: The model, the images, and where to compute.
        out: The PNG file to write: the images, their reconstructions, and the enlarged error.
        n: How many images to use, drawn at random; by default 64, or as many as there are.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_picture(out)
    model, run = _load_flow(source)
    images = random_images(source, data_for(source, run), n, default=64)
    check_grid(len(images), run.image_shape)

    images = images.to(next(model.parameters()).device)
    with torch.no_grad():
        v = model.noise_of(images).sample()
        # A copy of the noise: for the noise itself, the flow would return the cached image.
        z = model.flow.bijection.inv(v).clone()
        error = (model.flow.bijection(z) - v).abs()
    back = model.decode(z)

    largest, changed = error.max(), int((back != images).sum())
    tell(f"largest error {largest:.2g} of a grey level, mean {error.mean():.2g}")
    tell(f"{changed} of {images.numel()} elements came back as another level")
    grids = {
        "images": images,
        "to noise and back": back,
        f"error, white is {largest:.2g} of a level": (
            (run.image_levels - 1) * (error / largest.clamp(min=1e-30))
        ),
    }
    save_grids(grids, run.image_levels, out)
    tell(f"Wrote {out}.")


def _temperatures(temperature: float | list[float] | None) -> list[float | None]:
    """Return the temperatures as a list; `None` stands for the default of the model."""
    if not isinstance(temperature, list):
        temperatures: list[float | None] = [temperature]
    else:
        temperatures = [*temperature]

    if not temperatures:
        raise ValueError(
            "sample expects at least one temperature; got none. Leave --temperature out, or name "
            "one."
        )
    for t in temperatures:
        if t is not None:
            check_number("sample", "--temperature", t, 0)
    return temperatures


def _labels(model: GenerativeModel, label: int | list[int] | None) -> list[int]:
    """Return the classes to draw; none for a model without classes."""
    if label is None:
        return list(range(model.classes or 0))
    if isinstance(label, int):
        return [label]
    if not label:
        raise ValueError(
            "sample expects at least one --label; got none. Leave it out for all classes."
        )
    return label


def _draw(model: GenerativeModel, n: int, temperature: float | None, labels: list[int]) -> Tensor:
    """Return n images, or n of each class, in the order of the classes."""
    import torch

    from pyro_exact.models import Density, OrderAgnostic

    if labels:
        model = model.condition(torch.tensor(labels, device=next(model.parameters()).device))
    if isinstance(model, Density | OrderAgnostic):
        drawn = model.sample(n, temperature, progress=True)
    else:
        drawn = model.sample(n, temperature)
    return drawn.transpose(0, 1).flatten(0, 1) if labels else drawn


def _load_flow(args: CheckpointArgs) -> tuple[Dequantized, RunRecord]:
    """Load a flow of images, which must have an encoding to noise."""
    from pyro_exact.models import Dequantized

    model, run = load_checkpoint(args)
    if not isinstance(model, Dequantized):
        raise ValueError(
            f"{args.checkpoint} expects the model of a flow, which maps images to noise and back; "
            f"got {run.recipe.model['name']}. Choose another checkpoint."
        )
    if model.classes is not None:
        raise ValueError(
            f"{args.checkpoint} expects a model whose noise has no classes; got one of "
            f"{model.classes} classes. Choose another checkpoint, or draw from this one with "
            f"`pyro-exact sample`."
        )
    return model, run
