"""Load the model and the images of a command, and check the output file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import check_size, printable
from pyro_exact.cli.arrays import check_suffix
from pyro_exact.cli.data_args import CheckpointArgs, SplitArgs
from pyro_exact.cli.output import say, tell
from pyro_exact.recipes.parsing import closest_match

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Column, Dataset
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import RunRecord

# The arguments of `load` that a checkpoint may carry.
_SOURCE = ("name", "root", "valid_fraction", "seed", "columns", "binarize", "levels", "size", "fit")


def load_data(name: str, **options: Any) -> Dataset:
    """Load data via `pyro_exact.data.load`, and print warnings about ambiguous data."""
    from pyro_exact.data import DataWarning, load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        images = load(name=name, **options)

    for warning in caught:
        if issubclass(warning.category, DataWarning):
            say(str(warning.message))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return images


def portable_source(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load` in a form that is valid in any working directory."""
    from pyro_exact.data.load import known_name

    name, root = asked["name"], asked["root"]
    prefix = "hf:" if name.startswith("hf:") else ""
    path = Path(name.removeprefix(prefix))
    return {
        **asked,
        "name": known_name(name) or f"{prefix}{path.resolve()}",
        "root": None if root is None else str(root.resolve()),
        "columns": None if asked["columns"] is None else str(asked["columns"].resolve()),
    }


def find_checkpoint(args: CheckpointArgs) -> Path:
    """Return the file of a trained model.

    For the folder of a run, this is the best checkpoint, whose name is printed; for the name of a
    model that comes with the package, the file of its weights.
    """
    given = args.checkpoint
    if _is_name(given):
        from pyro_exact.pretrained import file_of

        return file_of(str(given), args.download)
    if not given.exists():
        from pyro_exact.pretrained import names

        raise FileNotFoundError(
            f"There is no checkpoint {printable(given)}, and no model of this name comes with the "
            f"package.{closest_match(str(given), names())} `pyro-exact train` writes checkpoints; "
            f"the names are {', '.join(names())}."
        )
    return find_file(given)


def find_file(given: Path) -> Path:
    """Return the best checkpoint in the folder of a run, or the file that is given."""
    from pyro_exact.train import BEST, LAST

    if not given.is_dir():
        return given

    best, last = given / BEST, given / LAST
    if best.exists():
        tell(f"Taking {best}, the state with the lowest validation loss.")
        return best
    if last.exists():
        tell(f"Taking {last}, the last state: there is no {BEST} beside it.")
        return last
    raise ValueError(
        f"{given} expects a checkpoint, {BEST} or {LAST}; got none. Name the folder of a run, or a "
        f"file."
    )


def folder_of(args: CheckpointArgs, checkpoint: Path) -> Path:
    """Return the folder for output: that of the checkpoint, or the current folder for a name."""
    return Path() if _is_name(args.checkpoint) else checkpoint.parent


def load_checkpoint(args: CheckpointArgs) -> tuple[GenerativeModel, RunRecord]:
    """Load a model and the record of the run, and check that all weights are finite."""
    return load_checkpoint_file(find_checkpoint(args), args.device)


def load_checkpoint_file(path: Path, device: str) -> tuple[GenerativeModel, RunRecord]:
    """Do the same for the path of a checkpoint, or of an exported file."""
    from pyro_exact.pretrained import SUFFIX, load_file
    from pyro_exact.train import check_weights, load_model

    if path.suffix == SUFFIX:
        model, run, _ = load_file(path, device)
    else:
        model, run = load_model(path, device)
    check_weights(model, str(path))
    return model, run


def _is_name(given: Path) -> bool:
    """Return whether an argument is the name of a model in the package, and not a path."""
    from pyro_exact.pretrained import names

    return str(given) in names() and not given.exists()


