"""The page of a diagnosis: six panels in a PNG file."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyro_exact.checks import check_finite, printable
from pyro_exact.diagnostics.diagnosis import ACTIVE, Diagnosis
from pyro_exact.diagnostics.inference_data import plot_ppc
from pyro_exact.files import atomic_write
from pyro_exact.plots import check_drawable, drawable_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from torch import Tensor


SIZE = (13, 8)  # inches
DPI = 100
HIGHEST_DPI = 400
IMAGE_INCHES = 3  # least width of a grid of images on the page
SHOWN = 48  # images


def save_page(
    diagnosis: Diagnosis,
    data: Any,
    levels: int,
    path: str | Path,
    title: str = "",
) -> None:
    """Save the figures of a diagnosis as a PNG file.

    Args:
        diagnosis: The diagnosis, from `diagnose`.
        data: The diagnosis in the format of ArviZ, from `inference_data`.
        levels: Levels of a pixel.
        path: A PNG file.
        title: Title of the page.

    Raises:
        ValueError: If a bound, a divergence, an activity or an image is not finite.
    """
    from matplotlib.figure import Figure

    _check(diagnosis)
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots(2, 3)

    _bounds(diagnosis, axes[0, 0])
    _pareto(diagnosis, axes[0, 1])
    _units(diagnosis, axes[0, 2])

    plot_ppc(data, "mean_level", axes[1, 0])
    _titled(axes[1, 0], "mean level: data, and draws of the model")
    axes[1, 0].set(xlabel="mean level", yticks=[])

    pairs = torch.stack(
        (diagnosis.data.float(), diagnosis.reconstructed.float()),
        dim=1,
    )
    largest = max(
        _images(
            pairs.flatten(0, 1), levels, "data, each beside a draw given its latent", axes[1, 1]
        ),
        _images(diagnosis.predicted[0], levels, "samples", axes[1, 2]),
    )

    texts = (title, diagnosis.verdict)
    words = [textwrap.fill(printable(text), 150) for text in texts if text]
    figure.suptitle("\n".join(words), fontsize=11, parse_math=False)

    # Each pixel of an image takes one pixel of the page or more.
    dpi = min(max(DPI, -(-largest // IMAGE_INCHES)), HIGHEST_DPI)
    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=dpi, format="png")


def _check(diagnosis: Diagnosis) -> None:
    """Raise an error if a value is not finite, because a figure would leave it out silently."""
    advice = "Look at the guide where its weights are extreme, or train longer"
    for k, bound in diagnosis.bounds.items():
        check_finite("save_page", f"the bound of {k} samples", bound, advice)
    for name, level in diagnosis.levels.items():
        check_finite("save_page", f"the divergence of {name}", level.kl, advice)
        check_finite("save_page", f"the activity of {name}", level.activity, advice)


def _titled(axis: Axes, title: str) -> None:
    axis.set_title(textwrap.fill(printable(title), 44), fontsize=11, parse_math=False)


def _whole_numbers(axis: Axis) -> None:
    """Put the ticks of an axis at integers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _bounds(diagnosis: Diagnosis, axis: Axes) -> None:
    """Draw the distance of each importance-weighted bound from the tightest bound."""
    ks = list(diagnosis.bounds)
    nats = np.stack([-bound.numpy() for bound in diagnosis.bounds.values()])
    gaps = nats - nats[-1]

    axis.fill_between(
        ks, *np.quantile(gaps, (0.05, 0.95), axis=1), alpha=0.2, lw=0, label="90 % of the data"
    )
    axis.plot(ks, gaps.mean(1), marker="o", ms=4, label="mean")
    axis.set(
        xscale="log",
        xlabel="samples k",
        ylabel=f"nats above the bound of k = {ks[-1]:,}",
    )
    _titled(
        axis,
        f"bound: {nats[0].mean():.2f} (ELBO) to {nats[-1].mean():.2f} nats",
    )
    axis.legend()


def _pareto(diagnosis: Diagnosis, axis: Axes) -> None:
    """Draw a histogram of Pareto's k over the data."""
    k = diagnosis.pareto_k.numpy()
    axis.hist(k[np.isfinite(k)], bins=30)
    axis.axvline(
        diagnosis.reliable_k,
        color="tab:red",
        ls="--",
        label=f"reliable up to {diagnosis.reliable_k:.2f}",
    )
    axis.set(xlabel="Pareto's k of a datum", ylabel="data")
    _whole_numbers(axis.yaxis)
    _titled(axis, f"tail of the weights: too heavy for {diagnosis.unreliable} of {len(k)}")
    axis.legend()


def _units(diagnosis: Diagnosis, axis: Axes) -> None:
    """Draw the divergence of each unit when this has a closed form, otherwise the activity."""
    exact = all(level.kl_by_unit is not None for level in diagnosis.levels.values())
    for name, level in diagnosis.levels.items():
        shown = level.kl_by_unit if exact and level.kl_by_unit is not None else level.activity
        values = np.sort(shown.flatten().numpy())[::-1]
        label = f"{printable(name)}: {level.kl.mean():.1f} nats, {level.active} active"
        axis.plot(
            np.arange(1, len(values) + 1),
            values,
            marker="o",
            ms=4,
            label=label,
        )

    if exact:
        _titled(axis, f"KL from the prior: {diagnosis.kl:.2f} nats")
    else:
        # Behind a flow, the divergence is that of all units together.
        axis.set_yscale("log")
        axis.axhline(ACTIVE, color="tab:red", ls="--", label="active above")
        _titled(axis, f"activity of the units; KL of all from the prior: {diagnosis.kl:.2f} nats")
    axis.set(
        xlabel="unit of the latent, sorted",
        ylabel="KL in nats" if exact else "variance of the posterior mean",
    )
    _whole_numbers(axis.xaxis)
    axis.legend()


def _images(images: Tensor, levels: int, title: str, axis: Axes) -> int:
    """Draw images, not vectors, and return the longer side of the grid in pixels."""
    axis.axis("off")
    if images.dim() != 4:
        return 0

    check_drawable("save_page", title, images, levels)
    grid = drawable_grid(images[:SHOWN].float() / (levels - 1))
    axis.imshow(
        grid.movedim(0, -1).squeeze(-1).numpy(),
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    _titled(axis, title)
    return max(grid.shape)
