"""A layer of the IAF-VAE: a latent map between the bottom-up and the top-down path."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn

from pyro_exact.distributions.inverse_autoregressive import InverseAutoregressive
from pyro_exact.distributions.normal import exponential_normal
from pyro_exact.nn.iaf_convolution import CentredConv2d, DoublingConv2d, MaskedConvNet
from pyro_exact.nn.precision import least_std
from pyro_exact.ops.elu import elu
from pyro_exact.transforms.affine import Affine


class BottomUpFeatures(NamedTuple):
    """Output of the bottom-up path for the posterior of a layer.

    Attributes:
        posterior: Means and log-scales.
        context: Context of the inverse autoregressive step.
    """

    posterior: Tensor
    context: Tensor


class TopDownFeatures(NamedTuple):
    """Output of the top-down path for prior and posterior of a layer.

    Attributes:
        h: Input of the layer.
        prior: Means and log-scales of the prior.
        posterior: Means and log-scales to add to the bottom-up path.
        context: Context to add to the bottom-up path.
        features: Deterministic features, which join the latents on the way down.
    """

    h: Tensor
    prior: Tensor
    posterior: Tensor
    context: Tensor
    features: Tensor


class StochasticLayer(nn.Module):
    r"""A latent map between two residual paths, up from the image and down to the image.

    .. math::
        p(z \mid h) = N(\mu, \sigma^2), \qquad q(z \mid h, x) = N(\hat\mu + \tilde\mu, \hat\sigma^2
        \tilde\sigma^2) \text{ and an IAF step}

    where :math:`\mu, \sigma, \hat\mu, \hat\sigma` are functions of the top-down path,
    :math:`\tilde\mu, \tilde\sigma` of the bottom-up path, and the context of the step is the sum of
    a context from each path.

    Args:
        latent_channels: Channels of the latent map.
        width: Channels of both paths.
        stride: 2 for a layer whose map is half as large as the map below.
        flow: If true, the posterior has the inverse autoregressive step.
        top: If true, this is the top layer, where the bottom-up path ends.

    Shape:
        - h below: (\*batch, stride H, stride W, width); h above: (\*batch, H, W, width); z:
          (\*batch, latent_channels, H, W).
    """

    def __init__(
        self,
        latent_channels: int,
        width: int,
        stride: int = 1,
        flow: bool = True,
        top: bool = False,
    ) -> None:
        super().__init__()
        self.stride = stride

        # Bottom-up path.
        self.up_posterior = CentredConv2d(width, 2 * latent_channels, stride=stride, gain=0.1)
        self.up_first = None if top else CentredConv2d(width, width, stride=stride)
        self.up_second = None if top else CentredConv2d(width, width, gain=0.1)

        # Top-down path.
        second = CentredConv2d if stride == 1 else DoublingConv2d
        self.down_statistics = CentredConv2d(width, 4 * latent_channels, gain=0.1)
        self.down_first = CentredConv2d(width, width)
        self.down_second = second(latent_channels + width, width, gain=0.1)

        # Inverse autoregressive step.
        self.up_context = CentredConv2d(width, width, stride=stride) if flow else nn.Identity()
        self.down_context = CentredConv2d(width, width) if flow else nn.Identity()
        self.formula = Affine(shift_first=True)
        self.flow = MaskedConvNet(latent_channels, self.formula.num_params, width) if flow else None

    def up(self, h: Tensor) -> tuple[Tensor, BottomUpFeatures]:
        """Return the bottom-up path above the layer, and the features for the posterior."""
        active = elu(h)
        features = BottomUpFeatures(self.up_posterior(active), self.up_context(active))

        if self.up_first is None or self.up_second is None:
            return h, features

        shortcut = h[..., :: self.stride, :: self.stride, :]
        return shortcut + self.up_second(elu(self.up_first(active))), features

    def down_features(self, h: Tensor) -> TopDownFeatures:
        """Return the features of the top-down path above the layer."""
        active = elu(h)
        prior, posterior = self.down_statistics(active).chunk(2, dim=-1)

        return TopDownFeatures(
            h, prior, posterior, self.down_context(active), self.down_first(active)
        )

    def down(self, above: TopDownFeatures, z: Tensor) -> Tensor:
        """Return the top-down path below the layer, given the features above and the latents."""
        latents = z.movedim(-3, -1)
        batch = torch.broadcast_shapes(latents.shape[:-1], above.features.shape[:-1])
        both = torch.cat([part.expand(*batch, -1) for part in (latents, above.features)], dim=-1)

        shortcut = above.h
        if self.stride > 1:
            shortcut = shortcut.repeat_interleave(self.stride, dim=-3)
            shortcut = shortcut.repeat_interleave(self.stride, dim=-2)

        below: Tensor = shortcut + self.down_second(elu(both))
        return below

    def prior(self, above: TopDownFeatures, temperature: float = 1.0) -> TorchDistribution:
        """Return p(z | h); the temperature scales the standard deviations."""
        normal = _normal(above.prior)
        least = least_std(normal.scale.dtype)  # a normal of zero width has no density
        return Normal(normal.loc, (temperature * normal.scale).clamp_min(least)).to_event(3)

    def posterior(self, above: TopDownFeatures, below: BottomUpFeatures) -> TorchDistribution:
        """Return q(z | h, x)."""
        # Means add up and scales multiply, so log-scales add up too.
        normal = _normal(above.posterior + below.posterior)
        if self.flow is None:
            return normal.to_event(3)

        conditioner = partial(self.flow, context=above.context + below.context)
        flow = InverseAutoregressive(normal.loc, normal.scale, conditioner, self.formula)
        return flow.to_event(3)


def _normal(statistics: Tensor) -> Normal:
    """Return normals of the elements of a map, from means and log-scales in the channels."""
    mean, log_std = statistics.movedim(-1, -3).chunk(2, dim=-3)
    return exponential_normal(mean, log_std)
