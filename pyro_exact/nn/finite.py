"""What is said when a network does not compute finite numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor, nn

from pyro_exact.checks import check_finite


class Weighted(Protocol):
    """What has layers with weights: a module, or what stands for one."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def get_submodule(self, target: str) -> nn.Module: ...


def check_output(owner: str, name: str, value: Tensor, net: Weighted) -> Tensor:
    """Return what a network computed if all of it is finite.

    Args:
        owner: The method whose result it is.
        name: What it is called.
        value: The tensor itself.
        net: What computed it, of which the first layer with weights that are not finite is named.

    Raises:
        ValueError: If an element is NaN or infinite.
    """
    return value if bool(value.isfinite().all()) else check_finite(owner, name, value, _advice(net))


def _advice(net: Weighted) -> str:
    for name, parameter in net.named_parameters():
        if not bool(parameter.isfinite().all()):
            layer, _, _ = name.rpartition(".")
            kind = type(net.get_submodule(layer)).__name__
            where = f"{name} ({kind})" if layer else name
            return f"The first weights that are not finite are {where}: load a checkpoint from before, or train anew"
    return "All weights are finite, so a layer overflows: look at its input, or train with a lower learning rate"
