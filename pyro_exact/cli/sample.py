"""The command `pyro-exact sample`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import check_number, check_size
from pyro_exact.cli.arrays import ARRAYS, check_suffix, write_arrays
from pyro_exact.cli.data_args import CheckpointArgs
from pyro_exact.cli.loading import columns_of, data_for, load_checkpoint, picture_shape
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.data import Column
    from pyro_exact.models import GenerativeModel
    from pyro_exact.train import RunRecord

    Draws = Mapping[float | None, Tensor]


def sample(
    source: CheckpointArgs,
    out: Path | None = None,
    n: int | None = None,
    temperature: float | list[float] | None = None,
    label: int | list[int] | None = None,
    context: list[float] | None = None,
    nearest: bool = False,
    steps: list[int] | None = None,
) -> None:
    """Draw from a trained model: pictures, or arrays.

    Args:
        source: The model, the training images, and where to compute.
        out: The file to write: a .png file of pictures, or an .npz, .npy or .csv file of arrays;
            samples.png by default, or samples.csv for a model of vectors. Arrays of several
            temperatures or classes have them in columns of their own.
        n: How many images to draw for each temperature, spread evenly over the classes if there are
            any; by default 64, or 8 if there are several temperatures.
        temperature: Standard deviation of a flow's base noise; the default, 1, is the model
            itself, less gives smoother images. Each of several, for example "[0.5, 0.7, 1]", has a
            row, using the same noise up to the scale. This must not be used with an autoregressive
            model.
        label: A class of a class-conditional model. Each of several, for example "[3, 5]", has a
            row; the default is all classes.
        context: The context of a model of p(x | context), for example "[0.5, -1]".
        nearest: If true, show the nearest training images beside the samples, to see whether the
            model has memorised training images.
        steps: For a model that draws an image step by step, such as ConvDRAW: a row for each count
            of steps, for example "[1, 2, 4, 8]", using the same noise. The latents of all later
            steps are the means of their priors, so that the rows show the images grow.
    """
    temperatures = _temperatures(temperature)
    total = 64 if len(temperatures) == 1 else 8
    if n is not None:
        total = check_size("sample", "--n", n)
    if out is not None:
        _check_arguments(source, out, nearest)

    model, run = load_checkpoint(source)
    if out is None:
        out = Path("samples.png" if len(run.shape) == 3 else "samples.csv")
        _check_arguments(source, out, nearest)
    labels = _labels(model, label)
    given = _conditioned(model, labels, context)
    each = max(1, total // len(labels)) if labels else total
    columns = each if len(labels) > 1 else max(8, math.isqrt(total - 1) + 1)

    if steps is not None:
        _save_steps(
            given, steps, total if n is not None else 8, temperatures, source.seed, run, out
        )
    elif out.suffix.lower() not in ARRAYS:
        from pyro_exact.data.dataset import in_memory
        from pyro_exact.plots import check_grid

        check_grid(each * max(1, len(labels)), picture_shape(run), columns)
        train = in_memory(data_for(source, run).split("train")) if nearest else None
        drawn = _draw(given, each, temperatures, source.seed, bool(labels))
        _save_pictures(drawn, run, out, columns, train)
    else:
        drawn = _draw(given, each, temperatures, source.seed, bool(labels))
        named = [] if out.suffix.lower() == ".npy" else columns_of(run)
        write_arrays(_arrays(drawn, labels, each, named), out)
    tell(f"Wrote {out}.")


def _check_arguments(source: CheckpointArgs, out: Path, nearest: bool) -> None:
    """Raise an error if some flags do not go together, or the file cannot be written."""
    pictures = out.suffix.lower() not in ARRAYS
    if source.data is not None and not nearest:
        raise ValueError(
            "sample expects --data together with --nearest only; got it alone. Add --nearest."
        )
    if nearest and not pictures:
        raise ValueError(
            "sample expects --nearest with a .png file; got a file of arrays. Leave it out."
        )
    check_suffix("--out", out, (".png", *ARRAYS) if pictures else ARRAYS)


def _temperatures(temperature: float | list[float] | None) -> list[float | None]:
    """Return the temperatures as a list; `None` stands for the default of the model."""
    if not isinstance(temperature, list):
        temperatures: list[float | None] = [temperature]
    else:
        temperatures = [*temperature]

    if not temperatures:
        raise ValueError(
            "sample expects at least one temperature; got none. Leave --temperature out, or name "
            "one."
        )
    for t in temperatures:
        if t is not None:
            check_number("sample", "--temperature", t, 0)
    return temperatures


def _labels(model: GenerativeModel, label: int | list[int] | None) -> list[int]:
    """Return the classes to draw; none for a model without classes."""
    if label is None:
        return list(range(model.classes or 0))
    if isinstance(label, int):
        return [label]
    if not label:
        raise ValueError(
            "sample expects at least one --label; got none. Leave it out for all classes."
        )
    return label


def _conditioned(
    model: GenerativeModel, labels: list[int], context: list[float] | None
) -> GenerativeModel:
    """Return a model under classes or a context, if it takes any."""
    import torch

    device = next(model.parameters()).device
    if labels:
        return model.condition(torch.tensor(labels, device=device))

    if model.context_dim is None:
        if context is not None:
            raise ValueError(
                "sample expects no --context, because the model takes none. Leave it out."
            )
        return model
    if context is None:
        raise ValueError(
            f"sample expects --context of {model.context_dim} elements, as the model takes them; "
            f"got none. Pass them with --context."
        )
    return model.condition(torch.tensor(context, dtype=torch.get_default_dtype(), device=device))


def _draw(
    model: GenerativeModel,
    n: int,
    temperatures: list[float | None],
    seed: int,
    by_class: bool,
) -> dict[float | None, Tensor]:
    """Return n data for each temperature, or n of each class in the order of the classes."""
    import torch

    drawn = {}
    for t in temperatures:
        torch.manual_seed(seed)
        x = model.sample_with_progress(n, t).cpu()
        drawn[t] = x.transpose(0, 1).flatten(0, 1) if by_class else x
    return drawn


def _save_pictures(
    drawn: Draws, run: RunRecord, out: Path, columns: int, train: Tensor | None
) -> None:
    """Write a grid for each temperature, with the nearest training images if there are any."""
    from pyro_exact.data import nearest
    from pyro_exact.plots import save_grids

    grids, shape = {}, picture_shape(run)
    for t, x in drawn.items():
        title = "samples" if t is None else f"temperature {t:g}"
        grids[title] = x.view(-1, *shape)
        if train is not None:
            found = nearest(x, train)
            grids[f"{title}: nearest training images"] = found.view(-1, *shape)
    save_grids(grids, run.image_levels, out, columns=columns, rows=len(drawn))


def _save_steps(
    model: GenerativeModel,
    steps: list[int],
    n: int,
    temperatures: list[float | None],
    seed: int,
    run: RunRecord,
    out: Path,
) -> None:
    """Write a grid for each count of steps whose latents are drawn."""
    import torch

    from pyro_exact.plots import check_grid, save_grids

    if not steps or len(temperatures) > 1 or out.suffix.lower() in ARRAYS:
        raise ValueError(
            f"sample expects --steps of at least one count, with one temperature and a .png file; "
            f"got {steps}, {len(temperatures)} temperatures and {out.name}. Change one of them."
        )
    check_grid(n * len(steps), picture_shape(run), n)

    grids = {}
    for count in steps:
        torch.manual_seed(seed)
        drawn = model.sample_steps(n, count, temperatures[0])
        grids[f"{count} steps"] = drawn.cpu().view(-1, *picture_shape(run))
    save_grids(grids, run.image_levels, out, columns=n, rows=len(steps))


def _arrays(drawn: Draws, labels: list[int], each: int, named: Sequence[Column]) -> dict[str, Any]:
    """Return the samples, with the temperature and the class of each if there are several.

    The samples of a table are in the columns of the table, with the texts of categories.
    """
    import numpy as np

    from pyro_exact.data.columns import decoded

    columns: dict[str, Any] = {}
    if len(drawn) > 1:
        columns["temperature"] = np.repeat(
            [float(t or 1) for t in drawn], each * max(1, len(labels))
        )
    if labels:
        columns["label"] = np.tile(np.repeat(labels, each), len(drawn))
    x = np.concatenate([x.numpy() for x in drawn.values()])
    if not named:
        return {**columns, "x": x}
    values = zip(named, x.T, strict=True)
    return columns | {column.name: decoded(column, each) for column, each in values}
