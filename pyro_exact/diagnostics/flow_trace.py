"""Record the calls of the layers of a flow, used for the report on a flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_exact.transforms import Bijection, Elementwise


@dataclass
class Call:
    """An evaluation of a layer.

    Attributes:
        name: Name of the layer within the flow, as in ``named_modules``.
        part: The layer itself.
        layer: The layer, or the inverse, in the direction that was used.
        x: The input.
        y: The output.
        ladj: The log-determinant.
        context: The context, if the layer takes a context.
        container: True if the layer holds other layers.
        log_scales: Smallest and largest log-derivative of each call of a formula.
        saturation: Share of the elements at each limit of a formula, for each call of this formula.
    """

    name: str
    part: Bijection
    layer: Bijection
    x: Tensor
    y: Tensor
    ladj: Tensor
    context: Tensor | None
    container: bool
    log_scales: list[tuple[float, float]] = field(default_factory=list)
    saturation: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class FlowTrace:
    """The calls of the layers of a flow, in the order in which they end.

    A layer is a `Bijection` without another bijection inside, or a container with a formula, for
    example `FactorOut`. The methods of the instances are replaced, so a copy of a flow must be
    used.

    Args:
        flow: The flow, which is changed.
    """

    def __init__(self, flow: Bijection) -> None:
        self.flow = flow
        self.calls: list[Call] = []
        self._running: list[Call] = []
        self._recording = False

        for name, module in flow.named_modules():
            if isinstance(module, Bijection):
                self._watch_layer(name, module)
            elif isinstance(module, Elementwise):
                self._watch_formula(module)

    @torch.no_grad()
    def run(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate the flow, and return the noise and the log-determinant."""
        self.calls.clear()
        self._recording = True
        try:
            return self.flow.forward_and_ladj(x, context)
        finally:
            self._recording = False

    def _watch_layer(self, name: str, layer: Bijection) -> None:
        transform = layer.transform
        invert = layer.invert
        inverse = layer.inv
        parts = list(layer.modules())[1:]
        container = any(isinstance(part, Bijection) for part in parts)

        def watched(method: Callable[..., tuple[Tensor, Tensor]], direction: Bijection) -> Any:
            def call(x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
                if not self._recording:
                    return method(x, context)

                record = Call(
                    name,
                    layer,
                    direction,
                    x,
                    x,
                    x,
                    context,
                    container,
                )
                self._running.append(record)
                record.y, record.ladj = method(x, context)
                self._running.pop()

                # A container without a formula of its own has its parts in the list.
                if record.log_scales or not container:
                    self.calls.append(record)
                return record.y, record.ladj

            return call

        # In the dictionary of the instance, where Python looks before it asks the class.
        vars(layer)["transform"] = watched(transform, layer)
        vars(layer)["invert"] = watched(invert, inverse)

    def _watch_formula(self, formula: Elementwise) -> None:
        forward = formula.forward_and_ladj
        inverse = formula.inverse_and_ladj

        def watched(method: Callable[..., tuple[Tensor, Tensor]]) -> Any:
            def call(x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
                y, ladj = method(x, *parts)
                if self._recording and self._running:
                    self._recording = False  # the formula may evaluate itself
                    theta = parts[0] if len(parts) == 1 else torch.stack(parts, dim=-1)
                    _note(self._running[-1], formula, x, theta, ladj)
                    self._recording = True
                return y, ladj

            return call

        vars(formula)["forward_and_ladj"] = watched(forward)
        vars(formula)["inverse_and_ladj"] = watched(inverse)


def _note(
    record: Call,
    formula: Elementwise,
    x: Tensor,
    theta: Tensor,
    ladj: Tensor,
) -> None:
    """Add a call of a formula to the record of the corresponding layer."""
    finite = ladj[ladj.isfinite()]
    if finite.numel():
        record.log_scales.append((finite.min().item(), finite.max().item()))

    for limit, mask in formula.saturation(x, theta).items():
        record.saturation[limit].append(mask.double().mean().item())
