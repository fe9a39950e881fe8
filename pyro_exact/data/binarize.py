"""Images of two levels: pixels compared with the middle, or drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pyro_exact.data.dataset import Dataset, Rows
from pyro_exact.data.images import Images
from pyro_exact.data.views import changed, in_memory

Binarization = Literal["threshold", "sample"]


def binarize(images: Dataset, how: Binarization, seed: int = 0) -> Images:
    r"""Return images of bits. Use it for models of binary images, such as NADE.

    ``"threshold"`` sets a pixel x of L levels to 1 if x > (L - 1) / 2. ``"sample"`` draws it with
    probability x / (L - 1), once for each pixel of the data set, as in the published binarised
    MNIST. These are different data sets, whose scores must not be compared.

    Args:
        images: Images of any levels.
        how: ``"threshold"`` or ``"sample"``.
        seed: Seed of the draws of train and valid; the test split never depends on it.

    Raises:
        TypeError: If the data are not images.
        ValueError: If ``how`` is another word.

    Reference:
        Salakhutdinov and Murray (2008), On the Quantitative Analysis of Deep Belief Networks, for
        drawn bits.

    Example:
        >>> from pyro_exact.data import load
        >>> binarize(load("digits"), "threshold")
        Images('digits-threshold', shape=(1, 8, 8), levels=2, train=1257, valid=140, test=400)
    """
    if how not in ("threshold", "sample"):
        raise ValueError(
            f"binarize expects how as 'threshold' or 'sample'; got {how!r}. Choose one."
        )

    if not isinstance(images, Images):
        raise TypeError(
            f"binarize expects images; got {images!r}. Leave it out, or choose other data."
        )

    levels = images.levels

    def bits(x: Rows, seed: int) -> Rows:
        if how == "threshold":
            return changed(x, _Threshold(levels))
        generator = torch.Generator().manual_seed(seed)
        probability = in_memory(x).float() / (levels - 1)
        return torch.bernoulli(probability, generator=generator).to(torch.uint8)

    return replace(
        images,
        name=f"{images.name}-{how}",
        train=bits(images.train, seed),
        valid=bits(images.valid, seed + 1),
        test=bits(images.test, 0),
        levels=2,
    )


@dataclass(frozen=True)
class _Threshold:
    """Whether each pixel is above the middle of the levels."""

    levels: int

    def __call__(self, x: Tensor) -> Tensor:
        return (2 * x.int() > self.levels - 1).to(torch.uint8)
