"""PixelVAE with two levels of latents: a vector, and a map given the vector."""

from __future__ import annotations

from typing import Literal

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.pixel_net import PixelNet
from pyro_exact.checks import check_event, check_floating
from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.distributions.normal import softplus_normal
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of

Level = Literal["top", "bottom", "pixels"]
LEVELS = "top", "bottom", "pixels"


class HierarchicalPixelVAE(GenerativeModel):
    r"""A PixelVAE with a latent map below the latent vector. Use it for natural images.

    .. math::
        p(x, z_1, z_2) = p(z_2) \prod_j p(z_{1j} \mid z_{1,<j}, z_2) \prod_i p(x_i \mid x_{<i},
        z_1), \qquad q(z_1, z_2 \mid x) = q(z_1 \mid x)\, q(z_2 \mid x)

    This model is built using `hierarchical_pixel_vae`. The prior of the map and the decoder are
    autoregressive networks whose context is the level above. Both posteriors are diagonal normals.

    Args:
        encoder: From scaled images to a feature map h.
        to_bottom: From h to means and raw standard deviations of the map :math:`z_1`, in twice as
            many channels.
        to_top: From h to the features for :math:`z_2`, with sides of 1.
        top_posterior: From these features to q(z_2 | x).
        top_prior: A module that returns p(z_2) when called.
        from_top: From :math:`z_2`, as a map of one position, to the context of
            ``bottom_prior``.
        bottom_prior: A network of real images with a `GaussianLikelihood`, p(z_1 | z_2).
        from_bottom: From :math:`z_1` to the context of ``likelihood``.
        likelihood: A network of images with levels, p(x | z_1).

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1.
        - z_2: (N, latent_dim); z_1: (N, latent_channels, H / 4, W / 4).
        - Every network takes any batch shape.

    Raises:
        ValueError: On values that are no levels.

    Reference:
        Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville (2017), PixelVAE: A Latent
        Variable Model for Natural Images, section 3.2 and figure 3, and official code.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        to_bottom: nn.Module,
        to_top: nn.Module,
        top_posterior: FlowPosterior,
        top_prior: StandardNormal,
        from_top: nn.Module,
        bottom_prior: PixelNet,
        from_bottom: nn.Module,
        likelihood: PixelNet,
    ) -> None:
        super().__init__()
        self.encoder, self.to_bottom, self.to_top = encoder, to_bottom, to_top
        self.top_posterior, self.top_prior = top_posterior, top_prior
        self.from_top, self.bottom_prior = from_top, bottom_prior
        self.from_bottom, self.likelihood = from_bottom, likelihood

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return self.likelihood.event_shape

    def check(self, x: Tensor) -> None:
        super().check(x)
        self.likelihood.likelihood.check_values(x)

    def generate(self, x: Tensor | None = None) -> Tensor:
        z2 = pyro.sample("z2", self.top_prior())
        z1 = pyro.sample("z1", self.bottom_prior_of(z2))
        sample: Tensor = pyro.sample("x", self.likelihood_of(z1), obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        top, bottom = self.posteriors_of(x)
        pyro.sample("z2", top)
        pyro.sample("z1", bottom)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        self.likelihood.initialize(x)

    def posteriors_of(self, x: Tensor) -> tuple[TorchDistribution, TorchDistribution]:
        """Return q(z2 | x) and q(z1 | x)."""
        h = self.encoder(self.likelihood.scale(cast(x, weight_of(self))))

        mean, raw = self.to_bottom(h).chunk(2, dim=-3)
        bottom: TorchDistribution = softplus_normal(mean, raw).to_event(3)

        return self.top_posterior(self.to_top(h).flatten(-3)), bottom

    def bottom_prior_of(self, z2: Tensor) -> Autoregressive:
        """Return p(z1 | z2); z2 may have any batch shape."""
        return Autoregressive(self.bottom_prior, self.from_top(z2[..., None, None]))

    def likelihood_of(self, z1: Tensor) -> Autoregressive:
        """Return p(x | z1); z1 may have any batch shape."""
        z1 = check_floating("HierarchicalPixelVAE", "z1", z1)
        check_event("HierarchicalPixelVAE", "z1", z1, self.bottom_prior.event_shape)

        return Autoregressive(self.likelihood, self.from_bottom(cast(z1, weight_of(self))))

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None, vary: Level | None = None) -> Tensor:
        """Draw ``n`` images, which are independent, or differ in the noise of a single level.

        Args:
            n: How many images to draw.
            temperature: Temperature of the top prior, as in `StandardNormal`.
            vary: The only level whose noise differs between the images, ``"top"``, ``"bottom"`` or
                ``"pixels"``, as in the figures of the paper; `None` for independent images.

        Raises:
            ValueError: If there is no such level.
        """
        if vary not in (None, *LEVELS):
            raise ValueError(
                "HierarchicalPixelVAE expects vary to be 'top', 'bottom' or 'pixels'; got "
                f"{vary!r}. Leave it out for independent images."
            )
        n = checked_count(self, n)
        share_top, share_bottom, share_pixels = (vary not in (None, level) for level in LEVELS)

        prior = self.top_prior() if temperature is None else self.top_prior(temperature)
        z2 = prior.sample((1 if share_top else n,)).expand(n, -1)
        z1 = self.bottom_prior_of(z2).sample(shared_noise=share_bottom)

        return self.likelihood_of(z1).sample(shared_noise=share_pixels)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return a draw of the map z1 from q(z1 | x) for each datum."""
        self.check(x)
        z1 = self.posteriors_of(x)[1].sample()
        return check_output("HierarchicalPixelVAE.encode", "the latent map", z1, self)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return a draw of x from p(x | z1) for each map z1."""
        return self.likelihood_of(z).sample()
