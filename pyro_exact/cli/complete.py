"""The command `pyro-exact complete`."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_size, printable
from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import (
    check_picture,
    find_checkpoint,
    images_for,
    load_checkpoint_file,
    random_images,
)
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import Density, OrderAgnostic
    from pyro_exact.train import RunRecord


def complete(
    source: SplitArgs,
    out: Path = Path("completions.png"),
    n: int | None = None,
    completions: int = 6,
    mask: str = "half",
    image: Path | None = None,
    label: int | None = None,
) -> None:
    """Draw the hidden part of real images from an autoregressive model.

    Args:
        source: The model, the images, and where to compute.
        out: The PNG file to write; a row has the visible part, the completions, and the image.
        n: How many images to use, drawn at random; by default 8, or as many as there are.
        completions: Completions of each image.
        mask: The visible part: half for the upper half (of a vector, the first half), or an image
            file that is white where the image is visible, or lowres for the smallest image of a
            multi-scale network. An order-agnostic network, such as DeepNADE, uses all visible
            pixels; any other network uses only the pixels that come first in the order of the
            network: for images, the pixels above or to the left of a hidden pixel.
        image: An image file to complete, instead of images of the split.
        label: The class of the images, for a class-conditional model.
    """
    import torch

    from pyro_exact.plots import check_grid, save_grids

    check_size("complete", "--completions", completions, 1, LARGEST_COUNT)
    check_picture(out)
    checkpoint = find_checkpoint(source.checkpoint)
    model, run = load_checkpoint_file(checkpoint, source.device)
    given = _conditioned(checkpoint, model, run.recipe.model["name"], label)

    if image is None:
        images = random_images(source, images_for(source, run), n, default=8)
    else:
        images = _read_image(image, run)
        torch.manual_seed(source.seed)
    visible = _lowres(checkpoint, given) if mask == "lowres" else _visible(mask, run)
    columns = completions + 2
    check_grid(len(images) * columns, run.shape, columns)

    # Hidden pixels are grey in the first column.
    grey = torch.tensor((run.levels - 1) / 2)
    drawn = _draw(given, images, visible.expand(run.shape), completions)
    rows = torch.cat((images.where(visible, grey)[None], drawn, images[None]))
    pictures = rows.transpose(0, 1).flatten(0, 1)
    save_grids({"seen, completions, image": pictures}, run.levels, out, columns=columns)
    tell(f"Wrote {out}.")


def _conditioned(
    checkpoint: Path, model: object, name: str, label: int | None
) -> Density | OrderAgnostic:
    """Return a model that can complete images, given their class if it is class-conditional."""
    import torch

    from pyro_exact.autoregressive import Autoregressive
    from pyro_exact.models import Density, OrderAgnostic

    owner = printable(checkpoint)
    autoregressive = isinstance(model, Density) and isinstance(model.distribution, Autoregressive)
    if not (autoregressive or isinstance(model, OrderAgnostic)):
        raise ValueError(
            f"{owner} expects an autoregressive model; got {name}. Choose another checkpoint."
        )
    able = typing.cast("Density | OrderAgnostic", model)

    if able.classes is None:
        if label is not None:
            raise ValueError(
                f"{owner} expects no --label, because its model has no classes. Leave it out."
            )
        return able
    if label is None:
        raise ValueError(f"{owner} expects the class of the images; got none. Say it with --label.")
    classes = torch.tensor([label], device=next(able.parameters()).device)
    return typing.cast("Density", able.condition(classes))


def _read_image(path: Path, run: RunRecord) -> Tensor:
    """Return an image file in the levels of a model, (1, C, H, W)."""
    from pyro_exact.data.image_files import read_images

    images = read_images([path]).images
    _check_shape(path, tuple(images.shape[1:]), run.shape)
    return images.long() * run.levels // 256


def _visible(mask: str, run: RunRecord) -> Tensor:
    """Return a mask that is true where an image is visible, (H, W)."""
    from pyro_exact.data.image_files import read_images

    if mask == "half":
        visible = _first_half(run.shape)
    else:
        visible = read_images([Path(mask)]).images[0].amin(0) > 127
        _check_shape(mask, (run.shape[0], *visible.shape), run.shape)

    if bool(visible.all()):
        raise ValueError(
            f"{printable(mask)} expects a mask that hides a pixel; got one that is white. Paint it "
            f"black."
        )
    return visible


def _lowres(checkpoint: Path, model: Density | OrderAgnostic) -> Tensor:
    """Return a mask of the smallest image of a multi-scale network, (H, W)."""
    from pyro_exact.autoregressive import MultiscaleNet

    net = model.net
    if not isinstance(net, MultiscaleNet):
        raise ValueError(
            f"{printable(checkpoint)} expects another mask than lowres, because its network has "
            f"no small image; got {type(net).__name__}. Use --mask half, or a multi-scale network."
        )
    return net.smallest_mask()


def _check_shape(name: object, shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    if shape != expected:
        raise ValueError(
            f"{printable(name)} expects an image of shape {expected}, as the model's; got {shape}. "
            f"Resize it."
        )


def _first_half(shape: tuple[int, int, int]) -> Tensor:
    """Return a mask of the upper half of an image, or of the first half of a vector, (H, W)."""
    import torch

    _, height, width = shape
    if height > 1:
        return (torch.arange(height) < height // 2)[:, None].expand(height, width)
    return (torch.arange(width) < width // 2)[None]


def _draw(
    model: Density | OrderAgnostic, images: Tensor, visible: Tensor, completions: int
) -> Tensor:
    """Return completions of each image, (completions, N, C, H, W)."""
    from pyro_exact.autoregressive import Autoregressive
    from pyro_exact.models import OrderAgnostic

    device = next(model.parameters()).device
    x, observed = images.to(device), visible.to(device)
    if isinstance(model, OrderAgnostic):
        # Draw the hidden sites given all visible ones, in orders that begin with the visible ones.
        hidden = typing.cast(Autoregressive, model.net.condition_on(x, observed))
        values = hidden.sample((completions,), progress=True)
        drawn = x.to(values.dtype).repeat(completions, 1, 1, 1, 1)
        drawn[..., ~observed] = values
        return drawn.cpu()

    distribution = typing.cast("Autoregressive", model.distribution)
    return distribution.sample((completions,), observed=x, mask=observed, progress=True).cpu()
