"""Variational autoencoders with any likelihood, and with any flow as posterior or prior."""

from __future__ import annotations

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_event, check_finite, check_floating, check_tensor
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of


class VAE(GenerativeModel):
    r"""A variational autoencoder with an amortised guide. Use it to learn a latent z of each x.

    .. math::
        p(x, z) = p(z)\, p(x \mid \mathrm{decoder}(z)), \qquad q(z \mid x) = q(z \mid
        \mathrm{encoder}(x))

    With a `Likelihood` the sites of x are independent given z, and the output of the decoder is the
    parameter vector of each site. With a `CausalNet`, as in PixelVAE, the sites depend on each
    other, and the output of the decoder is the context of the network. Use `dense_vae`, `conv_vae`
    or `pixel_vae` to build a VAE of images from sizes.

    Args:
        encoder: Maps x to features.
        decoder: Maps z to the parameters of each site, or to the context of a causal network.
        posterior: A module that maps the features to a distribution of z, for example
            `FlowPosterior`.
        prior: A module that returns the distribution of z when called, for example
            `StandardNormal`, or a `Flow`.
        likelihood: A `Likelihood` of independent sites, or a `CausalNet`.

    Shape:
        - x: (N, \*event), of any dtype; z: (N, \*latent).
        - encoder: x -> (N, features). The input must have the type of the weights.
        - decoder: (\*batch, \*latent) -> (\*batch, \*grid, num_params), or (\*batch,
          \*context_shape), for any batch shape.

    Raises:
        ValueError: On values outside the support of the likelihood, and if the shapes of the parts
            do not fit.

    Reference:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende and Mohamed (2015),
        Variational Inference with Normalizing Flows, for a posterior with a flow; Gulrajani et al.
        (2017), PixelVAE, for a causal network.

    Example:
        >>> from pyro_exact.likelihoods import BernoulliLikelihood
        >>> from pyro_exact.distributions import FlowPosterior, StandardNormal
        >>> from pyro_exact.flows import planar
        >>> from pyro_exact.nn import DenseDecoder, DenseEncoder
        >>> encoder = DenseEncoder((1, 8, 8), (20,))
        >>> decoder = DenseDecoder(2, (1, 8, 8), hidden_dims=(20,))
        >>> posterior = FlowPosterior(20, 2, planar(2, layers=4, context_dim=20))
        >>> model = VAE(encoder, decoder, posterior, StandardNormal(2), BernoulliLikelihood())
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        posterior: nn.Module,
        prior: nn.Module,
        likelihood: Likelihood | CausalNet,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.posterior, self.prior = encoder, decoder, posterior, prior
        self.likelihood = likelihood

    @property
    def event_shape(self) -> torch.Size | None:
        """Shape of a datum, if the likelihood or the encoder has this attribute, or `None`."""
        if isinstance(self.likelihood, CausalNet):
            return self.likelihood.event_shape

        shape = getattr(self.encoder, "shape", None)
        return torch.Size(shape) if isinstance(shape, tuple) else None

    def check(self, x: Tensor) -> None:
        super().check(x)
        decoder = self.likelihood
        likelihood = decoder.likelihood if isinstance(decoder, CausalNet) else decoder
        likelihood.check_values(x)

    def generate(self, x: Tensor | None = None) -> Tensor:
        z = pyro.sample("z", self.prior())
        sample: Tensor = pyro.sample("x", self.likelihood_of(z), obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        pyro.sample("z", self.posterior_of(x))

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        if isinstance(self.likelihood, CausalNet):
            self.likelihood.initialize(x)

    def posterior_of(self, x: Tensor) -> TorchDistribution:
        """Return q(z | x)."""
        features = self.encoder(cast(check_tensor("VAE", "x", x), weight_of(self)))
        posterior: TorchDistribution = self.posterior(features)

        expected = x.shape[:1], self.prior().event_shape
        if (posterior.batch_shape, posterior.event_shape) != expected:
            raise ValueError(
                f"VAE expects a posterior with batch shape {tuple(expected[0])} and event shape "
                f"{tuple(expected[1])}, one latent of the prior for each row of data; got "
                f"{tuple(posterior.batch_shape)} and {tuple(posterior.event_shape)}. Use matching "
                "sizes for encoder, posterior and prior, and data with a batch dimension."
            )
        return posterior

    def likelihood_of(self, z: Tensor) -> TorchDistribution:
        """Return p(x | z); z may have any batch shape."""
        z = cast(check_floating("VAE", "latent", z), weight_of(self))
        batch = check_event("VAE", "latent", z, self.prior().event_shape)

        output = self.decoder(z)
        if isinstance(self.likelihood, CausalNet):
            return Autoregressive(self.likelihood, output)

        if output.shape[: len(batch)] != batch:
            raise ValueError(
                f"VAE expects a decoder that keeps the batch shape of z, {tuple(batch)}; got "
                f"output of shape {tuple(output.shape)}. The decoder must accept a z of any batch "
                "shape."
            )

        return IndependentSites(output, self.likelihood, output.dim() - 1 - len(batch))

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data, using ``temperature`` in the prior, as in `Flow`."""
        prior = self.prior() if temperature is None else self.prior(temperature)
        return self.decode(prior.sample((checked_count(self, n),)))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return a draw of z from q(z | x) for each datum."""
        self.check(x)
        z: Tensor = self.posterior_of(x).sample()
        return check_output(f"{type(self).__name__}.encode", "the latent", z, self)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return a draw of x from p(x | z) for each z."""
        name = f"{type(self).__name__}.decode"
        check_finite(name, "z", check_floating(name, "z", z), "Check the code that computes it")
        x: Tensor = self.likelihood_of(z).sample()
        return x
