"""The commands that show what a model has learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.cli.data_args import (
    Device,
    Split,
    check_picture,
    checkpoint_of,
    images_of,
    model_of,
    some_of,
)
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import Dequantized, GenerativeModel
    from pyro_exact.train import RunRecord


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
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write.
        n: How many images of each temperature, spread evenly over the classes where there are any;
            by default 64, or of several temperatures 8.
        temperature: Standard deviation of a flow's base noise; 1, the default, is the model itself,
            less gives smoother images. Of several, e.g. "[0.5, 0.7, 1]", each has a row, with the
            same noise but for its scale. An autoregressive model has none.
        label: A class of a class-conditional model. Of several, e.g. "[3, 5]", each has a row; all
            classes by default.
        nearest: Whether to show the nearest training images beside the samples: has the model
            learned them by heart?
        data: Name, .npz file or folder of these; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        seed: Of the samples.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data import nearest as nearest_of
    from pyro_exact.plots import check_grid, save_grids

    temperatures = temperature if isinstance(temperature, list) else [temperature]
    if not temperatures:
        raise ValueError(
            "sample expects at least one temperature; got none. Leave --temperature out, or name one."
        )
    for t in temperatures:
        if t is not None:
            check_number("sample", "--temperature", t, 0)
    n = check_size("sample", "--n", n) if n is not None else 64 if len(temperatures) == 1 else 8
    if data is not None and not nearest:
        raise ValueError(
            "sample expects --data together with --nearest only; got it alone. Add --nearest."
        )

    check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run = model_of(checkpoint, device)
    labels = (
        list(range(model.classes or 0))
        if label is None
        else [label]
        if isinstance(label, int)
        else label
    )
    if label == []:
        raise ValueError(
            "sample expects at least one --label; got none. Leave it out for all classes."
        )
    each = max(1, n // len(labels)) if labels else n
    columns = each if len(labels) > 1 else max(8, math.isqrt(n - 1) + 1)
    check_grid(each * max(1, len(labels)), run.shape, columns)
    among = images_of(run, data, data_root, download=False).train if nearest else None
    grids = {}
    for t in temperatures:
        torch.manual_seed(seed)
        title = "samples" if t is None else f"temperature {t:g}"
        grids[title] = drawn = _draw(model, each, t, labels)
        if among is not None:
            grids[f"{title}: nearest training images"] = nearest_of(drawn.cpu(), among)
    save_grids(grids, run.levels, out, columns=columns, rows=len(temperatures))
    tell(f"Wrote {out}.")


def interpolate(
    checkpoint: Path,
    out: Path = Path("interpolation.png"),
    n: int | None = None,
    steps: int = 8,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Walk from one real image to another on a straight line in the noise of a trained flow, a row for each pair.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write.
        n: How many pairs of images, drawn at random; 8 by default, or as many as there are.
        steps: Images in a row, with the two real ones at its ends.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_size("interpolate", "--steps", steps, 2, LARGEST_COUNT)
    check_picture(out)
    model, run = _flow(checkpoint_of(checkpoint), device)
    images = some_of(
        images_of(run, data, data_root, download=False), split, n, seed, default=8, each=2
    )
    check_grid(len(images) // 2 * steps, run.shape, steps)

    first, last = model.encode(images.to(next(model.parameters()).device)).chunk(2)
    weights = torch.linspace(0, 1, steps, device=first.device)[:, None]
    rows = [model.decode(torch.lerp(*ends, weights)) for ends in zip(first, last, strict=True)]
    save_grids({"real, between, real": torch.cat(rows)}, run.levels, out, columns=steps)
    tell(f"Wrote {out}.")


def reconstruct(
    checkpoint: Path,
    out: Path = Path("reconstruction.png"),
    n: int | None = None,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Send real images through a trained flow to noise and back, and print how far they are from what they were.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write: the images, those that came back, and the error, much enlarged.
        n: How many images, drawn at random; 64 by default, or as many as there are.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_picture(out)
    model, run = _flow(checkpoint_of(checkpoint), device)
    images = some_of(images_of(run, data, data_root, download=False), split, n, seed, default=64)
    check_grid(len(images), run.shape)
    images = images.to(next(model.parameters()).device)
    with torch.no_grad():
        v = model.noise_of(images).sample()
        z = model.flow.bijection.inv(
            v
        ).clone()  # of the noise itself the flow would remember the image
        error = (model.flow.bijection(z) - v).abs()
    back = model.decode(z)
    tell(f"largest error {error.max():.2g} of a grey level, mean {error.mean():.2g}")
    tell(f"{int((back != images).sum())} of {images.numel()} numbers came back as another level")
    grids = {"images": images, "to noise and back": back}
    grids[f"error, white is {error.max():.2g} of a level"] = (run.levels - 1) * (
        error / error.max().clamp(min=1e-30)
    )
    save_grids(grids, run.levels, out)
    tell(f"Wrote {out}.")


def _draw(model: GenerativeModel, n: int, temperature: float | None, labels: list[int]) -> Tensor:
    """Return n images, or n of each class, one class after another."""
    import torch

    from pyro_exact.models import Density, OrderAgnostic

    if labels:
        model = model.condition(torch.tensor(labels, device=next(model.parameters()).device))
    if isinstance(model, Density | OrderAgnostic):
        drawn = model.sample(n, temperature, progress=True)
    else:
        drawn = model.sample(n, temperature)
    return drawn.transpose(0, 1).flatten(0, 1) if labels else drawn


def _flow(checkpoint: Path, device: str) -> tuple[Dequantized, RunRecord]:
    """Load a model whose images are behind a flow."""
    from pyro_exact.models import Dequantized

    model, run = model_of(checkpoint, device)
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
    return model, run
