"""Dense networks of a VAE: an encoder and a decoder."""

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
    r"""A multilayer perceptron from data with levels to features. Use it as the encoder of a `VAE`.

    The levels are scaled to [-1, 1].

    Args:
        shape: Shape of the data, such as (C, H, W) or (dim,).
        hidden_dims: Widths of the layers, each followed by a ReLU. The last width is the size of
            the features.
        levels: Values that an element can take.

    Shape:
        - x: (\*batch, \*shape); returns (\*batch, hidden_dims[-1]).

    Raises:
        ValueError: If a width is not positive; on data of another shape.

    Example:
        >>> DenseEncoder((1, 4, 4), hidden_dims=(8,))(torch.ones(5, 1, 4, 4)).shape
        torch.Size([5, 8])
    """

    def __init__(
        self,
        shape: Sequence[int],
        hidden_dims: Sequence[int] = (400, 400),
        levels: int = 2,
    ) -> None:
        super().__init__()
        self.shape = check_shape("DenseEncoder", "shape", shape)
        self.levels = check_size("DenseEncoder", "levels", levels, least=2)
        hidden_dims = check_sizes("DenseEncoder", "hidden_dims", hidden_dims)

        self.layers = _hidden_layers([prod(self.shape), *hidden_dims])

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the data."""
        levels = scaled(x, self.shape, self.levels, weight_of(self))
        features: Tensor = self.layers(levels.flatten(x.dim() - len(self.shape)))
        return features


class DenseDecoder(nn.Module):
    r"""A multilayer perceptron from a latent to the parameters of each site.

    Use it as the decoder of a `VAE` with a likelihood of independent sites.

    Args:
        latent_dim: Dimension of the latent.
        shape: Shape of the grid of sites. It is the shape of the data if each element is a site.
        num_params: Parameters of each site.
        hidden_dims: Widths of the hidden layers, each followed by a ReLU.

    Shape:
        - z: (\*batch, latent_dim); theta: (\*batch, \*shape, num_params).

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> DenseDecoder(2, (1, 4, 4), hidden_dims=(8,))(torch.randn(5, 2)).shape
        torch.Size([5, 1, 4, 4, 1])
    """

    def __init__(
        self,
        latent_dim: int,
        shape: Sequence[int],
        num_params: int = 1,
        hidden_dims: Sequence[int] = (400, 400),
    ) -> None:
        super().__init__()
        name = "DenseDecoder"
        latent_dim = check_size(name, "latent_dim", latent_dim)
        num_params = check_size(name, "num_params", num_params)
        widths = [latent_dim, *check_sizes(name, "hidden_dims", hidden_dims)]

        self.shape = (*check_shape(name, "shape", shape), num_params)
        check_elements(name, widths[-1], *self.shape)

        last = nn.Linear(widths[-1], prod(self.shape))
        self.layers = _hidden_layers(widths).append(last)

    def forward(self, z: Tensor) -> Tensor:
        """Return the parameters of each site."""
        z = network_input("DenseDecoder", "z", z, weight_of(self))
        theta: Tensor = self.layers(z)
        return theta.unflatten(-1, self.shape)


def scaled(x: Tensor, shape: tuple[int, ...], levels: int, weight: Tensor) -> Tensor:
    """Return levels 0, ..., levels - 1 scaled to [-1, 1], in the dtype of the weights.

    Raises:
        ValueError: If the events do not have this shape.
    """
    x = network_input("The encoder", "x", x, weight)
    check_event("The encoder", "x", x, shape)
    return x * (2 / (levels - 1)) - 1


def _hidden_layers(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers with a ReLU after each, which keep the size of a signal."""
    layers = nn.Sequential()

    for width, following in pairwise(widths):
        check_elements("A dense layer", following, width)
        layer = nn.Linear(width, following)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers.append(layer).append(nn.ReLU(inplace=True))

    return layers
