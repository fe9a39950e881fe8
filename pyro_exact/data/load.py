"""Load a data set by name or by path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pyro_exact.checks import check_choice, check_number, check_path, check_size, printable
from pyro_exact.data.binarize import Binarization
from pyro_exact.data.binarize import binarize as to_bits
from pyro_exact.data.bundled import bundled_table, digits, photos
from pyro_exact.data.columns import Column, read_columns
from pyro_exact.data.dataset import Dataset
from pyro_exact.data.folder import folder
from pyro_exact.data.hugging_face import hugging_face
from pyro_exact.data.image_files import LARGEST_SIDE
from pyro_exact.data.imagenet import IMAGENET, imagenet
from pyro_exact.data.levels import with_levels
from pyro_exact.data.npy import is_npy, npy
from pyro_exact.data.npz import npz
from pyro_exact.data.options import FITS, Fit, Options
from pyro_exact.data.paper_tables import PAPER_TABLES, paper_table
from pyro_exact.data.table_files import SUFFIXES, read_table, split_files
from pyro_exact.data.vision import SOURCES, binarized_mnist, vision

VALID_FRACTION = 0.1

# A data set is a name and a reader: to add one, add a line here, and a line to the docstring of
# `load`.
READERS: dict[str, Callable[[Options], Dataset]] = {
    "digits": digits,
    "photos": photos,
    "binarized_mnist": binarized_mnist,
    **{name: partial(vision, name) for name in SOURCES},
    **{name: partial(imagenet, name) for name in IMAGENET},
    **{name: partial(bundled_table, name) for name in ("breast_cancer", "diabetes", "wine")},
    **{name: partial(paper_table, read, name) for name, read in PAPER_TABLES.items()},
}

_ALIASES = {"lsun": "lsun_bedroom"}
_HUGGING_FACE = "hf:"

FileReader = Callable[[Path, Options], Dataset]


def load(
    name: str | Path,
    root: str | Path | None = None,
    download: bool = False,
    valid_fraction: float | None = None,
    seed: int = 0,
    columns: str | Path | Sequence[Column] | None = None,
    binarize: Binarization | None = None,
    levels: int | None = None,
    size: int | None = None,
    fit: Fit = "crop",
) -> Dataset:
    """Load a data set.

    Use this function to load training and test images, or tables. When a data set has no
    validation split, a part of train is held out, using a permutation that depends on `seed`. The
    test split never depends on `seed`, so results with different seeds can be compared.

    Args:
        name: One of

            - ``digits`` (8x8 grey, 17 levels) or ``photos`` (32x32 RGB patches), which need no
              files;
            - ``mnist``, ``fashion_mnist``, ``cifar10``, ``svhn``, ``celeba``, ``lsun_bedroom`` (or
              ``lsun``), ``lsun_tower``, ``lsun_church_outdoor``: data sets that torchvision reads
              from ``root``;
            - ``imagenet32_oord``, ``imagenet64_oord``: the PNG files of van den Oord et al. (2016)
              in ``root``; ``imagenet32_chrabaszcz``, ``imagenet64_chrabaszcz``: the batches of
              Chrabaszcz et al. (2017). These images differ, so bits per dimension of the two
              versions must not be compared;
            - ``binarized_mnist``: the file ``binarized_mnist.npz`` in ``root`` or in the subfolder
              ``BinarizedMNIST``;
            - ``breast_cancer``, ``diabetes`` or ``wine``: tables that need no files; ``power``,
              ``gas``, ``hepmass``, ``miniboone`` or ``bsds300``: the data sets of Papamakarios et
              al. (2017), in the folders that their code reads, in ``root``;
            - the path of a table: a .csv, .tsv, .parquet or .npy file, of which parts are held out,
              or a folder with such files called train, test and, optionally, valid;
            - the path of an .npz file with uint8 arrays ``train``, ``test`` and the optional
              ``valid``, of shape (N, C, H, W), (N, H, W) or, for vectors, (N, D); optionally
              ``train_labels``, ...; optionally ``levels``, which is required if it is neither 2 nor
              256;
            - the path of an .npy file, or of a folder of .npy files, of images of uint8, or of rows
              of any shape; these may be larger than memory;
            - the path of a folder of images, with or without subfolders ``train``, ``valid`` and
              ``test``;
            - ``hf:`` and the path of a folder to which the package `datasets` of Hugging Face saved
              a data set.

            Names may be written in upper or lower case, with or without ``-`` and ``_``. They come
            before paths: for a folder called ``mnist``, use ``./mnist``.
        root: The folder where torchvision keeps data sets; required for these data sets and for
            ``binarized_mnist``.
        download: If true, torchvision may download missing files.
        valid_fraction: Fraction of the training images (of all images, for a folder without
            subfolders) to hold out; the default is 0.1. It has no effect on data sets with a
            validation split.
        seed: Seed of the choice of the images that are held out; ``photos`` has no random choice.
        columns: Columns of a table: a YAML file, in which the columns that are not inferred are
            declared, or all columns of a `Table`.
        binarize: ``"threshold"`` or ``"sample"`` for images of bits; the default leaves the levels
            as they are. See `pyro_exact.data.binarize`.
        levels: Levels of a pixel, if these should be fewer than the data have: 32 keeps the high 5
            of 8 bits. They must divide the levels of the data.
        size: Side in pixels to which files of a folder, or of Hugging Face, are brought; the
            default takes images of the same size as they are.
        fit: How an image gets this size: ``"crop"`` scales the shorter side and keeps the middle,
            ``"pad"`` scales the longer side and adds black, ``"stretch"`` scales both sides.

    Raises:
        FileNotFoundError: If there are no such data.
        ModuleNotFoundError: If a package that the reader needs is missing.
        TypeError: If an .npz file holds another type than uint8.
        ValueError: On an unknown name, no ``root`` when this is required, a fraction outside (0,
            1), or data that cannot be used; the message names the file. When data could be read in
            another way too, a `DataWarning` names the rule that was used.

    Example:
        >>> load("digits")
        Images('digits', shape=(1, 8, 8), levels=17, train=1257, valid=140, test=400)
    """
    fraction = VALID_FRACTION
    if valid_fraction is not None:
        fraction = check_number("load", "valid_fraction", valid_fraction, 0, 1, open_ends=True)
    seed = check_size("load", "seed", seed, 0, 2**63 - 1)
    check_path("load", "name", name)
    place = None if root is None else check_path("load", "root", root)

    complete = isinstance(columns, Sequence) and not isinstance(columns, str)
    options = Options(
        place,
        download,
        fraction,
        seed,
        _declared(columns),
        complete,
        None if size is None else check_size("load", "size", size, 1, LARGEST_SIDE),
        check_choice("load", "fit", fit, FITS),
        None if levels is None else check_size("load", "levels", levels, 2, 256),
    )

    found = _read(str(name), options)
    if options.levels is not None:
        found = with_levels(found, options.levels)
    return found if binarize is None else to_bits(found, binarize, seed)


def known_name(name: str | Path) -> str | None:
    """Return the key of `READERS` for a name, or ``None`` for a path.

    FashionMNIST and fashion-mnist are the same name.
    """
    plain = {_plain(known): known for known in READERS} | _ALIASES
    return plain.get(_plain(str(name)))


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _declared(columns: str | Path | Sequence[Column] | None) -> dict[str, Column]:
    """Return declared columns by name."""
    if columns is None:
        return {}
    if isinstance(columns, (str, Path)):
        return read_columns(check_path("load", "columns", columns))
    return {column.name: column for column in columns}


def _read(name: str, options: Options) -> Dataset:
    """Read a data set by name or by path."""
    if options.size is not None and not takes_size(name):
        raise ValueError(
            f"load expects size for image files alone; got it for {printable(name)}. Leave size "
            f"(--size) out."
        )

    known = known_name(name)
    if known is not None:
        return READERS[known](options)
    if name.startswith(_HUGGING_FACE):
        return hugging_face(Path(name.removeprefix(_HUGGING_FACE)), options)

    reader = _file_reader(name)
    if reader is None:
        raise _unknown(name)
    return reader(Path(name), options)


def takes_size(name: str) -> bool:
    """Return whether the data of a name are image files, which `load` can bring to a size."""
    if known_name(name) is not None:
        return False
    return name.startswith(_HUGGING_FACE) or _file_reader(name) is folder


def _file_reader(name: str) -> FileReader | None:
    """Return the reader of a file or a folder, by its kind."""
    path = Path(name)
    is_folder = name != "" and os.path.isdir(path)  # Path.is_dir may raise an error

    if path.suffix.lower() == ".npy" or is_folder:
        if is_npy(path):
            return npy
    if path.suffix.lower() in SUFFIXES or (is_folder and split_files(path)):
        return read_table
    if path.suffix.lower() == ".npz":
        return _npz
    return folder if is_folder else None


def _npz(path: Path, options: Options) -> Dataset:
    return npz(path, printable(path.stem), options)


def _unknown(name: str) -> Exception:
    """Return the error for a name that is neither a data set nor a path."""
    shown, plain = printable(name), _plain(name)
    if len(Path(name).parts) > 1:
        return FileNotFoundError(
            f"{shown}: load expects a table, an .npz or .npy file, or a folder of images; got none "
            f"of these. Correct it."
        )
    if plain in ("imagenet", "imagenet32", "imagenet64"):
        return ValueError(
            f"load expects a version of ImageNet, because there are two of each size, whose bits "
            f"per dimension must not be compared; got '{shown}'. Use one of {', '.join(IMAGENET)}."
        )

    near = difflib.get_close_matches(name.lower(), READERS, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return ValueError(
        f"load expects the name of a data set, a file or a folder; got '{shown}'.{hint} "
        f"The names are {', '.join(READERS)}."
    )
