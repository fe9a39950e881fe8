"""Activation normalisation: a scale and a shift per channel, set once from data."""

from __future__ import annotations

import warnings
from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_number, check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.statistics import channel_statistics
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_EVENT_DIM, limited

LEAST_STD = 1e-27  # its logarithm is -62: see `limited`


class ActNorm(Bijection):
    r"""Normalise each channel by a learned shift and scale that start from the statistics of one batch.

    .. math:: y = (x + b) \odot e^{s}, \qquad \log|\det \partial y/\partial x| = H W \sum_c s_c

    A new layer is the identity. `initialize` sets :math:`b = -\mathrm{mean}` and :math:`s = -\log
    \mathrm{std}` per channel, over all ranks when ``torch.distributed`` is initialised; nothing
    else ever does, so sampling first, ``eval()`` and loading a ``state_dict`` are safe. The
    log-scale is cut at :math:`|s| = 64`, where the scale and its inverse still are numbers in
    float32.

    Args:
        channels: Number of channels, or the dimension of a vector.
        event_dim: 3 for images (C, H, W), 1 for vectors.
        context_dim: Size of the context vector that both parameters may depend on.
        floor: Smallest standard deviation that `initialize` divides by, in units of ``x``; a
            channel below it warns.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, channels, H, W), or (\*batch, channels); ladj: (\*batch).

    Raises:
        ValueError: On another number of channels, or none, or when `initialize` gets a single value
            per channel.

    Reference:
        Kingma and Dhariwal (2018), Glow: Generative Flow with Invertible 1x1 Convolutions, section
        3.1.

    Example:
        >>> x = 5 + 3 * torch.randn(100, 2)
        >>> y = ActNorm(2).initialize(x)
        >>> bool((y.std(0, correction=0) - 1).abs().max() < 1e-5)
        True
    """

    def __init__(
        self, channels: int, event_dim: int = 1, context_dim: int | None = None, floor: float = 1e-4
    ) -> None:
        channels, event_dim = has_channels(self, channels, event_dim)
        super().__init__((channels, *[None] * (event_dim - 1)), context_dim=context_dim)
        self.channels = channels
        self.floor = check_number("ActNorm", "floor", floor, LEAST_STD, 1 / LEAST_STD)
        zeros = torch.zeros(channels, *[1] * (event_dim - 1))
        self.theta = Parameters({"shift": zeros, "log_scale": zeros}, context_dim)

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._theta(context)
        return (x + shift) * log_scale.exp(), self._ladj(x, log_scale)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._theta(context)
        return y * (-log_scale).exp() - shift, -self._ladj(y, log_scale)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            mean, std = channel_statistics(x, self.domain.event_dim)
            if bool((std < self.floor).any()):
                low = (std < self.floor).flatten().nonzero().flatten().tolist()
                warnings.warn(
                    f"ActNorm found a standard deviation below {self.floor} in channels {low}, and divides by "
                    f"{self.floor} there. Such channels are constant: dequantise the data, or drop them.",
                    stacklevel=2,
                )
            shift, log_scale = self.theta.free()
            shift.copy_(-mean)
            log_scale.copy_(-std.clamp(min=self.floor).log())
            return self.transform(x, context)[0]

    def _theta(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the shift and the log-scale."""
        shift, log_scale = self.theta(context)
        return shift, limited(log_scale)

    def _ladj(self, x: Tensor, log_scale: Tensor) -> Tensor:
        event_dim = self.domain.event_dim
        positions = prod(x.shape[x.dim() - event_dim + 1 :])  # a tuple under `pyro.render_model`
        return (positions * log_scale.sum(list(range(-event_dim, 0)))).expand(
            x.shape[: x.dim() - event_dim]
        )

    def extra_repr(self) -> str:
        return f"{self.channels}, event_dim={self.domain.event_dim}"


def has_channels(layer: Bijection, channels: int, event_dim: int) -> tuple[int, int]:
    """Return the number of channels and the event_dim of a layer, or say which of them is none."""
    owner = type(layer).__name__
    return check_size(owner, "channels", channels), check_size(
        owner, "event_dim", event_dim, most=LARGEST_EVENT_DIM
    )
