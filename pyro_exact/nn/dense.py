"""The dense networks of a VAE: from data to features, and from a latent to parameters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from pyro_exact.checks import (
    check_elements,
    check_event,
    check_shape,
    check_size,
    check_sizes,
)
from pyro_exact.nn.precision import network_input, weight_of


class DenseEncoder(nn.Module):
    r"""A multilayer perceptron from pixel levels to features; pixels are scaled to [-1, 1].

    Args:
        shape: Shape of the data, (C, H, W) or (dim,).
        hidden_dims: Widths of the layers, each with a ReLU after it; the last one is the number of
            features.
        levels: Number of pixel levels.

    Shape:
        - x: (\*batch, \*shape); returns (\*batch, hidden_dims[-1]).

    Raises:
        ValueError: If a width is not positive; on another shape.
    """

    def __init__(
        self, shape: Sequence[int], hidden_dims: Sequence[int] = (400, 400), levels: int = 2
    ) -> None:
        super().__init__()
        self.shape = check_shape("DenseEncoder", "shape", shape)
        self.levels = check_size("DenseEncoder", "levels", levels, least=2)
        hidden_dims = check_sizes("DenseEncoder", "hidden_dims", hidden_dims)
        self.layers = _hidden([prod(self.shape), *hidden_dims])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the data."""
        levels = scaled(x, self.shape, self.levels, weight_of(self))
        features: Tensor = self.layers(levels.flatten(x.dim() - len(self.shape)))
        return features


class DenseDecoder(nn.Module):
    r"""A multilayer perceptron from a latent to the parameters of each pixel.

    Args:
        dim: Dimension of the latent.
        shape: Shape of the grid of sites; with the likelihood of a number that of the data.
        num_params: Number of parameters of each site.
        hidden_dims: Widths of the hidden layers, each with a ReLU after it.

    Shape:
        - z: (\*batch, dim); theta: (\*batch, \*shape, num_params).

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        dim: int,
        shape: Sequence[int],
        num_params: int = 1,
        hidden_dims: Sequence[int] = (400, 400),
    ) -> None:
        super().__init__()
        name = "DenseDecoder"
        self.shape = (
            *check_shape(name, "shape", shape),
            check_size(name, "num_params", num_params),
        )
        widths = [check_size(name, "dim", dim), *check_sizes(name, "hidden_dims", hidden_dims)]
        check_elements(name, widths[-1], *self.shape)
        self.layers = _hidden(widths).append(nn.Linear(widths[-1], prod(self.shape)))

    def forward(self, z: Tensor) -> Tensor:
        """Return the parameters of each site."""
        z = network_input("DenseDecoder", "z", z, weight_of(self))
        theta: Tensor = self.layers(z)
        return theta.unflatten(-1, self.shape)


def scaled(x: Tensor, shape: tuple[int, ...], levels: int, weight: Tensor) -> Tensor:
    """Return pixel levels in [-1, 1], in the dtype of the weights, or say that their shape is wrong."""
    x = network_input("The encoder", "x", x, weight)
    check_event("The encoder", "x", x, shape)
    return x * (2 / (levels - 1)) - 1


def _hidden(widths: Sequence[int]) -> nn.Sequential:
    layers = nn.Sequential()
    for width, following in pairwise(widths):
        check_elements("A dense layer", following, width)
        layer = nn.Linear(width, following)
        nn.init.kaiming_normal_(
            layer.weight, nonlinearity="relu"
        )  # by default torch's layers would shrink a signal
        nn.init.zeros_(layer.bias)
        layers.append(layer).append(nn.ReLU(inplace=True))
    return layers
