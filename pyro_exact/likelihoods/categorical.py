"""The likelihood of an element with several levels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.checks import check_size
from pyro_exact.likelihoods.likelihood import Likelihood


class CategoricalLikelihood(Likelihood):
    r"""The distribution of integers 0, ..., L - 1, using a logit for each. Use it for levels.

    .. math:: \log p(x \mid \theta) = \theta_x - \log \sum_k e^{\theta_k}

    This likelihood does not use the order of the levels; `DiscretizedLogisticMixture` does.

    Args:
        levels: Levels of an element, L; for example 256 for 8-bit pixels.

    Shape:
        - theta: (\*sites, levels); x: (\*sites), integers.

    Raises:
        ValueError: If there are fewer than two levels.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        2.2.

    Example:
        >>> x = torch.tensor([0.0, 1.0, 3.0])
        >>> CategoricalLikelihood(4).log_prob(torch.zeros(3, 4), x).exp()
        tensor([0.2500, 0.2500, 0.2500])
    """

    levels: int

    def __init__(self, levels: int) -> None:
        levels = check_size("CategoricalLikelihood", "levels", levels, least=2)
        self.num_params = self.levels = levels
        self.support = constraints.integer_interval(0, levels - 1)
        self.values = f"integers from 0 to {levels - 1}"

    def log_prob(
        self,
        theta: Tensor,
        x: Tensor,
    ) -> Tensor:
        possible = self.support.check(x)
        level = x.where(possible, 0).long()
        loss = F.cross_entropy(
            theta.reshape(-1, self.num_params), level.flatten(), reduction="none"
        )

        # Values that are no levels have probability zero, and NaN stays NaN.
        log_p = -loss.view(x.shape)
        return log_p.where(possible, -torch.inf).where(~x.isnan(), torch.nan)

    def draw(
        self,
        theta: Tensor,
        noise: Tensor,
    ) -> Tensor:
        cumulative = theta.softmax(-1).cumsum(-1)

        # The noise is scaled by the sum as it was rounded, so that a level of probability zero is
        # never drawn, not even the last one.
        total = cumulative[..., -1:]
        below = cumulative[..., :-1] <= noise * total
        drawn = below.sum(-1).to(noise.dtype)
        return drawn.add(total.squeeze(-1), alpha=0)  # NaN stays NaN

    def level_probs(
        self,
        theta: Tensor,
        earlier: Tensor,
    ) -> Tensor:
        return theta.softmax(-1)

    def marginal(self, x: Tensor) -> Tensor:
        # log of (count + 1/2) / (n + L/2), which is finite for a level that never occurs
        counts = torch.stack([(x == level).sum(0) for level in range(self.levels)], dim=-1)
        frequencies = (counts + 0.5) / (len(x) + 0.5 * self.levels)
        return frequencies.log().to(x.dtype)