def data_for(args: CheckpointArgs, run: RunRecord) -> Dataset:
    """Load the data of a run again, or other data that the model can score.

    Args:
        args: Arguments of the command; ``data`` and ``data_root`` are used instead of the data of
            the run.
        run: The record of the run.

    Raises:
        ValueError: If there is no such data set, or the model cannot score the data.
    """
    source = _source(args, run)
    try:
        data = load_data(**source, download=args.download)
    except (OSError, ValueError, TypeError) as error:
        if args.data is not None:
            raise
        raise ValueError(
            f"The data that the checkpoint was trained on were not found. {error} "
            f"Pass their new place with --data and --data-root."
        ) from error

    if (data.event_shape, data.levels) != (run.shape, run.levels):
        trained, got = _kind(run.shape, run.levels), _kind(data.event_shape, data.levels)
        raise ValueError(
            f"The model expects data of {trained}, as it was trained on; got {got} from "
            f"{data.name}. Choose other data with --data."
        )
    return data


def _kind(shape: tuple[int, ...], levels: int | None) -> str:
    """Return shape and levels of data in words."""
    return f"shape {shape} with {levels or 'no'} levels"


def columns_of(run: RunRecord) -> list[Column]:
    """Return the columns of the table that a model was trained on; none for other data."""
    from pyro_exact.data import Column

    columns = (run.model or {}).get("columns") or []
    return [Column(**{**column, "values": _tuple(column.get("values"))}) for column in columns]


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _source(args: CheckpointArgs, run: RunRecord) -> dict[str, Any]:
    """Return the arguments of `load`, from a run and the arguments of a command."""
    from pyro_exact.data.load import takes_size

    source = dict(run.source or {})
    if args.data is not None:
        source["name"] = args.data
        if source.get("size") is not None and not takes_size(args.data):
            source["size"] = None
    if args.data_root is not None:
        source["root"] = args.data_root

    # A table is read by the columns of the model, whatever is in the file.
    if columns := columns_of(run):
        source["columns"] = columns

    if "name" not in source:
        raise ValueError("The checkpoint does not name its data. Pass --data.")
    unknown = [key for key in source if key not in _SOURCE]
    if unknown:
        raise ValueError(
            f"The checkpoint expects a source of {', '.join(_SOURCE)}; got "
            f"{printable(', '.join(map(str, unknown)))} too. Pass the data with --data, "
            f"and use a checkpoint that `pyro-exact train` wrote."
        )
    return source


def random_images(
    args: SplitArgs, data: Dataset, n: int | None, default: int, each: int = 1
) -> Tensor:
    """Return random images of a split; see `random_index`."""
    return data.split(args.split)[random_index(args, data, n, default, each)]


def random_index(
    args: SplitArgs, data: Dataset, n: int | None, default: int, each: int = 1
) -> Tensor:
    """Return the indices of random images of a split, and seed the noise that follows.

    Args:
        args: Arguments of the command, with the split and the seed.
        data: The data set.
        n: How many images the user asked for; `None` for ``default``, or all if there are fewer.
        default: The default of ``n``.
        each: Images used for each of ``n``: 2 for pairs.

    Raises:
        ValueError: If there are not enough images.
    """
    import torch

    total = len(data.split(args.split))
    most = total // each
    if most == 0:
        raise ValueError(
            f"The split {args.split} of {data.name} expects at least {each} rows; got "
            f"{total}. Choose another split (--split), or other data (--data)."
        )

    wanted = min(default, most) if n is None else check_size("This command", "--n", n)
    if wanted > most:
        raise ValueError(
            f"--n expects at most {most}, because the split {args.split} of {data.name} has "
            f"{total} rows; got {wanted}. Lower it, or choose another split (--split)."
        )

    torch.manual_seed(args.seed)
    return torch.randperm(total)[: each * wanted]


def check_picture(out: Path) -> None:
    """Raise an error, before anything is computed, when a picture cannot be written to a path."""
    check_suffix("--out", out, (".png",))


def picture_shape(run: RunRecord) -> tuple[int, int, int]:
    """Return the shape of an image, or of a vector as an image of one row.

    Raises:
        ValueError: If the model is of real elements, or of other shapes.
    """
    if run.levels is None:
        raise ValueError(
            f"A picture expects a model of images with levels; got one of real elements of shape "
            f"{run.shape}. Write arrays, with `pyro-exact sample --out samples.csv`."
        )
    return (1, 1, run.shape[0]) if len(run.shape) == 1 else run.image_shape
