"""A report on a flow, layer by layer: stretching, saturation, and errors of the inverse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pyro_exact.diagnostics.flow_advice import advice

COLUMNS = ("layer", "log-scales", "condition", "inverse error", "at a limit")


@dataclass(frozen=True)
class LayerReport:
    """The findings on a layer, in the direction from data to noise.

    Attributes:
        index: Place of the layer, from 1; layers are counted from the data to the noise.
        name: Name of the layer in the bijection, as in ``named_modules``.
        kind: Type of the layer: the class of the layer, and of the formula if the layer has a
            formula.
        parameters: How many parameters the layer has.
        log_scales: Smallest and largest log-scale, in nats: of the elements for a layer with a
            formula, of the singular values of the Jacobian for any other.
        saturation: Share of the elements at each limit of the formula.
        inverse_error: Largest error of the inverse in float32, in units of the spread of the
            inputs; `None` for a container, and when this is not finite.
        condition: Largest condition number of the Jacobian; `None` as above.
        exact: True if the Jacobian was computed in full, and not estimated via power iteration.
        non_finite: Count of data that are finite before the layer and not after it.
        bad_weights: Name of the first weight that is not finite, and whether it is NaN or infinite.
    """

    index: int
    name: str
    kind: str
    parameters: int
    log_scales: tuple[float, float] | None
    saturation: Mapping[str, float]
    inverse_error: float | None
    condition: float | None
    exact: bool
    non_finite: int
    bad_weights: str | None

    @property
    def title(self) -> str:
        """Name of the layer in the text."""
        return f"layer {self.index} ({self.kind})"

    @property
    def row(self) -> tuple[str, ...]:
        """The row of the table."""
        scales = [_signed(scale) for scale in self.log_scales or ()]
        worst = max(self.saturation.values(), default=None)
        return (
            f"{self.index:>3}  {self.kind}",
            " to ".join(scales),
            _shown(self.condition, "" if self.exact else "~"),
            _shown(self.inverse_error),
            "" if worst is None else f"{worst:.1%}",
        )


@dataclass(frozen=True)
class FlowReport:
    """The findings of `flow_report`. Print this report, or use `summary` for JSON.

    Attributes:
        layers: The layers from the data to the noise.
        data: How many data were used.
        dim: Elements of a datum.
        inverse_error: Largest error of data that went to noise and back in float32, in units of the
            spread of the data; `None` if it is not finite.
        log_scales: Logarithms of the smallest and largest singular value of the Jacobian.
        condition: Largest condition number of the Jacobian of the whole flow.
        exact: True if that Jacobian was computed in full, and not estimated by power iteration.
        jacobians: How many data were used to compute Jacobians.
        noise_rms: Root mean square of the noise of the data; 1 for a standard normal.
        noise_largest: Largest absolute value of an element of the noise.
        non_finite: Count of data whose noise or log-determinant is not finite.
    """

    layers: tuple[LayerReport, ...]
    data: int
    dim: int
    inverse_error: float | None
    log_scales: tuple[float, float] | None
    condition: float | None
    exact: bool
    jacobians: int
    noise_rms: float
    noise_largest: float
    non_finite: int

    @property
    def advice(self) -> list[str]:
        """The unusual findings, each with a remedy, in words; empty when there are no findings."""
        return advice(self)

    @property
    def verdict(self) -> str:
        """The advice as a single text."""
        return " ".join(self.advice) or "Nothing unusual was found."

    def summary(self) -> dict[str, Any]:
        """Return the report in plain values, for JSON; values that are not finite become `None`."""
        plain: dict[str, Any] = _plain({**asdict(self), "verdict": self.verdict})
        return plain

    def __str__(self) -> str:
        rows = [COLUMNS, *(layer.row for layer in self.layers)]
        words = self.advice or [self.verdict]
        return "\n".join([*self._head(), "", *_aligned(rows), "", *words])

    def _head(self) -> list[str]:
        """Return the lines on the flow as a whole."""
        mark = "" if self.exact else "~"
        how = "" if self.exact else ", by power iteration, which is never too large"
        return [
            f"{len(self.layers)} layers from data to noise, on {self.data} data of {self.dim} "
            "elements",
            f"condition number: {_shown(self.condition, mark)} (largest of {self.jacobians} "
            f"data{how})",
            f"error of the inverse in float32: {_shown(self.inverse_error)} of the spread of the "
            "data",
            f"noise: root mean square {self.noise_rms:.2f}, largest element "
            f"{self.noise_largest:.3g}",
        ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines."""
    columns = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in columns]

    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _shown(value: float | None, mark: str = "") -> str:
    """Return a value in two digits."""
    return "-" if value is None or not math.isfinite(value) else f"{mark}{value:.2g}"


def _signed(value: float) -> str:
    """Return a value with a sign; zero has no sign."""
    return f"{round(value, 2) + 0.0:+.2f}" if round(value, 2) else "0"


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
