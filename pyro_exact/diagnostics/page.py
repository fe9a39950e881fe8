"""A diagnosis on one page."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyro_exact.diagnostics.diagnosis import ACTIVE, Diagnosis
from pyro_exact.diagnostics.inference_data import plot_ppc
from pyro_exact.files import in_one_piece
from pyro_exact.plots import image_grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def save_page(diagnosis: Diagnosis, data: Any, levels: int, path: str | Path, title: str = "") -> None:
    """Save the pictures of a diagnosis as one PNG.

    Args:
        diagnosis: What `diagnose` returns.
        data: The same as `inference_data` returns it.
        levels: Number of pixel levels.
        path: A PNG file.
        title: Of the page.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    axes = figure.subplots(2, 3)
    _bounds(diagnosis, axes[0, 0])
    _pareto(diagnosis, axes[0, 1])
    _units(diagnosis, axes[0, 2])
    plot_ppc(data, "mean_level", axes[1, 0])
    axes[1, 0].set(title="mean level: data, and what the model draws", xlabel="mean level", yticks=[])
    pairs = torch.stack((diagnosis.data.float(), diagnosis.reconstructed.float()), dim=1).flatten(0, 1)
    _images(pairs, levels, "data, each beside one draw given its latent", axes[1, 1])
    _images(diagnosis.predicted[0], levels, "samples", axes[1, 2])
    figure.suptitle(f"{title}\n{textwrap.fill(diagnosis.verdict, 150)}".strip(), fontsize=11)
    with in_one_piece(Path(path)) as partial:
        figure.savefig(partial, dpi=100, format="png")


def _bounds(diagnosis: Diagnosis, axis: Axes) -> None:
    ks = list(diagnosis.bounds)
    nats = np.stack([-bound.numpy() for bound in diagnosis.bounds.values()])
    gaps = nats - nats[-1]
    axis.fill_between(ks, *np.quantile(gaps, (0.05, 0.95), axis=1), alpha=0.2, lw=0, label="90 % of the data")
    axis.plot(ks, gaps.mean(1), marker="o", ms=4, label="mean")
    axis.set(
        xscale="log", xlabel="samples k", ylabel=f"nats above the bound of k = {ks[-1]:,}",
        title=f"bound: {nats[0].mean():.2f} (ELBO) to {nats[-1].mean():.2f} nats",
    )  # fmt: skip
    axis.legend()


def _pareto(diagnosis: Diagnosis, axis: Axes) -> None:
    k = diagnosis.pareto_k.numpy()
    axis.hist(k[np.isfinite(k)], bins=30)
    axis.axvline(diagnosis.reliable_k, color="tab:red", ls="--", label=f"reliable up to {diagnosis.reliable_k:.2f}")
    axis.set(
        xlabel="Pareto's k of a datum",
        ylabel="data",
        title=f"tail of the weights: too heavy for {diagnosis.unreliable}",
    )
    axis.legend()


def _units(diagnosis: Diagnosis, axis: Axes) -> None:
    """Each unit by what it tells: its divergence if that has a closed form in all levels, else how its mean moves."""
    exact = all(level.kl_by_unit is not None for level in diagnosis.levels.values())
    for name, level in diagnosis.levels.items():
        shown = level.kl_by_unit if exact and level.kl_by_unit is not None else level.activity
        values = np.sort(shown.flatten().numpy())[::-1]
        told = f"{name}: {level.kl.mean():.1f} nats, {level.active} active"
        axis.plot(np.arange(1, len(values) + 1), values, marker="o", ms=4, label=told)
    if not exact:
        axis.set_yscale("log")
        axis.axhline(ACTIVE, color="tab:red", ls="--", label="active above")
    axis.set_ylabel("KL in nats" if exact else "activity: variance of the posterior mean")
    axis.set(xlabel="unit of the latent, sorted", title=f"KL from the prior: {diagnosis.kl:.2f} nats")
    axis.legend()


def _images(images: Tensor, levels: int, title: str, axis: Axes) -> None:
    if images.dim() != 4:
        axis.axis("off")
        return
    images = images if images.shape[1] == 3 else images[:, :1]  # of other channels the first
    pixels = image_grid(images[:48].float() / (levels - 1), 8).clamp(0, 1).movedim(0, -1).squeeze(-1)
    axis.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title)
    axis.axis("off")
