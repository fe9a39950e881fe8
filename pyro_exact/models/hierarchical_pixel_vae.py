"""PixelVAE of two levels: a vector, a latent map given the vector, and an image given the map."""

from __future__ import annotations

from typing import Literal

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.gated_pixel_cnn.net import GatedPixelCNN
from pyro_exact.checks import LARGEST_COUNT, check_event, check_floating, check_size
from pyro_exact.distributions.flow import StandardNormal
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.distributions.independent_sites import check_values
from pyro_exact.distributions.normal import softplus_normal
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.likelihoods.gaussian import GaussianLikelihood
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.gated_convolution import Gated, Maps, narrowing, quarter, widening
from pyro_exact.nn.precision import cast, weight_of


class HierarchicalPixelVAE(GenerativeModel):
    r"""A PixelVAE with a level between the latent vector and the image: a latent map of a quarter of its sides.

    .. math::
        p(x, z_1, z_2) = p(z_2) \prod_j p(z_{1j} \mid z_{1,<j}, z_2) \prod_i p(x_i \mid x_{<i},
        z_1), \qquad q(z_1, z_2 \mid x) = q(z_1 \mid x)\, q(z_2 \mid x)

    The prior of the map is a Gated PixelCNN whose pixels are diagonal normals, and so is the
    decoder with levels. Each sees the level above, upsampled to a map of its own size, in every
    gate. Both posteriors are diagonal normals.

    Args:
        shape: (C, H, W), with sides that 4 divides, such as 32 or 64.
        levels: Number of pixel levels.
        top: Dimension of the vector :math:`z_2`.
        bottom: Channels of the map :math:`z_1`, of shape (bottom, H / 4, W / 4).
        width: Channels of the convolutions at the size of the image; those at the size of the map
            have twice as many.
        features: What the encoder makes of an image for :math:`z_2`.
        hidden: Channels of either stack of the decoder.
        layers: Number of its autoregressive layers, of which the first has a 7x7 kernel; at least
            one.
        kernel_size: Odd side of the other kernels.
        head: Channels of its last two convolutions' input.
        prior_hidden: As ``hidden``, for the prior of the map.
        prior_layers: As ``layers``; the other kernels are 3x3.
        components: Logistics of a mixture for whole pixels; `None` for a categorical distribution
            of each number, as in the paper.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1; z_2: (N, top); z_1: (N, bottom, H / 4, W /
          4).

    Raises:
        ValueError: If 4 does not divide the sides, or a size is out of range; on values that are no
            levels.

    Reference:
        Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez and Courville (2017), PixelVAE: A Latent
        Variable Model for Natural Images, section 3.2 and figure 3, and official code. The
        convolutions between the levels are those of `GatedConvEncoder`, without batch
        normalisation.

    Example:
        >>> model = HierarchicalPixelVAE((3, 8, 8), 4, top=4, bottom=2, width=4, features=8, hidden=6, layers=2, head=6)
        >>> model.sample(5, vary="pixels").shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 256,
        top: int = 512,
        bottom: int = 64,
        width: int = 64,
        features: int = 512,
        hidden: int = 128,
        layers: int = 3,
        kernel_size: int = 5,
        head: int = 256,
        prior_hidden: int = 128,
        prior_layers: int = 3,
        components: int | None = None,
    ) -> None:
        super().__init__()
        name = "HierarchicalPixelVAE"
        top, bottom = check_size(name, "top", top), check_size(name, "bottom", bottom)
        width, features = check_size(name, "width", width), check_size(name, "features", features)
        layers = check_size(name, "layers", layers, most=LARGEST_COUNT)
        prior_layers = check_size(name, "prior_layers", prior_layers, most=LARGEST_COUNT)
        prior_hidden, levels = (
            check_size(name, "prior_hidden", prior_hidden),
            check_size(name, "levels", levels, 2),
        )
        sides, wide = quarter(shape), 2 * width
        self.encoder = Maps(*narrowing(shape[0], width))
        self.to_bottom = Maps(nn.Conv2d(wide, 2 * bottom, 1))
        self.to_top = Maps(Gated(nn.Conv2d(wide, 2 * features, sides)))
        self.top_posterior, self.top_prior = FlowPosterior(features, top), StandardNormal(top)
        self.from_top = Maps(
            Gated(nn.ConvTranspose2d(top, 2 * wide, sides), places=1),
            Gated(nn.Conv2d(wide, 2 * wide, 3, padding=1)),
        )
        self.bottom_prior = GatedPixelCNN(
            (bottom, *sides), None, prior_hidden, prior_layers - 1, 3, 2 * prior_hidden, (wide, *sides),
            GaussianLikelihood(bottom),
        )  # fmt: skip
        self.from_bottom = Maps(*widening(bottom, width))
        self.likelihood = GatedPixelCNN(
            shape, levels, hidden, layers - 1, kernel_size, head, (width, *shape[1:]),
            None if components is None else DiscretizedLogisticMixture(shape[0], levels, components),
        )  # fmt: skip

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return self.likelihood.event_shape

    def check(self, x: Tensor) -> None:
        super().check(x)
        check_values(x, self.likelihood.likelihood)

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
        h = self.encoder(self.likelihood.scaled(cast(x, weight_of(self))))
        bottom: TorchDistribution = softplus_normal(*self.to_bottom(h).chunk(2, dim=-3)).to_event(3)
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
    def sample(
        self,
        n: int,
        temperature: float | None = None,
        vary: Literal["top", "bottom", "pixels"] | None = None,
    ) -> Tensor:
        """Draw ``n`` images, independent of each other or with all noise in common but for that of one level.

        Args:
            n: How many.
            temperature: That of the top prior, as in `StandardNormal`.
            vary: What is drawn anew for each image: the noise of ``"top"``, ``"bottom"`` or
                ``"pixels"`` alone, as in the paper's figure of what each level holds; `None` for
                all of it.

        Raises:
            ValueError: If there is no such level.
        """
        if vary not in (None, "top", "bottom", "pixels"):
            raise ValueError(
                f"HierarchicalPixelVAE expects vary to be 'top', 'bottom' or 'pixels'; got {vary!r}. Leave it out for "
                f"independent images."
            )
        top, bottom, pixels = (
            vary not in (None, level) for level in ("top", "bottom", "pixels")
        )  # which are shared
        prior = self.top_prior() if temperature is None else self.top_prior(temperature)
        n = checked_count(self, n)
        z2 = prior.sample((1 if top else n,)).expand(n, -1)
        z1 = self.bottom_prior_of(z2).sample(shared_noise=bottom)
        return self.likelihood_of(z1).sample(shared_noise=pixels)

    @torch.no_grad()
    def decode(self, z1: Tensor) -> Tensor:
        """Return one draw of x from p(x | z1) for each map."""
        return self.likelihood_of(z1).sample()

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Return what is drawn from p(x | z1), for one draw of z1 from q(z1 | x): what the map keeps of the image."""
        self.check(x)
        z1 = self.posteriors_of(x)[1].sample()
        return self.decode(
            check_output("HierarchicalPixelVAE.reconstruct", "the latent map", z1, self)
        )
