"""Batch normalisation as a flow layer."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_number
from pyro_exact.nn.statistics import channel_statistics
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.parts import check_channels


class BatchNorm(Bijection):
    r"""Normalise each channel using the statistics of the batch.

    In evaluation, the running averages of the statistics are used instead. Use this layer to
    reproduce RealNVP; in new models, `ActNorm` should be preferred.

    .. math::
        y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
        \log|\det \partial y/\partial x| = -\frac{H W}{2} \sum_c \log(\sigma_c^2 + \epsilon)

    **Training and evaluation differ.** In train mode the forward direction takes :math:`\mu,
    \sigma^2` from the batch, with gradients, and moves the running averages: :math:`\bar\mu
    \leftarrow (1 - \rho) \bar\mu + \rho \mu`, and likewise :math:`\bar\sigma^2`, the biased
    variance. The ladj takes the statistics as constants, as in the paper, so the ladj of an event
    depends on the batch, and it is not the determinant of the map from batch to batch. The inverse
    in train mode takes the statistics of the last batch that went forwards (of a new layer: the
    running averages). So it inverts this batch, and no other; after ``eval()`` it uses the running
    averages. You should score and sample after ``eval()``. `ActNorm` has no such difference.
    Activations should not be recomputed through this layer in train mode (``recompute`` of
    `Compose`).

    Args:
        channels: Channels of an image, or the dimension of a vector.
        event_dim: 3 for images (C, H, W), 1 for vectors.
        momentum: :math:`\rho`, the share of a new batch in the running averages.
        epsilon: :math:`\epsilon`, in units of ``x`` squared.

    Cost:
        - forward: :math:`O(D)`; in train mode, another pass for the statistics.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, channels, H, W), or (\*batch, channels); ladj: (\*batch).

    Raises:
        ValueError: If an input does not have this many channels, an argument is out of range, or
            there is a single value per channel in train mode.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, section 3.7;
        momentum and :math:`\epsilon` as in the authors' code.

    Example:
        >>> layer = BatchNorm(2)
        >>> y = layer(5 + 3 * torch.randn(100, 2))
        >>> bool((y.std(0, correction=0) - 1).abs().max() < 1e-4)
        True
    """

    running_mean: Tensor
    running_variance: Tensor
    batch_mean: Tensor
    batch_variance: Tensor

    def __init__(
        self,
        channels: int,
        event_dim: int = 1,
        momentum: float = 0.1,
        epsilon: float = 1e-4,
    ) -> None:
        channels, event_dim = check_channels(type(self).__name__, channels, event_dim)
        super().__init__((channels, *[None] * (event_dim - 1)))
        self.channels = channels
        self.momentum = check_number("BatchNorm", "momentum", momentum, 0, 1)
        self.epsilon = check_number("BatchNorm", "epsilon", epsilon, 1e-30, 1e30)
        shape = (channels, *[1] * (event_dim - 1))
        for name in ("running", "batch"):
            self.register_buffer(f"{name}_mean", torch.zeros(shape))
            self.register_buffer(f"{name}_variance", torch.ones(shape))

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if self.training:
            mean, variance = self._batch_statistics(x)
        else:
            mean, variance = self.running_mean, self.running_variance

        # y = (x - mu) / sqrt(sigma^2 + epsilon)
        variance = variance + self.epsilon
        y = (x - mean) * variance.rsqrt()

        return y, -self._half_log(x, variance)

    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if self.training:
            mean, variance = self.batch_mean, self.batch_variance
        else:
            mean, variance = self.running_mean, self.running_variance

        variance = variance + self.epsilon
        x = y * variance.sqrt() + mean

        return x, self._half_log(y, variance)

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            mean, std = channel_statistics(x, self.domain.event_dim)
            for mine in (self.running_mean, self.batch_mean):
                mine.copy_(mean)

            for mine in (self.running_variance, self.batch_variance):
                mine.copy_(std.square())

            return (x - mean) * (std.square() + self.epsilon).rsqrt()

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        axis = x.dim() - self.domain.event_dim
        others = [i for i in range(x.dim()) if i != axis]
        if x.numel() < 2 * self.channels:
            raise ValueError(
                f"BatchNorm expects at least two values per channel in train mode; got a batch of "
                f"shape "
                f"{tuple(x.shape)}. Pass a larger batch, or call eval() first."
            )

        shape = self.running_mean.shape
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(values, others, correction=0)
        mean = mean.view(shape)
        variance = variance.view(shape)
        with torch.no_grad():
            self.batch_mean.copy_(mean)
            self.batch_variance.copy_(variance)
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_variance.lerp_(variance.to(self.running_variance), self.momentum)

        return mean, variance

    def _half_log(self, x: Tensor, variance: Tensor) -> Tensor:
        """Return half the sum of log variances over an event."""
        event_dim = self.domain.event_dim
        batch = x.shape[: x.dim() - event_dim]
        positions = prod(x.shape[len(batch) + 1 :])  # a tuple under `pyro.render_model`
        half = positions / 2 * variance.log().sum()
        return half.expand(batch)

    def extra_repr(self) -> str:
        return f"{self.channels}, event_dim={self.domain.event_dim}, momentum={self.momentum}"
