"""The page of a report on a flow: four panels, with the layers from left to right."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import printable
from pyro_exact.diagnostics.flow_advice import (
    LARGE_CONDITION,
    LARGE_ERROR,
    LARGE_LOG_SCALE,
    LARGE_SHARE,
)
from pyro_exact.diagnostics.flow_summary import FlowReport, LayerReport
from pyro_exact.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (13, 8)  # inches
DPI = 100
FEW = 24  # layers that have room for their names
ADVICE = 3  # lines of advice at the top of the page
LEAST_ERROR = 1e-9  # drawn for an inverse without any error


def save_flow_page(report: FlowReport, path: str | Path, title: str = "") -> None:
    """Save the figures of a report on a flow as a PNG file.

    Args:
        report: The report, from `flow_report`.
        path: A PNG file.
        title: Title of the page.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    _scales(report, axes[0, 0])
    _limits(report, axes[0, 1])
    _positive(report, "condition", LARGE_CONDITION, axes[1, 0])
    _positive(report, "inverse_error", LARGE_ERROR, axes[1, 1])

    axes[1, 0].set_title("condition number of the Jacobian")
    axes[1, 1].set_title("error of the inverse in float32, in units of the spread of the inputs")
    for axis in axes[1]:
        _name_layers(report, axis)

    figure.suptitle("\n".join(_words(report, title)), fontsize=11, parse_math=False)
    with atomic_write(Path(path)) as partial:
        figure.savefig(partial, dpi=DPI, format="png")


def _words(report: FlowReport, title: str) -> Iterator[str]:
    """Return the lines above the figures."""
    if title:
        yield printable(title)
    for text in report.advice[:ADVICE] or [report.verdict]:
        yield textwrap.fill(printable(text), 150)
    if len(report.advice) > ADVICE:
        yield f"and {len(report.advice) - ADVICE} more findings"


def _scales(report: FlowReport, axis: Axes) -> None:
    """Draw the range of the log-scales of each layer."""
    known = [layer for layer in report.layers if layer.log_scales is not None]
    places = [layer.index for layer in known]
    ranges = [layer.log_scales or (0.0, 0.0) for layer in known]

    lows = [low for low, _ in ranges]
    highs = [high for _, high in ranges]

    axis.vlines(places, lows, highs, lw=6, alpha=0.6)
    for ends in (lows, highs):
        axis.plot(places, ends, ls="", marker="_", ms=8, color="tab:blue")
    axis.axhline(0, color="gray", lw=0.8)

    reached = max(map(abs, lows + highs), default=0.0)
    if reached > LARGE_LOG_SCALE / 2:
        for end in (-LARGE_LOG_SCALE, LARGE_LOG_SCALE):
            axis.axhline(end, color="tab:red", ls="--", lw=1)
    axis.set(title="range of the log-scales, from data to noise", ylabel="nats")


def _limits(report: FlowReport, axis: Axes) -> None:
    """Draw the share of the elements at each limit of the formulas."""
    limits = list(dict.fromkeys(limit for layer in report.layers for limit in layer.saturation))
    for limit in limits:
        found = [layer for layer in report.layers if limit in layer.saturation]
        places = [layer.index for layer in found]
        shares = [100 * layer.saturation[limit] for layer in found]
        axis.plot(places, shares, ls="", marker="o", ms=5, label=limit)

    axis.axhline(100 * LARGE_SHARE, color="tab:red", ls="--", lw=1)
    axis.set(title="elements at a limit of their formula", ylabel="per cent")
    axis.set_ylim(bottom=-0.5)
    if limits:
        axis.legend()


def _positive(report: FlowReport, name: str, large: float, axis: Axes) -> None:
    """Draw a positive quantity of each layer on a logarithmic scale."""

    def value(layer: LayerReport) -> float | None:
        found: float | None = getattr(layer, name)
        return found

    known = [layer for layer in report.layers if value(layer) is not None]
    places = [layer.index for layer in known]
    values = [max(value(layer) or 0.0, LEAST_ERROR) for layer in known]

    axis.plot(places, values, marker="o", ms=5, lw=0.8)
    axis.axhline(large, color="tab:red", ls="--", lw=1)
    axis.set_yscale("log")


def _name_layers(report: FlowReport, axis: Axes) -> None:
    """Write the names of the layers below an axis, or the indices if there are many."""
    if len(report.layers) > FEW:
        axis.set_xlabel("layer, from data to noise")
        return
    places = [layer.index for layer in report.layers]
    names = [f"{layer.index} {layer.kind.split(' of ')[-1]}" for layer in report.layers]
    axis.set_xticks(places, names, rotation=60, ha="right", fontsize=9)
