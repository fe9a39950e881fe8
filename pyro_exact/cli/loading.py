"""Load the model and the images of a command, and check the output file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import check_size, printable
from pyro_exact.cli.data_args import CheckpointArgs, SplitArgs
from pyro_exact.cli.output import say, tell
from pyro_exact.recipes.parsing import closest_match

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Images
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import RunRecord

# The arguments of `load` that a checkpoint may carry.
_SOURCE = ("name", "root", "valid_fraction", "seed")


def load_images(name: str, **options: Any) -> Images:
    """Load images via `pyro_exact.data.load`, and print warnings about ambiguous data."""
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
    return {
        **asked,
        "name": name if known_name(name) else str(Path(name).resolve()),
        "root": None if root is None else str(root.resolve()),
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


def images_for(args: CheckpointArgs, run: RunRecord) -> Images:
    """Load the images of a run again, or other images that the model can score.

    Args:
        args: Arguments of the command; ``data`` and ``data_root`` are used instead of the data of
            the run.
        run: The record of the run.

    Raises:
        ValueError: If there is no such data set, or the model cannot score the images.
    """
    source = _source(args, run)
    try:
        images = load_images(**source, download=args.download)
    except (OSError, ValueError, TypeError) as error:
        if args.data is not None:
            raise
        raise ValueError(
            f"The images that the checkpoint was trained on are not where they were. {error} "
            f"Say where they are, with --data and --data-root."
        ) from error

    if (images.shape, images.levels) != (run.shape, run.levels):
        raise ValueError(
            f"The model expects images of shape {run.shape} with {run.levels} levels, as it was "
            f"trained on; got {images.shape} with {images.levels} from {images.name}. Choose other "
            f"images with --data."
        )
    return images


def _source(args: CheckpointArgs, run: RunRecord) -> dict[str, Any]:
    """Return the arguments of `load`, from a run and the arguments of a command."""
    source = dict(run.source or {})
    if args.data is not None:
        source["name"] = args.data
    if args.data_root is not None:
        source["root"] = args.data_root

    if "name" not in source:
        raise ValueError("The checkpoint does not say where its images are. Say it with --data.")
    unknown = [key for key in source if key not in _SOURCE]
    if unknown:
        raise ValueError(
            f"The checkpoint expects a source of {', '.join(_SOURCE)}; got "
            f"{printable(', '.join(map(str, unknown)))} too. Say where the images are with --data, "
            f"and use a checkpoint that `pyro-exact train` wrote."
        )
    return source


def random_images(
    args: SplitArgs, images: Images, n: int | None, default: int, each: int = 1
) -> Tensor:
    """Return random images of a split; see `random_index`."""
    return images.split(args.split)[random_index(args, images, n, default, each)]


def random_index(
    args: SplitArgs, images: Images, n: int | None, default: int, each: int = 1
) -> Tensor:
    """Return the indices of random images of a split, and seed the noise that follows.

    Args:
        args: Arguments of the command, with the split and the seed.
        images: The data set.
        n: How many images the user asked for; `None` for ``default``, or all if there are fewer.
        default: The default of ``n``.
        each: Images used for each of ``n``: 2 for pairs.

    Raises:
        ValueError: If there are not enough images.
    """
    import torch

    total = len(images.split(args.split))
    most = total // each
    if most == 0:
        raise ValueError(
            f"The split {args.split} of {images.name} expects at least {each} images; got "
            f"{total}. Choose another split (--split), or other data (--data)."
        )

    wanted = min(default, most) if n is None else check_size("This command", "--n", n)
    if wanted > most:
        raise ValueError(
            f"--n expects at most {most}, because the split {args.split} of {images.name} has "
            f"{total} images; got {wanted}. Lower it, or choose another split (--split)."
        )

    torch.manual_seed(args.seed)
    return torch.randperm(total)[: each * wanted]


def check_picture(out: Path) -> None:
    """Raise an error, before anything is computed, when a picture cannot be written to a path."""
    from pyro_exact.files import check_writable

    if out.suffix.lower() != ".png":
        raise ValueError(
            f"--out expects the name of a .png file; got {printable(out)!r}. Correct the suffix."
        )
    check_writable(out.parent)
