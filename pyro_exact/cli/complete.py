"""The command `pyro-exact complete`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import LARGEST_COUNT, check_size, printable
from pyro_exact.cli.arrays import check_apart
from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import (
    check_picture,
    data_for,
    find_checkpoint,
    load_checkpoint_file,
    picture_shape,
    random_images,
)
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import GenerativeModel
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
    """Draw the hidden part of real images from a model that can complete data.

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
    check_apart("--out", out, {"--image": image, "--mask": mask, "the data": source.data})
    checkpoint = find_checkpoint(source)
    model, run = load_checkpoint_file(checkpoint, source.device)
    given = _conditioned(checkpoint, model, label)

    shape = picture_shape(run)
    if image is None:
        images = random_images(source, data_for(source, run), n, default=8).view(-1, *shape)
    else:
        images = _read_image(image, run)
        torch.manual_seed(source.seed)
    visible = _lowres(checkpoint, given) if mask == "lowres" else _visible(mask, shape)
    columns = completions + 2
    check_grid(len(images) * columns, shape, columns)

    # Hidden pixels are grey in the first column.
    grey = torch.tensor((run.image_levels - 1) / 2)
    device = next(given.parameters()).device
    x = images.view(-1, *run.shape).to(device)
    observed = visible.expand(shape).reshape(run.shape).to(device)
    drawn = given.complete(x, observed, completions, progress=True).cpu()
    drawn = drawn.view(completions, -1, *shape)
    rows = torch.cat((images.where(visible, grey)[None], drawn, images[None]))
    pictures = rows.transpose(0, 1).flatten(0, 1)
    save_grids({"seen, completions, image": pictures}, run.image_levels, out, columns=columns)
    tell(f"Wrote {out}.")


def _conditioned(checkpoint: Path, model: GenerativeModel, label: int | None) -> GenerativeModel:
    """Return the model under the class of the images, if it is class-conditional."""
    import torch

    owner = printable(checkpoint)
    if model.classes is None:
        if label is not None:
            raise ValueError(
                f"{owner} expects no --label, because its model has no classes. Leave it out."
            )
        return model

    if label is None:
        raise ValueError(
            f"{owner} expects the class of the images; got none. Pass it with --label."
        )
    return model.condition(torch.tensor([label], device=next(model.parameters()).device))


def _read_image(path: Path, run: RunRecord) -> Tensor:
    """Return an image file in the levels of a model, (1, C, H, W)."""
    from pyro_exact.data.image_rows import read_image

    images = read_image(path).unsqueeze(0)
    _check_shape(path, tuple(images.shape[1:]), picture_shape(run))
    return images.long() * run.image_levels // 256


def _visible(mask: str, shape: tuple[int, int, int]) -> Tensor:
    """Return a mask that is true where an image is visible, (H, W)."""
    from pyro_exact.data.image_rows import read_image

    if mask == "half":
        visible = _first_half(shape)
    else:
        visible = read_image(Path(mask)).amin(0) > 127
        _check_shape(mask, (shape[0], *visible.shape), shape)

    if bool(visible.all()):
        raise ValueError(
            f"{printable(mask)} expects a mask that hides a pixel; got a white mask. Paint the "
            f"hidden pixels black."
        )
    return visible


def _lowres(checkpoint: Path, model: GenerativeModel) -> Tensor:
    """Return a mask of the smallest image of a multi-scale network, (H, W)."""
    from pyro_exact.autoregressive import MultiscaleNet

    net = getattr(model, "net", model)
    if not isinstance(net, MultiscaleNet):
        raise ValueError(
            f"{printable(checkpoint)} expects another mask than lowres, because its model has "
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
