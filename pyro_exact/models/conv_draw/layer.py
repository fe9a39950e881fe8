"""A layer of Convolutional DRAW: LSTMs of encoder and decoder, prior and posterior."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from pyro_exact.checks import check_elements
from pyro_exact.distributions.normal import exponential_normal
from pyro_exact.nn.layout import channels_last


class LSTMState(NamedTuple):
    r"""Output and cell of a convolutional LSTM, (\*batch, width, h, w)."""

    h: Tensor
    c: Tensor


class ConvLSTM(nn.Module):
    r"""A convolutional LSTM cell.

    .. math::
        (i, f, o, g) = W * [x, h], \qquad c' = \sigma(f) \odot c + \sigma(i) \odot \tanh(g), \qquad
        h' = \sigma(o) \odot \tanh(c')

    Args:
        in_channels: Channels of all inputs x together.
        width: Channels of the state.
        kernel_size: Odd side of the kernel.

    Reference:
        Shi, Chen, Wang, Yeung, Wong and Woo (2015), Convolutional LSTM Network, equation 3, without
        the peephole connections.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.gates = convolution(in_channels + width, 4 * width, kernel_size)
        with torch.no_grad():
            _, forget, _, _ = self.gates.bias.chunk(4)  # type: ignore[union-attr]
            forget.fill_(1)  # remember at first

    def forward(self, inputs: list[Tensor], state: LSTMState) -> LSTMState:
        """Return the state after a step."""
        i, f, o, g = of_maps(self.gates, *inputs, state.h).chunk(4, dim=-3)
        c = f.sigmoid() * state.c + i.sigmoid() * g.tanh()
        return LSTMState(o.sigmoid() * c.tanh(), c)


class DrawLayer(nn.Module):
    r"""A layer of `ConvDRAW`, with a latent map in each step.

    .. math::
        h^e_t = \mathrm{LSTM}_e(\mathrm{seen}, h^d_{t-1}; h^e_{t-1}), \qquad
        q(z_t \mid h^e_t), \qquad p(z_t \mid h^d_{t-1}, \mathrm{above}), \qquad
        h^d_t = \mathrm{LSTM}_d(z_t, \mathrm{given}; h^d_{t-1})

    Args:
        seen: Channels of the inputs of the encoder beside the state of the decoder.
        above: Channels of the decoder of the layer above in the same step; 0 for the top layer.
        given: Channels of the inputs of the decoder beside the latent map, which include ``above``.
        latent_channels: Channels of the latent map.
        width: Channels of both states.
        kernel_size: Odd side of all kernels.
    """

    def __init__(
        self,
        seen: int,
        above: int,
        given: int,
        latent_channels: int,
        width: int,
        kernel_size: int,
    ) -> None:
        super().__init__()
        self.encoder = ConvLSTM(seen + width, width, kernel_size)
        self.decoder = ConvLSTM(given + latent_channels, width, kernel_size)
        self.to_posterior = convolution(width, 2 * latent_channels, kernel_size)
        self.to_prior = convolution(width + above, 2 * latent_channels, kernel_size)

    def posterior(self, encoder: LSTMState) -> Normal:
        """Return q(z_t | h^e_t)."""
        return _normal(of_maps(self.to_posterior, encoder.h))

    def prior(self, decoder: LSTMState, above: list[Tensor]) -> Normal:
        """Return p(z_t | h^d_{t-1}, above)."""
        return _normal(of_maps(self.to_prior, decoder.h, *above))


def convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
) -> nn.Conv2d:
    """Return a convolution that keeps the size of a map."""
    check_elements("ConvDRAW", out_channels, in_channels, kernel_size, kernel_size)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def of_maps(layer: nn.Module, *maps: Tensor) -> Tensor:
    """Apply a layer to the channels of several maps, whose batch shapes broadcast."""
    batch = torch.broadcast_shapes(*(m.shape[:-3] for m in maps))
    joined = torch.cat([m.expand(*batch, *m.shape[-3:]) for m in maps], dim=-3)

    y: Tensor = layer(channels_last(joined.reshape(-1, *joined.shape[-3:])))
    return y.reshape(*batch, *y.shape[-3:])


def _normal(statistics: Tensor) -> Normal:
    """Return normals of the elements of a map, from means and log-scales in the channels."""
    mean, log_std = statistics.chunk(2, dim=-3)
    return exponential_normal(mean, log_std)
