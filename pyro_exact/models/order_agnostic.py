"""An order-agnostic network as a model, which is trained for all orders of the sites at once."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.order_agnostic.completion import Completion
from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet
from pyro_exact.checks import check_tensor
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

    Data may have missing values, as NaN: these are summed out, in training and in a score.

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

    @property
    def sums_out_missing(self) -> bool:
        return True

    def generate(self, x: Tensor | None = None) -> Tensor:
        if x is not None and self.training:
            pyro.factor("x", self.estimate(x, self._known()))
            return x

        missing = None if x is None else missing_values(x)
        if x is None or missing is None:
            sample: Tensor = pyro.sample("x", Autoregressive(self.net), obs=x)
            return sample

        filled = x.masked_fill(missing, 0)
        nothing = torch.zeros_like(missing)
        rest = self.net.condition_on(filled, nothing, wanted=~missing)
        pyro.sample("x", rest, obs=filled)
        return x

    def infer(self, x: Tensor) -> None:
        if self.training:
            self._known()

    def estimate(self, x: Tensor, known: Tensor) -> Tensor:
        r"""Return D / (D - d) times the log-probability of the unknown given the known elements."""
        missing = missing_values(x)
        observed = torch.ones_like(x, dtype=torch.bool) if missing is None else ~missing
        x = cast(x.masked_fill(~observed, 0), weight_of(self.net)).expand(known.shape)
        unknown = (~known).to(x.dtype)
        event = list(range(-len(self.net.event_shape), 0))

        # Missing elements are in no condition and have no score: this is the same mean over the
        # orders of log p(x) of the observed elements.
        theta = self.net.conditionals(x, known & observed)
        log_p = self.net.likelihood.log_prob(theta, x) * unknown * observed

        # D / (D - d), where d elements are known
        weight = self.net.sites / unknown.sum(event)
        return log_p.sum(event) * weight

    def check(self, x: Tensor) -> None:
        missing = missing_values(check_tensor("OrderAgnostic", "x", x))
        super().check(x if missing is None else x.masked_fill(missing, 0))
        Autoregressive(self.net).check_value(x, None if missing is None else ~missing)

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        self.net.initialize(_completed(x))

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


def missing_values(x: Tensor) -> Tensor | None:
    """Return a mask of the missing values of a batch, which are NaN; `None` if there are none."""
    missing = x.isnan()
    return missing if bool(missing.any()) else None


def _completed(x: Tensor) -> Tensor:
    """Return a batch in which observed values of the same element replace the missing values."""
    if missing_values(x) is None:
        return x

    columns = x.flatten(1).clone()
    for column in columns.T:
        missing = column.isnan()
        seen = column[~missing] if not bool(missing.all()) else torch.zeros_like(column)
        column[missing] = seen[torch.arange(int(missing.sum()), device=x.device) % len(seen)]
    return columns.view_as(x)
