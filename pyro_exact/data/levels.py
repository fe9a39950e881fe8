"""Images with fewer levels, for example of 5 bits, as Glow and Flow++ use them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from pyro_exact.data.dataset import SPLITS, Dataset
from pyro_exact.data.images import Images
from pyro_exact.data.note import note
from pyro_exact.data.views import changed, highest


@dataclass(frozen=True)
class _Coarser:
    """Integer division of pixel levels."""

    factor: int

    def __call__(self, x: Tensor) -> Tensor:
        return x // self.factor


def with_levels(data: Dataset, levels: int) -> Dataset:
    r"""Return images with fewer levels: the low bits of each pixel are dropped.

    A pixel x of L levels becomes :math:`\lfloor x \, l / L \rfloor`, for example the high 5 of 8
    bits for l = 32 (Kingma and Dhariwal, 2018, section 5). The name of the data set says so, since
    bits per dimension of different levels must not be compared.

    Args:
        data: A data set of images.
        levels: Levels of the result, l; they must divide the levels of the data.

    Raises:
        ValueError: If these are no images, or ``levels`` does not divide their levels.

    Example:
        >>> import torch
        >>> x = torch.tensor([0, 7, 8, 255], dtype=torch.uint8).view(4, 1, 1, 1)
        >>> images = with_levels(Images("toy", x, x, x, levels=256), 32)
        >>> images.name, images.train[torch.arange(4)].flatten().tolist()
        ('toy_32_levels', [0, 0, 1, 31])
    """
    if data.levels == levels:
        return data
    if not isinstance(data, Images):
        raise ValueError(
            f"{data.name} expects levels for images alone; got {data!r}. Leave levels (--levels) "
            f"out."
        )
    if levels < 2 or data.levels % levels:
        raise ValueError(
            f"{data.name} expects levels that divide its {data.levels} levels, so that all new "
            f"levels are equally wide; got {levels}. Choose another number (--levels)."
        )

    factor = data.levels // levels
    if all(highest(data.split(split), levels) < levels for split in SPLITS):
        note(
            f"{data.name}: all pixels are below {levels}: read as {levels} levels already, and not "
            f"as the dark part of {data.levels}."
        )
        factor = 1

    train, valid, test = (changed(data.split(split), _Coarser(factor)) for split in SPLITS)
    name = f"{data.name}_{levels}_levels"
    return replace(data, name=name, train=train, valid=valid, test=test, levels=levels)
