"""Checks that a network computes finite values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_finite


class Weighted(Protocol):
    """The type of an object that has layers with weights, for example a module."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


def check_output(owner: str, name: str, value: Tensor, net: Weighted) -> Tensor:
    """Return the output of a network, when all elements are finite.

    Args:
        owner: The method that computes this output.
        name: Name of the output.
        value: The output.
        net: The network, which is used to find the first layer with weights that are not finite.

    Raises:
        ValueError: If an element is NaN or infinite.
    """
    return value if bool(value.isfinite().all()) else check_finite(owner, name, value, _advice(net))


def check_weights_for(owner: str, net: Weighted) -> None:
    """Check that a network has finite weights; it should be used before sampling.

    A sample that was computed using an infinite weight may look normal, although the score is NaN.

    Raises:
        ValueError: If a parameter or a buffer has a NaN or infinite element.
    """
    weight = first_non_finite_weight(net)
    if weight is not None:
        raise ValueError(
            f"{owner} expects finite weights; got {weight}. Load an earlier checkpoint, or train "
            "again."
        )


@torch.no_grad()
def first_non_finite_weight(net: Weighted) -> str | None:
    """Return the name of the first parameter or buffer with a NaN or infinite element."""
    # Not `named_parameters` of each layer, which takes longer than the check of a small layer.
    own = [
        (name, layer, weight, values)
        for name, layer in net.named_modules()
        for weight, values in (*layer._parameters.items(), *layer._buffers.items())
        if values is not None
        and values.is_floating_point()
        and not values.is_meta
        and values.numel()
    ]
    if not own:
        return None

    # The extremes are NaN if an element is. They take a tenth of the time of a mask of elements. A
    # device is waited for once, and not for each weight.
    device = own[0][-1].device
    extremes = [extreme.to(device) for *_, values in own for extreme in values.aminmax()]
    finite = torch.stack(extremes).isfinite().view(-1, 2).all(-1)
    if bool(finite.all()):
        return None

    name, layer, weight, values = own[finite.tolist().index(False)]
    kind = "NaN" if bool(values.isnan().any()) else "infinite elements"

    return f"{kind} in {weight} of {name or 'the model'} ({type(layer).__name__})"


def _advice(net: Weighted) -> str:
    weight = first_non_finite_weight(net)
    if weight is not None:
        return (
            f"The first weights that are not finite are {weight}: "
            f"load an earlier checkpoint, or train again"
        )

    return (
        "All weights are finite, so a layer overflows: find it with "
        "pyro_exact.diagnostics.flow_report, "
        "or train with a lower learning rate (docs/nan.md)"
    )
