"""Variational autoencoders: a latent, and a guide that an encoder and perhaps a flow make."""

from __future__ import annotations

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_event, check_finite, check_floating
from pyro_exact.distributions.independent_sites import IndependentSites, check_values
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of


class VAE(GenerativeModel):
    r"""A variational autoencoder: a latent z behind each x, with an amortised guide.

    .. math::
        p(x, z) = p(z)\, p(x \mid \mathrm{decoder}(z)), \qquad q(z \mid x) = q(z \mid
        \mathrm{encoder}(x))

    What the decoder's output means is the likelihood's to say. Under a `Likelihood` it is the theta
    of sites that are independent given z; under a `CausalNet`, which models what z leaves open by
    itself, it is that network's context.

    Args:
        encoder: From x to features.
        decoder: From z to the theta of each site, or to the context of a causal network.
        posterior: A module that maps the features to a distribution of z, such as `FlowPosterior`.
        prior: A module that returns the distribution of z when called, such as `StandardNormal`, or
            a `Flow`.
        likelihood: A `Likelihood` of independent sites, or a `CausalNet`.

    Shape:
        - x: (N, \*event), of any dtype; z: (N, \*latent).
        - encoder: x -> (N, features). Its input is of the dtype of the weights.
        - decoder: (\*batch, \*latent) -> (\*batch, \*grid, num_params), or (\*batch,
            \*context_shape). Any batch shape: many samples of z may come at once.

    Raises:
        ValueError: On values that the likelihood cannot take, and where the shapes of the parts do
            not fit.

    Reference:
        Kingma and Welling (2014), Auto-Encoding Variational Bayes; Rezende and Mohamed (2015),
        Variational Inference with Normalizing Flows, for a posterior with a flow; Gulrajani et al.
        (2017), PixelVAE, for a causal network.

    Example:
        >>> from pyro_exact.likelihoods import BernoulliLikelihood
        >>> from pyro_exact.distributions import FlowPosterior, StandardNormal
        >>> from pyro_exact.flows import planar
        >>> from pyro_exact.nn import DenseDecoder, DenseEncoder
        >>> encoder, decoder = DenseEncoder((1, 8, 8), (20,)), DenseDecoder(2, (1, 8, 8), hidden_dims=(20,))
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
        """Shape of one datum, where the likelihood or the encoder says it, as ours do."""
        if isinstance(self.likelihood, CausalNet):
            return self.likelihood.event_shape
        shape = getattr(self.encoder, "shape", None)
        return torch.Size(shape) if isinstance(shape, tuple) else None

    def check(self, x: Tensor) -> None:
        super().check(x)
        check_values(
            x,
            self.likelihood.likelihood
            if isinstance(self.likelihood, CausalNet)
            else self.likelihood,
        )

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
        h = self.encoder(cast(x, weight_of(self)))
        posterior: TorchDistribution = self.posterior(h)
        expected = x.shape[:1], self.prior().event_shape
        if (posterior.batch_shape, posterior.event_shape) != expected:
            raise ValueError(
                f"VAE expects a posterior with batch shape {tuple(expected[0])} and event shape {tuple(expected[1])}, "
                f"one latent of the prior for each row of data; got {tuple(posterior.batch_shape)} and "
                f"{tuple(posterior.event_shape)}. Give encoder, posterior and prior sizes that fit, and the data a "
                f"batch dimension."
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
                f"VAE expects a decoder that keeps the batch shape of z, {tuple(batch)}; got output of "
                f"shape {tuple(output.shape)}. Let it take a z with any batch shape."
            )
        return IndependentSites(output, self.likelihood, output.dim() - 1 - len(batch))

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data; ``temperature`` is that of the prior, as in `Flow` and `StandardNormal`."""
        prior = self.prior() if temperature is None else self.prior(temperature)
        return self.decode(prior.sample((checked_count(self, n),)))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return one draw of z from q(z | x) for each row of data."""
        self.check(x)
        z: Tensor = self.posterior_of(x).sample()
        return check_output(f"{type(self).__name__}.encode", "the latent", z, self)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return one draw of x from p(x | z) for each z."""
        name = f"{type(self).__name__}.decode"
        check_finite(name, "z", check_floating(name, "z", z), "Look at what computed it")
        x: Tensor = self.likelihood_of(z).sample()
        return x

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return what is drawn from p(x | z), for one draw of z from q(z | x): what the latent keeps of the data."""
        return self.decode(self.encode(x))
