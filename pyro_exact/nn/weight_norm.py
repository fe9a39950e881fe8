"""A layer with weight normalisation, initialised using data."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_number,
    check_size,
    check_sizes,
)
from pyro_exact.nn.statistics import channel_statistics

# A smaller standard deviation is chance, or that of a map without pixels; it is not rescaled.
LEAST = 1e-2


class WeightNormed(nn.Module, ABC):
    r"""Base class of layers whose weights are a direction and a magnitude for each channel.

    These layers are used by the IAF-VAE. You should call `initialize` once, using data.

    .. math:: w = g\, \frac{v}{\lVert v \rVert}

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Height and width of the kernel.
        gain: Standard deviation of the outputs after `initialize`.

    Reference:
        Salimans and Kingma (2016), Weight Normalization, equation 2 and section 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int] = (1, 1),
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.rows, self.columns = check_sizes(
            name,
            "kernel_size",
            kernel_size,
            most=LARGEST_COUNT,
            length=2,
        )
        in_channels = check_size(name, "in_channels", in_channels)
        out_channels = check_size(name, "out_channels", out_channels)
        check_elements(
            name,
            out_channels,
            in_channels,
            self.rows,
            self.columns,
        )
        self.gain = gain = check_number(name, "gain", gain)
        self.direction = nn.Parameter(
            0.05 * torch.randn(out_channels, in_channels, self.rows, self.columns)
        )
        self.magnitude = nn.Parameter(torch.full((out_channels,), gain))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def weight(self) -> Tensor:
        """Return the weights, (out_channels, in_channels, rows, columns)."""
        scale = self.magnitude / self.direction.flatten(1).norm(dim=1)
        return self.direction * scale[:, None, None, None]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the output of the layer."""
        return self._map(self.weight(), self.bias, *inputs)

    @torch.no_grad()
    def initialize(self, *inputs: Tensor) -> None:
        """Give each channel of the output mean 0 and standard deviation ``gain`` on the inputs.

        A channel that does not depend on the inputs is not rescaled.
        """
        self.bias.zero_()
        self.magnitude.fill_(1)
        mean, std = channel_statistics(self.forward(*inputs), event_dim=1)
        self.magnitude.copy_(self.gain / std.where(std > LEAST, 1))
        self.bias.copy_(-mean * self.magnitude)

    @abstractmethod
    def _map(self, weight: Tensor, bias: Tensor, *inputs: Tensor) -> Tensor: ...

    def extra_repr(self) -> str:
        out_channels, in_channels = self.direction.shape[:2]
        return f"{in_channels}, {out_channels}, kernel_size={(self.rows, self.columns)}"
