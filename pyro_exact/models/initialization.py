"""Data-dependent initialisation of the flow of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.distributions.flow import Flow
from pyro_exact.nn.finite import check_output


@torch.no_grad()
def initialize_flow(flow: Flow, x: Tensor, owner: str) -> None:
    """Set the parameters of a flow that depend on data.

    A layer is initialised in its own direction. So those with such parameters have to go from data to noise, as those
    of image flows do.

    Args:
        flow: The flow; its bijection goes from noise to data.
        x: A batch of data.
        owner: Whose flow it is, for errors.

    Raises:
        ValueError: If a layer with parameters that would be set goes the other way, or if the noise behind the data is
            not finite.
    """
    noise = flow.bijection.inv.initialize(x)
    check_output(f"{owner}.initialize", "the noise", noise, flow)
