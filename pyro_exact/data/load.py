"""Load a data set by name or by path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pyro_exact.checks import check_number, check_path, check_size, printable
from pyro_exact.data.binarize import Binarization
from pyro_exact.data.binarize import binarize as to_bits
from pyro_exact.data.bundled import bundled_table, digits, photos
from pyro_exact.data.columns import Column, read_columns
from pyro_exact.data.dataset import Dataset
from pyro_exact.data.folder import folder
from pyro_exact.data.npz import npz
from pyro_exact.data.options import Options
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
    **{name: partial(bundled_table, name) for name in ("breast_cancer", "diabetes", "wine")},
    **{name: partial(paper_table, read, name) for name, read in PAPER_TABLES.items()},
}

_ALIASES = {"lsun": "lsun_bedroom"}


def load(
    name: str | Path,
    root: str | Path | None = None,
    download: bool = False,
    valid_fraction: float | None = None,
    seed: int = 0,
    columns: str | Path | Sequence[Column] | None = None,
    binarize: Binarization | None = None,
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
            - the path of a folder of images, with or without subfolders ``train``, ``valid`` and
              ``test``.

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

    Raises:
        FileNotFoundError: If there are no such data.
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

    known = known_name(name)
    complete = isinstance(columns, Sequence) and not isinstance(columns, str)
    options = Options(place, download, fraction, seed, _declared(columns), complete)
    if known is None:
        found = _load_path(str(name), options)
    else:
        found = READERS[known](options)
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


def _load_path(name: str, options: Options) -> Dataset:
    """Load a table, an .npz file or a folder."""
    path, shown = Path(name), printable(name)
    fraction, seed = options.fraction, options.seed
    is_folder = bool(name) and os.path.isdir(path)  # False where Path.is_dir would raise an error

    if path.suffix.lower() in SUFFIXES or (is_folder and split_files(path)):
        return read_table(path, options)
    if path.suffix.lower() == ".npz":
        return npz(path, printable(path.stem), options)
    if is_folder:
        return folder(path, fraction, seed)

    if len(path.parts) > 1:
        raise FileNotFoundError(
            f"{shown}: load expects a table, an .npz file or a folder of images; got none of "
            f"these. Correct it."
        )
    near = difflib.get_close_matches(name.lower(), READERS, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(
        f"load expects the name of a data set, a file or a folder; got '{shown}'.{hint} "
        f"The names are {', '.join(READERS)}."
    )
