"""`load`: from what a user typed to images."""

import difflib
import os
from pathlib import Path

from pyro_exact.checks import check_number, check_path, check_size, printable
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

    Where a data set has no validation split of its own, one is held out of train, by a permutation
    that `seed` fixes. The test split never depends on `seed`, so results with different seeds can
    be compared.

    Args:
        name: One of

            - ``digits`` (8x8 grey, 17 levels) or ``photos`` (32x32 RGB patches), which need no
              files;
            - ``mnist``, ``fashion_mnist``, ``cifar10``, ``svhn``, ``celeba``, ``lsun_bedroom`` (or
              ``lsun``), ``lsun_tower``, ``lsun_church_outdoor``: data sets that torchvision reads
              from ``root``;
            - ``binarized_mnist``: the file ``binarized_mnist.npz`` in ``root`` or in its subfolder
              ``BinarizedMNIST``;
            - the path of an .npz file with uint8 arrays ``train``, ``test`` and perhaps ``valid``,
              of shape (N, C, H, W), (N, H, W) or, for vectors, (N, D); perhaps ``train_labels``,
              ...; perhaps ``levels``, needed if it is neither 2 nor 256;
            - the path of a folder of images, with or without subfolders ``train``, ``valid`` and
              ``test``.

            Names may be written in any case, with or without ``-`` and ``_``. They come before
            paths: a folder called ``mnist`` is ``./mnist``.
        root: The folder where torchvision keeps its data sets; needed for those and for
            ``binarized_mnist``.
        download: Whether torchvision may download what ``root`` lacks.
        valid_fraction: Share of the training images (of all images, for a folder without
            subfolders) to hold out; 0.1 by default. It has no effect on data sets that come with a
            validation split.
        seed: Which images are held out; ``photos`` has nothing random in it.

    Raises:
        FileNotFoundError: If there are no such data.
        TypeError: If an .npz file holds something else than uint8.
        ValueError: On an unknown name, no ``root`` where it is needed, a fraction outside (0, 1),
            or data that cannot be used; the message names the file. Where a rule was applied to
            data that could be meant otherwise, a `DataWarning` says so.

    Example:
        >>> load("digits")
        Images('digits', shape=(1, 8, 8), levels=17, train=1257, valid=140, test=400)
    """
    fraction = VALID_FRACTION
    if valid_fraction is not None:
        fraction = check_number("load", "valid_fraction", valid_fraction, 0, 1, open_ends=True)
    seed = check_size("load", "seed", seed, 0, 2**63 - 1)

    check_path("load", "name", name)
    known = known_name(name)
    if known is None:
        return _load_path(str(name), fraction, seed)
    if known == "digits":
        return digits(fraction, seed)
    if known == "photos":
        return photos(fraction)
    if root is None:
        raise ValueError(
            f"{known} expects root, the folder that holds the data; got none. Pass root (--data-root)."
        )
    place = check_path("load", "root", root)
    if known == "binarized_mnist":
        return binarized_mnist(place, fraction, seed)
    return vision(known, place, download, fraction, seed)


def known_name(name: str | Path) -> str | None:
    """Return the name in `NAMES` that is meant, or ``None`` for a path: FashionMNIST and fashion-mnist are one."""
    plain = {_plain(known): known for known in NAMES} | _ALIASES
    return plain.get(_plain(str(name)))


def _load_path(name: str, fraction: float, seed: int) -> Images:
    path, shown = Path(name), printable(name)
    if path.suffix.lower() == ".npz":
        return npz(path, printable(path.stem), fraction, seed)
    if name and os.path.isdir(path):  # False for a name that is too long, where Path.is_dir raises
        return folder(path, fraction, seed)
    if len(path.parts) > 1:
        raise FileNotFoundError(
            f"{shown}: load expects an .npz file or a folder of images; got neither. Correct it."
        )
    near = difflib.get_close_matches(name.lower(), NAMES, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(
        f"load expects the name of a data set, an .npz file or a folder; got '{shown}'.{hint} "
        f"The names are {', '.join(NAMES)}."
    )


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
