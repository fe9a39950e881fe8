"""The data sets that ship with scikit-learn: they need no download and no folder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_exact.data.columns import Column
from pyro_exact.data.images import Images
from pyro_exact.data.options import Options
from pyro_exact.data.split import Split, assemble
from pyro_exact.data.table import Table, make_table
from pyro_exact.data.table_files import hold_out_rows

PATCH = 32
TRAIN_STRIDE = 8


def digits(options: Options) -> Images:
    """Return 1797 grey 8x8 digits of 17 levels; 400 digits are test, whatever the seed.

    Args:
        options: The fraction and the seed of the validation split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(bunch.target).long()

    train, test = Split(images, labels).hold_out(400 / len(images), seed=0)
    return assemble("digits", train, None, test, 17, options.fraction, options.seed)


def photos(options: Options) -> Images:
    """Return 32x32 RGB patches of two photographs of 427 x 640 pixels, without random choices.

    The columns of each photograph are cut into three bands, so that no two splits share a pixel:
    the left half except for a band at the right edge is train; this band is valid; the right half
    is test. The width of the band is ``fraction`` of the left half, rounded to whole patches; both
    train and valid have at least a patch. Patches of train start every 8 pixels and overlap;
    patches of valid and test do not.

    Args:
        options: The fraction of the validation split.
    """
    from sklearn.datasets import load_sample_images

    pictures = [torch.tensor(picture).permute(2, 0, 1) for picture in load_sample_images().images]
    half = pictures[0].shape[-1] // 2

    patches = round(options.fraction * half / PATCH)
    band = PATCH * min(max(patches, 1), half // PATCH - 1)
    return Images(
        "photos",
        train=_patches([picture[..., : half - band] for picture in pictures], TRAIN_STRIDE),
        valid=_patches([picture[..., half - band : half] for picture in pictures], PATCH),
        test=_patches([picture[..., half:] for picture in pictures], PATCH),
        levels=256,
    )


def _patches(pictures: list[Tensor], stride: int) -> Tensor:
    """Return all patches on a grid, (N, C, 32, 32)."""
    patches = []
    for picture in pictures:
        grid = picture.unfold(1, PATCH, stride).unfold(2, PATCH, stride)
        patches.append(grid.permute(1, 2, 0, 3, 4).flatten(0, 1))
    return torch.cat(patches)


def bundled_table(name: str, options: Options) -> Table:
    """Return a table of real columns: breast_cancer (569 rows), diabetes (442) or wine (178).

    Args:
        name: The table.
        options: The fraction and the seed of the validation split.
    """
    from sklearn import datasets

    load: dict[str, Any] = {
        "breast_cancer": datasets.load_breast_cancer,
        "diabetes": datasets.load_diabetes,
        "wine": datasets.load_wine,
    }
    bunch = load[name]()
    columns = dict(zip(map(str, bunch.feature_names), bunch.data.T, strict=True))

    parts = hold_out_rows(columns, options.fraction, options.seed, name)
    return make_table(name, parts, {key: Column(key) for key in columns})
