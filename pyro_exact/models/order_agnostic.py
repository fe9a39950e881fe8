"""An order-agnostic network as a model, which is trained for all orders of the sites at once."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.order_agnostic.completion import Completion
from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet
from pyro_exact.distributions.subset import Subset
from pyro_exact.models.generative_model import GenerativeModel, checked_count, refuse_temperature
from pyro_exact.nn.precision import cast, weight_of


class OrderAgnostic(GenerativeModel):
    r"""An order-agnostic network as a model. Use this model to train a network for all orders.

    The training objective is the mean of log p(x) over all orders, estimated from one pass:

    .. math:: \mathbb{E}_o \log p_o(x) =
        \mathbb{E}_m \frac{D}{D - d} \sum_{i \notin m} \log p(x_i \mid x_m),
        \qquad d = \sum_i m_i

    The known subset :math:`m` is a latent whose distribution is the same in model and guide, so
    this term cancels in the ELBO; a factor scores the remaining elements. In evaluation mode there
    is no latent, and the likelihood is that of the ensemble of orders, which is above the mean
    (Jensen).

    Args:
        net: An order-agnostic network, for example `pyro_exact.autoregressive.DeepNADE`.

    Raises:
        TypeError: If the network is not order-agnostic.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, equation 14.

    Example:
        >>> from pyro_exact.autoregressive import DeepNADE
        >>> OrderAgnostic(DeepNADE((1, 4, 4), hidden_dims=(20, 20))).sample(5).shape
        torch.Size([5, 1, 4, 4])
    """

    def __init__(self, net: OrderAgnosticNet) -> None:
        super().__init__()
        if not isinstance(net, OrderAgnosticNet):
            raise TypeError(
                f"OrderAgnostic expects an order-agnostic network; got {type(net).__name__}. Use "
                "DeepNADE or ConvNADE, or train this network as Density(Autoregressive(net))."
            )
        self.net = net

    @property
    def event_shape(self) -> torch.Size:
        """Shape of a single datum."""
        return self.net.event_shape

    @property
    def exact(self) -> bool:
        return True

    def generate(self, x: Tensor | None = None) -> Tensor:
        if x is None or not self.training:
            sample: Tensor = pyro.sample("x", Autoregressive(self.net), obs=x)
            return sample

        pyro.factor("x", self.estimate(x, self._known()))
        return x

    def infer(self, x: Tensor) -> None:
        if self.training:
            self._known()

    def estimate(self, x: Tensor, known: Tensor) -> Tensor:
        r"""Return D / (D - d) times the log-probability of the unknown given the known elements."""
        x = cast(x, weight_of(self.net)).expand(known.shape)
        unknown = (~known).to(x.dtype)
        event = list(range(-len(self.net.event_shape), 0))

        theta = self.net.conditionals(x, known)
        log_p = self.net.likelihood.log_prob(theta, x) * unknown

        # D / (D - d), where d elements are known
        weight = self.net.sites / unknown.sum(event)
        return log_p.sum(event) * weight

    def check(self, x: Tensor) -> None:
        super().check(x)
        Autoregressive(self.net).check_value(x)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        self.net.initialize(x)

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None, progress: bool = False) -> Tensor:
        """Draw ``n`` samples, each in the order of a random member of the ensemble.

        Args:
            n: How many samples to draw.
            temperature: Must be `None`.
            progress: If true, show a progress bar.

        Raises:
            ValueError: If a temperature is given.
        """
        refuse_temperature(temperature)
        return Autoregressive(self.net).sample((checked_count(self, n),), progress=progress)

    def sample_with_progress(self, n: int, temperature: float | None = None) -> Tensor:
        return self.sample(n, temperature, progress=True)

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, n: int = 1, progress: bool = False) -> Tensor:
        """Draw the hidden elements given all observed ones, in orders that begin with these."""
        given = self.net.condition_on(x, observed)
        if isinstance(given, Completion):  # each datum has a mask of its own
            return given.sample((n,))

        hidden = given.sample((n,), progress=progress)
        drawn = x.to(hidden.dtype).repeat(n, *[1] * x.dim())
        drawn[..., ~observed.expand(self.event_shape)] = hidden
        return drawn

    def _known(self) -> Tensor:
        device = next(self.net.parameters()).device
        known: Tensor = pyro.sample("known", Subset(self.net.event_shape, device))
        return known
