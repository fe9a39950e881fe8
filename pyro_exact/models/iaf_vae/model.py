"""A VAE with a ladder of latent maps, whose guide and model share the top-down path."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_exact.checks import check_number, check_size
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.flows.arguments import image_shape
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.models.feature_cache import FeatureCache
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.models.iaf_vae.layer import BottomUpFeatures, StochasticLayer, TopDownFeatures
from pyro_exact.nn.dense import scaled
from pyro_exact.nn.iaf_convolution import CentredConv2d, DoublingConv2d
from pyro_exact.nn.rescaled import initialize_once
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.elu import elu
from pyro_exact.transforms.memory import states

# The variance of a logistic is (pi s)^2 / 3, so log s = log std + 0.5 log(3 / pi^2).
LOG_SCALE_OF_UNIT_STD = 0.5 * math.log(3 / math.pi**2)

Draw = Callable[[str, StochasticLayer, TopDownFeatures], Tensor]


class ResNetVAE(GenerativeModel):
    r"""A VAE of images with a ladder of latent maps, from :math:`z_1` at the image to :math:`z_L`.

    .. math::
        p(x, z) = p(x \mid z) \prod_l p(z_l \mid z_{>l}), \qquad q(z \mid x) = \prod_l q(z_l \mid
        z_{>l}, x)

    This model is built using `iaf_vae`. Inference is bidirectional: the guide goes up from the
    image through all layers, and then down the top-down path of the model, using the same networks;
    the posteriors combine the features of both paths. Each element of the image is a discretised
    logistic, whose mean comes from the network; each channel has a learned scale.

    Args:
        shape: (C, H, W).
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.
        layers: Stochastic layers from the image to the top, which comes last. A first convolution
            halves the image before these layers.
        width: Channels of both paths.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1.
        - z_l: (N, latent_channels, H / 2^s, W / 2^s) with s - 1 layers of stride 2 up to l.

    Raises:
        ValueError: If the strides do not divide the sides; on values that are no levels, or on
            another shape.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 5.2 and appendix C, and official code
        (`IAFLayer`, `CVAE1`), where all channels of the image have a scale in common.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        layers: Sequence[StochasticLayer],
        width: int,
    ) -> None:
        super().__init__()
        self.levels = check_size("ResNetVAE", "levels", levels, least=2)
        self.shape = channels, height, breadth = image_shape("ResNetVAE", shape, levels)

        factor = 2 * math.prod(layer.stride for layer in layers)
        if not layers or height % factor or breadth % factor:
            raise ValueError(
                f"ResNetVAE expects a layer or more, and height and width that {factor} divides; "
                f"got {len(layers)} layers and shape {tuple(shape)}. Pad the images, or halve them "
                "less often."
            )
        self.top_size = height // factor, breadth // factor

        self.likelihood = DiscretizedLogisticMixture(channels, levels, components=1)
        self.first = CentredConv2d(channels, width, 5, stride=2)
        self.layers = nn.ModuleList(layers)
        self.top = nn.Parameter(torch.zeros(width))
        self.last = DoublingConv2d(width, channels, 5, gain=0.1)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self._cache: FeatureCache[TopDownFeatures] = FeatureCache()

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return torch.Size(self.shape)

    def check(self, x: Tensor) -> None:
        super().check(x)
        self.likelihood.check_values(x)

    def generate(self, x: Tensor | None = None) -> Tensor:
        def draw(name: str, layer: StochasticLayer, above: TopDownFeatures) -> Tensor:
            z: Tensor = pyro.sample(name, layer.prior(above))
            return z

        means = self.means_of(*self.top_down(draw))
        sample: Tensor = pyro.sample("x", self.likelihood_of(means), obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        below = self.bottom_up(x)

        def draw(name: str, layer: StochasticLayer, above: TopDownFeatures) -> Tensor:
            z: Tensor = pyro.sample(name, layer.posterior(above, below[name]))
            return z

        self.top_down(draw)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        means = initialize_once(self, x, kind=WeightNormed)

        with torch.no_grad():
            error = self._pixels(x) - means
            log_std = error.flatten(0, -2).std(0).log()
            self.log_scale.copy_(log_std + LOG_SCALE_OF_UNIT_STD)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the pixels for a draw of the latents from q(z | x)."""
        below = self.bottom_up(x)

        def draw(name: str, layer: StochasticLayer, above: TopDownFeatures) -> Tensor:
            return layer.posterior(above, below[name]).rsample()

        return self.means_of(*self.top_down(draw, x.shape[:1]))

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` images, using ``temperature`` to scale standard deviations of the priors."""
        n = checked_count(self, n)
        scale = 1.0
        if temperature is not None:
            scale = check_number("ResNetVAE", "temperature", temperature, least=0)

        def draw(name: str, layer: StochasticLayer, above: TopDownFeatures) -> Tensor:
            return layer.prior(above, scale).sample()

        means = self.means_of(*self.top_down(draw, (n,)))
        x: Tensor = self.likelihood_of(means).sample()
        return x

    def bottom_up(self, x: Tensor) -> dict[str, BottomUpFeatures]:
        """Return the features of the bottom-up path for each layer, by the name of the latent."""
        h = self.first(self._pixels(x))

        features = {}
        for name, layer in self._named_layers():
            h, features[name] = layer.up(h)
        return features

    def top_down(self, draw: Draw, batch: Sequence[int] = ()) -> tuple[TopDownFeatures, Tensor]:
        """Go down the layers, and return the features and the latents of the lowest layer.

        Args:
            draw: Returns the latents of a layer from the name, the layer and the features.
            batch: Batch shape of the constant at the top.
        """
        layers = self._named_layers()[::-1]
        weights = states(tuple(self.parameters()))
        above: TopDownFeatures | None = None  # features of the cache, from the second layer on

        features = layers[0][1].down_features(self.top.expand(*batch, *self.top_size, -1))
        for (name, layer), (_, lower) in pairwise(layers):
            z = draw(name, layer, features)

            below = self._cache.find(z, above, weights)
            if below is None:
                below = lower.down_features(layer.down(features, z))
                self._cache.write(z, above, weights, below)

            features = above = below

        return features, draw(*layers[-1], features)

    def means_of(self, above: TopDownFeatures, z: Tensor) -> Tensor:
        """Return the means of the pixels, (*batch, H, W, C), from the output of `top_down`."""
        _, layer = self._named_layers()[0]
        h = elu(layer.down(above, z))

        # In bfloat16 the distance between two values of a mean can be more than half a level.
        with torch.autocast(h.device.type, enabled=False):
            means: Tensor = self.last(h.to(self.top.dtype))
        return means

    def likelihood_of(self, means: Tensor) -> IndependentSites:
        """Return p(x | z)."""
        batch = means.shape[:-1]
        logit_size, _, _, slope_size = self.likelihood.sizes.parts

        # One component, so the logit is arbitrary; channels do not depend on each other.
        logit, slopes = means.new_zeros(*batch, logit_size), means.new_zeros(*batch, slope_size)
        theta = torch.cat((logit, means, self.log_scale.expand_as(means), slopes), dim=-1)

        return IndependentSites(theta, self.likelihood, grid_dim=2)

    def _pixels(self, x: Tensor) -> Tensor:
        """Return levels in [-1, 1], with the channels last."""
        return scaled(x, self.shape, self.levels, self.top).movedim(-3, -1)

    def _named_layers(self) -> list[tuple[str, StochasticLayer]]:
        """Return the layers from the image to the top, each with the name of the latent."""
        layers: Any = self.layers
        return [(f"z{i}", layer) for i, layer in enumerate(layers, start=1)]
