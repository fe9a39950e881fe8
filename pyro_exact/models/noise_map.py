"""The bijection from data to noise of a model that is a flow."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pyro_exact.transforms.bijection import Bijection


class NoiseMap(NamedTuple):
    """The bijection from data to noise of a model that is a flow, for a batch of data.

    `GenerativeModel.noise_map` returns it, and `flow_report` uses it to look at each layer.

    Attributes:
        bijection: From data to noise.
        x: The input of the bijection: the data, or dequantised data.
        context: The context of each datum; `None` for a bijection without a context.
    """

    bijection: Bijection
    x: Tensor
    context: Tensor | None = None
