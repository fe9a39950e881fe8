"""`load`: from what a user typed to images."""

import difflib
from pathlib import Path

from pyro_exact.data.bundled import digits, photos
from pyro_exact.data.folder import folder
from pyro_exact.data.images import Images
from pyro_exact.data.npz import npz
from pyro_exact.data.vision import SOURCES, binarized_mnist, vision

VALID_FRACTION = 0.1

NAMES = ("digits", "photos", "binarized_mnist", *SOURCES)

_ALIASES = {"lsun": "lsun_bedroom"}


def load(
    name: str | Path,
    root: str | Path | None = None,
    download: bool = False,
    valid_fraction: float | None = None,
    seed: int = 0,
) -> Images:
    """Load a data set.

    Where a data set has no validation split of its own, one is held out of train, by a permutation that `seed` fixes.
    The test split never depends on `seed`, so results with different seeds can be compared.

    Args:
        name: one of

            - `digits` (8x8 grey, 17 levels) or `photos` (32x32 RGB patches), which need no files;
            - `mnist`, `fashion_mnist`, `cifar10`, `svhn`, `celeba`, `lsun_bedroom` (or `lsun`), `lsun_tower`,
              `lsun_church_outdoor`: what torchvision reads from `root`;
            - `binarized_mnist`: the file `binarized_mnist.npz` in `root` or in its subfolder `BinarizedMNIST`;
            - the path of a .npz file with uint8 arrays `train`, `test` and perhaps `valid`, of shape (N, C, H, W),
              (N, H, W) or, for vectors, (N, D); perhaps `train_labels`, ...; perhaps `levels`, needed if it is neither
              2 nor 256;
            - the path of a folder of images, with or without subfolders `train`, `valid` and `test`.

            Names may be written in any case, with or without `-` and `_`. They come before paths: a folder called
            `mnist` is `./mnist`.
        root: the folder where torchvision keeps its data sets; needed for those and for `binarized_mnist`.
        download: whether torchvision may download what `root` lacks.
        valid_fraction: share of the training images (of all images, for a folder without subfolders) to hold out;
            0.1 if None. It has no effect on data sets that come with a validation split.
        seed: which images are held out; `photos` has nothing random in it.

    Raises:
        FileNotFoundError: there are no such data.
        TypeError: a .npz file holds something else than uint8.
        ValueError: an unknown name, no `root` where it is needed, a fraction outside (0, 1), or data that cannot be
            used; the message names the file.

    Example:
        >>> load("digits")
        Images('digits', shape=(1, 8, 8), levels=17, train=1257, valid=140, test=400)
    """
    if valid_fraction is not None and not 0 < valid_fraction < 1:
        raise ValueError(f"valid_fraction: expected a number between 0 and 1; got {valid_fraction}. Use 0.1, say.")
    fraction = VALID_FRACTION if valid_fraction is None else valid_fraction
    known = _known(str(name))
    if known is None:
        return _load_path(str(name), fraction, seed)
    if known == "digits":
        return digits(fraction, seed)
    if known == "photos":
        return photos(fraction)
    if root is None:
        raise ValueError(f"{known}: expected the folder that holds the data; got no root. Give root (--data-root).")
    if known == "binarized_mnist":
        return binarized_mnist(Path(root), fraction, seed)
    return vision(known, Path(root), download, fraction, seed)


def _load_path(name: str, fraction: float, seed: int) -> Images:
    path = Path(name)
    if path.suffix == ".npz":
        return npz(path, path.stem, fraction, seed)
    if name and path.is_dir():
        return folder(path, fraction, seed)
    if len(path.parts) > 1:
        raise FileNotFoundError(f"{name}: expected a .npz file or a folder of images; found neither. Correct the path.")
    near = difflib.get_close_matches(name.lower(), NAMES, n=3)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise ValueError(
        f"{name!r}: expected the name of a data set, a .npz file or a folder; got none of these. {hint}"
        f"The names are {', '.join(NAMES)}."
    )


def _known(name: str) -> str | None:
    """The name in `NAMES` that the user means: FashionMNIST and fashion-mnist are fashion_mnist."""
    plain = {_plain(known): known for known in NAMES} | _ALIASES
    return plain.get(_plain(name))


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
