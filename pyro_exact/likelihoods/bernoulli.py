"""The likelihood of a bit."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.likelihoods.likelihood import Likelihood


class BernoulliLikelihood(Likelihood):
    r"""The distribution of a bit, whose parameter is the logit. Use it for binary data.

    .. math:: \log p(x \mid \theta) = x \log \sigma(\theta) + (1 - x) \log \sigma(-\theta)

    Shape:
        - theta: (\*sites, 1); x: (\*sites), zeros and ones.

    Example:
        >>> BernoulliLikelihood().log_prob(torch.zeros(3, 1), torch.tensor([0.0, 1.0, 1.0])).exp()
        tensor([0.5000, 0.5000, 0.5000])
    """

    num_params = 1
    levels = 2
    support = constraints.boolean
    values = "values 0 and 1"

    def log_prob(self, theta: Tensor, x: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(theta.squeeze(-1), x, reduction="none")

    def draw(self, theta: Tensor, noise: Tensor) -> Tensor:
        probability = theta.sigmoid()
        drawn = (noise < probability).to(noise.dtype)
        return drawn.add(probability, alpha=0).squeeze(-1)  # NaN stays NaN

    def marginal(self, x: Tensor) -> Tensor:
        # The logit of (ones + 1/2) / (n + 1), which is finite for a site that never changes.
        ones = x.sum(0)
        zeros = len(x) - ones
        return ((ones + 0.5) / (zeros + 0.5)).log().unsqueeze(-1)
