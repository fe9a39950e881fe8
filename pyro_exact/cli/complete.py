"""The command that completes images."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_size, printable
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

    from pyro_exact.models import Density, OrderAgnostic


def complete(
    checkpoint: Path,
    out: Path = Path("completions.png"),
    n: int | None = None,
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
    """Draw the hidden part of real images from an autoregressive model, a row for each image.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write: in each row what is seen, completions, and the image itself.
        n: How many images, drawn at random; 8 by default, or as many as there are.
        completions: How many of each image.
        mask: What is seen: half for the upper half (of a vector, the first half), or an image file,
            white where it is seen. A network of any order, such as DeepNADE, takes all of that into
            account; any other only what comes first in its order: for images what is seen above or
            to the left of a hidden pixel.
        image: An image file to complete, in place of images of the split.
        label: The class of the images, for a class-conditional model.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the completions.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data.image_files import read_images
    from pyro_exact.plots import check_grid, save_grids

    check_size("complete", "--completions", completions, 1, LARGEST_COUNT)
    check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run = model_of(checkpoint, device)
    given = _conditioned(checkpoint, model, run.recipe.model["name"], label)

    if image is None:
        images = some_of(images_of(run, data, data_root, download=False), split, n, seed, default=8)
    else:
        images = read_images([image]).images.long() * run.levels // 256
        torch.manual_seed(seed)
    seen = (
        _upper_half(run.shape)
        if mask == "half"
        else read_images([Path(mask)]).images[0].amin(0) > 127
    )
    for name, shape in ((image, tuple(images.shape[1:])), (mask, (run.shape[0], *seen.shape))):
        if shape != run.shape:
            raise ValueError(
                f"{printable(name)}: expected an image of shape {run.shape}, as the model's; got {shape}. Resize it."
            )
    if bool(seen.all()):
        raise ValueError(
            f"{printable(mask)} expects a mask that hides a pixel; got one that is white. Paint it black."
        )
    check_grid(len(images) * (completions + 2), run.shape, completions + 2)

    drawn = _drawn(given, images, seen.expand(run.shape), completions)
    hidden = images.where(seen, torch.tensor((run.levels - 1) / 2))
    rows = torch.cat((hidden[None], drawn, images[None])).transpose(0, 1).flatten(0, 1)
    save_grids({"seen, completions, image": rows}, run.levels, out, columns=completions + 2)
    tell(f"Wrote {out}.")


def _conditioned(
    checkpoint: Path, model: object, name: str, label: int | None
) -> Density | OrderAgnostic:
    """Return a model that can complete, given the class of the images if it is one of classes."""
    import torch

    from pyro_exact.autoregressive import Autoregressive
    from pyro_exact.models import Density, OrderAgnostic

    if isinstance(model, Density) and isinstance(model.distribution, Autoregressive):
        able: Density | OrderAgnostic = model
    elif isinstance(model, OrderAgnostic):
        able = model
    else:
        raise ValueError(
            f"{printable(checkpoint)}: expected an autoregressive model; got {name}. Choose another checkpoint."
        )
    if able.classes is None and label is not None:
        raise ValueError(
            f"{printable(checkpoint)} expects no --label, because its model has no classes. Leave it out."
        )
    if able.classes is None:
        return able
    if label is None:
        raise ValueError(
            f"{printable(checkpoint)}: expected the class of the images; got none. Say it with --label."
        )
    classes = torch.tensor([label], device=next(able.parameters()).device)
    return typing.cast("Density", able.condition(classes))


def _upper_half(shape: tuple[int, int, int]) -> Tensor:
    """Return a mask of the upper half of an image, or of the first half of a vector, (H, W)."""
    import torch

    _, height, width = shape
    if height > 1:
        return (torch.arange(height) < height // 2)[:, None].expand(height, width)
    return (torch.arange(width) < width // 2)[None]


def _drawn(
    model: Density | OrderAgnostic, images: Tensor, seen: Tensor, completions: int
) -> Tensor:
    """Return completions of each image, (completions, N, C, H, W)."""
    from pyro_exact.autoregressive import Autoregressive
    from pyro_exact.models import OrderAgnostic

    device = next(model.parameters()).device
    x, known = images.to(device), seen.to(device)
    if isinstance(model, OrderAgnostic):
        # The hidden sites given all others, in orders that begin with these.
        hidden = typing.cast(Autoregressive, model.net.condition_on(x, known))
        rest = hidden.sample((completions,), progress=True)
        drawn = x.to(rest.dtype).repeat(completions, 1, 1, 1, 1)
        drawn[..., ~known] = rest
        return drawn.cpu()
    distribution = typing.cast("Autoregressive", model.distribution)
    return distribution.sample((completions,), observed=x, mask=known, progress=True).cpu()
