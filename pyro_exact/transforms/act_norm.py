"""Activation normalisation: the scale and the location of each channel, set once from data."""

from __future__ import annotations

import warnings
from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_number
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.nn.statistics import channel_statistics
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import limited
from pyro_exact.transforms.parts import check_channels

SMALLEST_FLOOR = 1e-12


class ActNorm(Bijection):
    r"""Standardise each channel using the statistics of a batch, then scale and shift it.

    Use it as the first layer of a flow on data, and between layers, to make training independent of
    the units and the scale of the input.

    .. math::
        y = \frac{x - m}{d} \odot e^{s} + t, \qquad
        \log|\det \partial y/\partial x| = H W \sum_c (s_c - \log d_c)

    This layer has learned parameters :math:`s` and :math:`t`, in units of the standardised channel.
    The mean :math:`m` and the standard deviation :math:`d` are buffers. A new layer is the
    identity: :math:`m = t = s = 0` and :math:`d = 1`. `initialize` should be called before
    training: it sets :math:`m` and :math:`d` for each channel, over all ranks when
    ``torch.distributed`` is initialised. No other call sets these buffers, so sampling first,
    ``eval()`` and loading a ``state_dict`` are safe. The whole log-scale :math:`s - \log d` is cut
    at 64 in both directions, where the scale and the inverse are finite in float32.

    Args:
        channels: Channels of an image, or the dimension of a vector.
        event_dim: 3 for images (C, H, W), 1 for vectors (default).
        context_dim: Size of an optional context vector, used to compute both parameters.
        floor: Smallest standard deviation of a channel, relative to the root mean square of the
            channel (default 1e-6). When a channel is below, and so constant, `initialize` warns and
            uses the root mean square instead.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, channels, H, W), or (\*batch, channels); ladj: (\*batch).

    Raises:
        ValueError: If an input does not have this many channels, or there are none, or when
            `initialize` gets a single value per channel.

    Reference:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions, section
        3.1. There, the shift is learned in units of the input.

    Example:
        >>> x = 5 + 3 * torch.randn(100, 2)
        >>> y = ActNorm(2).initialize(x)
        >>> bool((y.std(0, correction=0) - 1).abs().max() < 1e-5)
        True
    """

    mean: Tensor
    log_std: Tensor

    def __init__(
        self,
        channels: int,
        event_dim: int = 1,
        context_dim: int | None = None,
        floor: float = 1e-6,
    ) -> None:
        channels, event_dim = check_channels(type(self).__name__, channels, event_dim)
        super().__init__((channels, *[None] * (event_dim - 1)), context_dim=context_dim)
        self.channels = channels
        self.floor = check_number("ActNorm", "floor", floor, SMALLEST_FLOOR, 1)

        zeros = torch.zeros(channels, *[1] * (event_dim - 1))
        self.register_buffer("mean", zeros.clone())
        self.register_buffer("log_std", zeros.clone())
        self.theta = Parameters({"shift": zeros, "log_scale": zeros}, context_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._theta(context)
        y = torch.addcmul(shift, x - self.mean, log_scale.exp())
        return y, self._ladj(x, log_scale)

    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._theta(context)
        x = torch.addcmul(self.mean, y - shift, (-log_scale).exp())
        return x, -self._ladj(y, log_scale)

    @torch.no_grad()
    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        mean, std = channel_statistics(x, self.domain.event_dim)
        size = torch.hypot(mean, std)  # the root mean square
        constant = std <= self.floor * size

        if bool(constant.any()):
            channels = constant.flatten().nonzero().flatten().tolist()
            warnings.warn(
                f"ActNorm found a standard deviation of at most {self.floor} times the root mean "
                f"square in channels "
                f"{channels}. Such channels are constant: dequantise the data, or drop them.",
                stacklevel=2,
            )

        std = torch.where(constant, torch.where(size > 0, size, 1.0), std)

        self.mean.copy_(mean)
        self.log_std.copy_(std.log())
        for parameter in self.theta.free():
            parameter.zero_()

        return self.transform(x, context)[0]

    def _theta(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the shift, and the log-scale from x to y."""
        with full_precision(self.log_std):
            shift, log_scale = self.theta(context)

        return shift, limited(log_scale - self.log_std)

    def _ladj(self, x: Tensor, log_scale: Tensor) -> Tensor:
        event_dim = self.domain.event_dim
        batch = x.shape[: x.dim() - event_dim]
        positions = prod(x.shape[len(batch) + 1 :])  # a tuple under `pyro.render_model`
        total = log_scale.sum(list(range(-event_dim, 0)))
        return (positions * total).expand(batch)

    def extra_repr(self) -> str:
        return f"{self.channels}, event_dim={self.domain.event_dim}"
