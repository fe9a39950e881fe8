"""Which model and which images a command is about, and where its picture goes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyro_exact.checks import check_size, printable
from pyro_exact.cli.output import say, tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Images
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import RunRecord

Device = Literal["auto", "cpu", "cuda"]
Split = Literal["test", "valid", "train"]

_SOURCE = (
    "name",
    "root",
    "valid_fraction",
    "seed",
)  # arguments of `load` that a checkpoint may carry


def load_images(name: str, **options: Any) -> Images:
    """Load images by `pyro_exact.data.load`, and print by which rules, where they could be meant otherwise."""
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


def checkpoint_of(given: Path) -> Path:
    """Return the checkpoint that is meant: of the folder of a run its best one, and say which."""
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
        f"{given} expects a checkpoint, {BEST} or {LAST}; got none. Name the folder of a run, or a file."
    )


def model_of(checkpoint: Path, device: str) -> tuple[GenerativeModel, RunRecord]:
    """Load the model of a checkpoint, and make sure that its weights are finite."""
    from pyro_exact.train import check_weights, load_model

    model, run = load_model(checkpoint, device)
    check_weights(model, str(checkpoint))
    return model, run


def images_of(run: RunRecord, data: str | None, data_root: Path | None, download: bool) -> Images:
    """Load the images of a run again, or others that its model can score."""
    given = {"name": data, "root": data_root}
    source = {
        **(run.source or {}),
        **{key: value for key, value in given.items() if value is not None},
    }
    if "name" not in source:
        raise ValueError("The checkpoint does not say where its images are. Say it with --data.")
    unknown = [key for key in source if key not in _SOURCE]
    if unknown:
        raise ValueError(
            f"The checkpoint expects a source of {', '.join(_SOURCE)}; got {printable(', '.join(map(str, unknown)))} "
            f"too. Say where the images are with --data, and use a checkpoint that `pyro-exact train` wrote."
        )
    try:
        images = load_images(**source, download=download)
    except (OSError, ValueError, TypeError) as error:
        if data is not None:
            raise
        raise ValueError(
            f"The images that the checkpoint was trained on are not where they were. {error} "
            f"Say where they are, with --data and --data-root."
        ) from error
    if (images.shape, images.levels) != (run.shape, run.levels):
        raise ValueError(
            f"{images.name}: expected images of shape {run.shape} with {run.levels} levels, as the model was trained "
            f"on; got {images.shape} with {images.levels}. Choose others with --data."
        )
    return images


def some_of(
    images: Images, split: Split, n: int | None, seed: int, default: int, each: int = 1
) -> Tensor:
    """Return images of a split, drawn at random; seed the noise that follows. The arguments are those of `chosen`."""
    return images.split(split)[chosen(images, split, n, seed, default, each)]


def chosen(
    images: Images, split: Split, n: int | None, seed: int, default: int, each: int = 1
) -> Tensor:
    """Return the places of images of a split, drawn at random; seed the noise that follows.

    Args:
        images: The data set.
        split: Which of its splits.
        n: How many the user asks for; ``default`` or as many as there are, if that is fewer, by
            default.
        seed: Of the choice.
        default: How many are enough.
        each: How many images one of ``n`` takes: 2 for pairs.

    Raises:
        ValueError: If there are not so many.
    """
    import torch

    every = images.split(split)
    most = len(every) // each
    if most == 0:
        raise ValueError(
            f"The split {split} of {images.name} expects at least {each} images; got {len(every)}. Choose another "
            f"split (--split), or other data (--data)."
        )

    wanted = min(default, most) if n is None else check_size("This command", "--n", n)
    if wanted > most:
        raise ValueError(
            f"--n expects at most {most}, because the split {split} of {images.name} has {len(every)} images; got "
            f"{wanted}. Lower it, or choose another split (--split)."
        )
    torch.manual_seed(seed)
    return torch.randperm(len(every))[: each * wanted]


def check_picture(out: Path) -> None:
    """Make sure, before anything is computed, that a picture can be written there."""
    from pyro_exact.files import check_writable

    if out.suffix.lower() != ".png":
        raise ValueError(
            f"--out expects the name of a .png file; got {printable(out)!r}. Correct the suffix."
        )
    check_writable(out.parent)


def source_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `load` in a form that holds in another working directory too."""
    from pyro_exact.data.load import known_name

    name, root = asked["name"], asked["root"]
    return {
        **asked,
        "name": name if known_name(name) else str(Path(name).resolve()),
        "root": None if root is None else str(root.resolve()),
    }
