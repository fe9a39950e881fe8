"""The training curve of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyro_exact.checks import check_finite
from pyro_exact.files import atomic_write

SIZE = (5.5, 5.5)  # inches
DPI = 128
STYLES: dict[str, dict[str, Any]] = {
    "train": {"alpha": 0.6, "lw": 1},
    "valid": {"marker": "o", "ms": 4},
}


def save_curve(
    curve: Mapping[str, Sequence[Sequence[float]]],
    path: str | Path,
    anchors: Mapping[str, float] | None = None,
    unit: str = "bits/dim",
) -> None:
    """Save the training curve of a run.

    Args:
        curve: ``train`` and ``valid``, each a list of (step, seconds, loss).
        path: A PNG file.
        anchors: Names and losses of optional horizontal lines, used for comparison.
        unit: Unit of the losses, the label of the axis (default ``"bits/dim"``).

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axis = figure.subplots()
    shown = list((anchors or {}).values())

    for name, style in STYLES.items():
        steps = [point[0] for point in curve[name]]
        values = [point[2] for point in curve[name]]
        advice = "Train again with a lower learning rate"
        check_finite("save_curve", f"the curve {name}", torch.tensor(values), advice)
        axis.plot(steps, values, label=name, **style)
        shown += values[len(values) // 10 :]  # the first values are far above the others

    for name, value in (anchors or {}).items():
        axis.axhline(value, color="gray", ls=":", lw=1)
        axis.annotate(name, (0, value), fontsize=8, va="bottom")

    if shown:
        margin = 0.1 * (max(shown) - min(shown)) or 0.1
        axis.set_ylim(min(shown) - margin, max(shown) + margin)
    axis.set(xlabel="step", ylabel=unit)
    axis.legend()

    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
