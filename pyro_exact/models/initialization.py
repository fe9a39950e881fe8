"""Data-dependent initialisation of the flow of a model."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor

from pyro_exact.distributions.flow import Flow
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.inverse import Inverse


@torch.no_grad()
def initialize_flow(flow: Flow, x: Tensor, owner: str) -> None:
    """Set the parameters of a flow that depend on data.

    A layer is initialised in its own direction. So the layers have to go from data to noise, as those of image flows
    and of the other flows with such parameters do.

    Args:
        flow: The flow; its bijection goes from noise to data.
        x: A batch of data.
        owner: Whose flow it is, for errors.

    Raises:
        ValueError: If the layers go the other way, and have parameters that would be set.
    """
    noise = flow.noise().sample(x.shape[:1])
    if not isinstance(flow.bijection, Inverse) and _depends_on_data(flow.bijection, noise):
        raise ValueError(
            f"{owner}.initialize expects a flow whose layers go from data to noise; got one from noise to data, whose "
            f"{type(flow.bijection).__name__} cannot be set from data. Build it as Flow(base, bijection.inv)."
        )
    flow.bijection.inv.initialize(x)


def _depends_on_data(bijection: Bijection, noise: Tensor) -> bool:
    """Return whether an initialisation of these layers in their own direction would change a weight."""
    trial = deepcopy(bijection)
    trial.initialize(noise)
    before, after = (chain(each.parameters(), each.buffers()) for each in (bijection, trial))
    return any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
