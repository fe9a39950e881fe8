"""Advice in words on the layers of a flow: unusual findings and remedies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_exact.diagnostics.flow_summary import FlowReport, LayerReport

LARGE_LOG_SCALE = 5.0  # nats: a factor of 150
LARGE_SHARE = 0.05  # of the elements
LARGE_ERROR = 1e-3  # of the spread of the inputs
LARGE_CONDITION = 1e5  # in float32, about that times 6e-8 of the spread is lost
LEAST_NOISE, LARGEST_NOISE = 0.7, 1.4  # root mean square
NAMED = 3  # layers that are named with one advice

Finding = tuple[str, str]  # a finding and its remedy

# For each limit of a formula, by the name used in the method `saturation`.
REMEDIES = {
    "log-scale at its bound": "Raise the bound of the scale, add layers, or lower the learning "
    "rate.",
    "sigmoid gate closed": "Put an ActNorm before it and call initialize, or lower the learning "
    "rate.",
    "input outside of the interval": "There a spline is the identity: raise its bound, or put an "
    "ActNorm before it and call initialize with data.",
    "spline with a bin of the least size": "Lower the learning rate, or take fewer bins. Values "
    "that occur many times in the data do this too: add noise to them.",
    "spline with the least slope": "Lower the learning rate, or take more bins. Gaps in the data "
    "do this too.",
    "component of the least scale": "Lower the learning rate. Values that occur many times in the "
    "data do this too: add noise to them.",
}
SCALE = (
    "Lower the learning rate, or standardise the data: in an ActNorm in front of the first layer, "
    "initialize does so."
)
WEIGHTS = "Load an earlier checkpoint, and train with a lower learning rate or clipped gradients."
DOMAIN = (
    "Look for data outside of the domain of the layer, and for an overflow in the layers before it."
)
INVERSE = "Sample in float64 (flow.double()), or train with smaller scales."


def advice(report: FlowReport) -> list[str]:
    """Return a sentence or two for each unusual finding; layers with the same remedy share it."""
    found: dict[str, list[str]] = defaultdict(list)
    first = next((layer for layer in report.layers if layer.parameters), None)
    for layer in report.layers:
        for what, remedy in findings(layer):
            if (
                layer is not first or remedy != SCALE
            ):  # the first one takes up the units of the data
                found[remedy].append(f"{layer.title} {what}")

    lines = [f"{_capital(_joined(whats))}. {remedy}" for remedy, whats in found.items()]
    return lines + list(_of_flow(report))


def findings(layer: LayerReport) -> Iterator[Finding]:
    """Return the unusual findings on a layer, each with a remedy."""
    if layer.bad_weights is not None:
        yield f"has {layer.bad_weights}", WEIGHTS
        return

    if layer.non_finite:
        yield f"makes {layer.non_finite} data NaN or infinite", DOMAIN

    least, greatest = layer.log_scales or (0.0, 0.0)
    if layer.parameters and least < -LARGE_LOG_SCALE:
        yield f"shrinks by e^{least:.1f}", SCALE
    if layer.parameters and greatest > LARGE_LOG_SCALE:
        yield f"stretches by e^{greatest:.1f}", SCALE

    for limit, share in layer.saturation.items():
        if share > LARGE_SHARE:
            yield (
                f"has {share:.0%} of its elements at a limit ({limit})",
                REMEDIES.get(limit, SCALE),
            )

    if layer.inverse_error is not None and layer.inverse_error > LARGE_ERROR:
        yield (
            f"inverts with an error of {layer.inverse_error:.1g} of the spread of its inputs",
            INVERSE,
        )


def _of_flow(report: FlowReport) -> Iterator[str]:
    """Return a sentence or two for each unusual finding on the flow as a whole."""
    if report.non_finite:
        yield (
            f"{report.non_finite} of {report.data} data have no finite log-density. Repair the "
            "first layer that is named above."
        )
        return

    if report.condition is not None and report.condition > LARGE_CONDITION:
        yield (
            f"The condition number of the whole flow is {report.condition:.1g}. Look at the layers "
            "with the largest ones; a column of the data that is constant, or a function of the "
            "others, does this too: leave it out."
        )
    if report.inverse_error is not None and report.inverse_error > LARGE_ERROR:
        yield (
            f"Data that go to noise and back in float32 change by {report.inverse_error:.1g} of "
            f"their spread. {INVERSE}"
        )
    if not LEAST_NOISE < report.noise_rms < LARGEST_NOISE:
        yield (
            f"The noise of these data has a root mean square of {report.noise_rms:.2g}, not 1. "
            "Call initialize with data, or train longer; after training, these data differ from "
            "those of the training."
        )


def _joined(whats: list[str]) -> str:
    """Return the first findings of a list as a single text."""
    more = len(whats) - NAMED
    return "; ".join(whats[:NAMED]) + (f"; and {more} more layers" if more > 0 else "")


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
