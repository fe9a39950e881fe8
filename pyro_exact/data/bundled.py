"""The data sets shipped inside scikit-learn: they need no download and no folder."""

import torch
from torch import Tensor

from pyro_exact.data.images import Images
from pyro_exact.data.split import Split, assemble

PATCH = 32
TRAIN_STRIDE = 8


def digits(fraction: float, seed: int) -> Images:
    """Return 8x8 grey digits of 17 levels: 1797 images, of which 400 are the test split whatever the seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    everything = Split(images, torch.from_numpy(bunch.target).long())
    train, test = everything.hold_out(400 / len(images), seed=0)
    return assemble("digits", train, None, test, levels=17, fraction=fraction, seed=seed)


def photos(fraction: float) -> Images:
    """Return 32x32 RGB patches of two photographs, 427 pixels high and 640 wide; nothing in it is random.

    The columns of each photograph are cut into three bands, so that no two splits share a pixel:
    the left half, less a band at its right edge, is train; that band is valid; the right half is
    test. The band is as wide as ``fraction`` of the left half, rounded to whole patches, at least
    one; at least one is left for train. Patches of train start every 8 pixels and overlap; those of
    valid and test
    lie side by
    side.
    """
    from sklearn.datasets import load_sample_images

    pictures = [torch.tensor(picture).permute(2, 0, 1) for picture in load_sample_images().images]
    half = pictures[0].shape[-1] // 2
    band = PATCH * min(max(round(fraction * half / PATCH), 1), half // PATCH - 1)
    return Images(
        "photos",
        train=_patches([picture[..., : half - band] for picture in pictures], TRAIN_STRIDE),
        valid=_patches([picture[..., half - band : half] for picture in pictures], PATCH),
        test=_patches([picture[..., half:] for picture in pictures], PATCH),
        levels=256,
    )


def _patches(pictures: list[Tensor], stride: int) -> Tensor:
    grids = [picture.unfold(1, PATCH, stride).unfold(2, PATCH, stride) for picture in pictures]
    return torch.cat([grid.permute(1, 2, 0, 3, 4).flatten(0, 1) for grid in grids])
