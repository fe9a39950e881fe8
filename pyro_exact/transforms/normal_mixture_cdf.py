"""The normal-mixture formula of Gaussianization, exact far into the tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.transforms.elementwise import tanh_bounded
from pyro_exact.transforms.monotone import Monotone, Parts

LOG_ROOT_2_PI = math.log(2 * math.pi) / 2
FAR = 6.0  # standard deviations below the mean, from where a continued fraction takes over


class NormalMixtureCDF(Monotone):
    r"""Send each element through the cdf of a normal mixture, and through the normal quantile.

    Use it as the formula of Gaussianization, which makes a standard normal of any mixture.

    .. math::
        y = \Phi^{-1}(F(x)), \qquad
        \log|\partial y/\partial x| = \log \frac{F'(x)}{\phi(y)}, \qquad
        F(x) = \sum_k \pi_k\, \Phi\big((x - \mu_k)\, e^{-s_k}\big)

    All of it is computed from :math:`\log F` below the median and from :math:`\log (1 - F)` above
    it, so it is exact far into the tails, where :math:`F` itself rounds to 0 or 1. The parameters
    are the logits of :math:`\pi`, the :math:`\mu_k - c_k`, and the :math:`r_k` with :math:`s_k = m
    \tanh(r_k / m)`. The constants :math:`c_k` are spread evenly, because equal components would
    always have equal gradients; so zero parameters give the identity only approximately, or exactly
    with ``spread=0``.

    Args:
        components: :math:`K`, the components of the mixture.
        max_log_scale: :math:`m`, the largest log-scale, in absolute value.
        spread: The :math:`c_k` lie between minus and plus this value, in units of ``x``.

    Cost:
        - forward: :math:`O(K)` for each element.
        - inverse: guarded Newton steps between the quantiles of the components are used, each
          :math:`O(K)` for each element.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 3 components).

    Raises:
        ValueError: If there is no component, or an argument is out of range.

    Reference:
        Chen and Gopinath (2001), Gaussianization, section 3; Meng, Song, Song and Ermon (2020),
        Gaussianization Flows, equation 7.

    Example:
        >>> formula, x = NormalMixtureCDF(4), torch.tensor([-100.0, 0.5, 100.0])
        >>> y, ladj = formula.forward_and_ladj(x, torch.zeros(3, 12))
        >>> torch.allclose(formula.inverse_and_ladj(y, torch.zeros(3, 12))[0], x)
        True
    """

    offsets: Tensor

    def __init__(
        self,
        components: int = 8,
        max_log_scale: float = 5.0,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        name = "NormalMixtureCDF"
        self.components = components = check_size(name, "components", components, 1, LARGEST_COUNT)
        self.max_log_scale = check_number(name, "max_log_scale", max_log_scale, 1e-3, 20)
        self.spread = check_number(name, "spread", spread, -1e6, 1e6)
        self.num_params = 3 * components

        places = (2 * torch.arange(components) + 1) / components - 1
        offsets = (places * self.spread).to(torch.get_default_dtype())
        self.register_buffer("offsets", offsets, persistent=False)

    def unpack(self, theta: Tensor) -> Parts:
        r"""Return :math:`\log \pi`, :math:`\mu`, and the logarithm of the inverse scales."""
        logits, raw_mean, raw_scale = theta.split([self.components] * 3, dim=-1)

        log_weight = logits.log_softmax(-1)
        mean = raw_mean + self.offsets.to(theta)
        log_rate = tanh_bounded(raw_scale, self.max_log_scale, sign=-1)

        return log_weight, mean, log_rate

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        log_weight, mean, log_rate = parts
        z = (x.unsqueeze(-1) - mean) * log_rate.exp()

        # Above the median everything is mirrored: -y is the quantile of 1 - F.
        lower = self._below_median(z.detach(), log_weight.detach())
        z = torch.where(lower.unsqueeze(-1), z, -z)

        # log F = log sum pi Phi(z)
        log_phi, hazard = log_cdf_and_hazard(z)
        log_terms = log_weight + log_phi
        log_cdf = log_terms.logsumexp(-1)
        y = lower_quantile(log_cdf)

        # With shares q = pi Phi(z) / F, (log F)' = sum q phi(z) / Phi(z) e^{-s}. From this nothing
        # as large as log F has to be subtracted.
        log_share = log_terms.log_softmax(-1)
        log_rise = (log_share + hazard + log_rate).logsumexp(-1)

        # (log F)' = phi(y) / Phi(y) dy/dx
        _, hazard_at_y = log_cdf_and_hazard(y)

        return torch.where(lower, y, -y), log_rise - hazard_at_y

    @staticmethod
    def _below_median(z: Tensor, log_weight: Tensor) -> Tensor:
        """Return whether F is less than 1/2."""
        terms = log_weight.exp() * torch.special.ndtr(z)
        return terms.sum(-1) < 0.5

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the greatest of the quantiles of the components."""
        _, mean, log_rate = parts
        quantiles = mean + y.unsqueeze(-1) * (-log_rate).exp()
        return quantiles.amin(-1), quantiles.amax(-1)

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the mean of the quantiles of the components."""
        log_weight, mean, log_rate = parts
        quantiles = mean + y.unsqueeze(-1) * (-log_rate).exp()
        average = (log_weight.exp() * quantiles).sum(-1)
        return average.clamp(low, high)

    def extra_repr(self) -> str:
        return f"{self.components}, max_log_scale={self.max_log_scale}"


def log_cdf_and_hazard(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\log \Phi(z)`, and the log-hazard :math:`\log \phi(z) - \log \Phi(z)`.

    Far below the mean both follow from Laplace's continued fraction, for :math:`s = -z`,

    .. math:: \frac{\phi(z)}{\Phi(z)} = s + \frac{1}{s + \frac{2}{s + \frac{3}{s + \dots}}}

    in which nothing cancels, neither in a value nor in a derivative.
    """
    # These levels are exact to rounding from FAR on. The gradient of torch.special.log_ndtr divides
    # by a function that overflows above the limit.
    levels, limit = (6, 13) if z.dtype == torch.float32 else (14, 37)
    far = (-z).clamp(min=FAR)
    near = z.clamp(-FAR, limit)

    # The last level, t = s + (n + 1) / t', with t' taken for t itself.
    fraction = far / 2 + (far.square() / 4 + levels + 1).sqrt()
    for level in range(levels, 0, -1):
        fraction = far + level / fraction

    # log phi(z) = -z^2 / 2 - log(2 pi) / 2, and log Phi(z) = log phi(z) - log hazard
    tail_hazard = fraction.log()
    log_phi = -far.square() / 2 - LOG_ROOT_2_PI
    tail = log_phi - tail_hazard

    bulk = torch.special.log_ndtr(near)
    log_phi = -z.clamp(min=-FAR).square() / 2 - LOG_ROOT_2_PI
    bulk_hazard = log_phi - bulk

    in_tail = z < -FAR
    log_cdf = torch.where(in_tail, tail, bulk)
    log_hazard = torch.where(in_tail, tail_hazard, bulk_hazard)

    return log_cdf, log_hazard


def lower_quantile(log_p: Tensor) -> Tensor:
    r"""Return the :math:`y` with :math:`\log \Phi(y) = \log p`, for p of at most about 1/2.

    :math:`\log \Phi` is concave, so Newton's method converges from any start, and from below
    without overshooting. The last two steps are part of the graph: they make the derivatives exact
    to second order.
    """
    with torch.no_grad():
        # For small p, y² + log(2 pi y²) is close to -2 log p.
        square = (-2 * log_p).clamp(min=1)
        square = square - (2 * math.pi * square).log()
        far = -square.clamp(min=1).sqrt()
        near = torch.special.ndtri(log_p.exp())
        y = torch.where(log_p > -50, near, far)
        y = _newton(y, log_p)

    for _ in range(2):
        y = _newton(y, log_p)

    return y


def _newton(y: Tensor, log_p: Tensor) -> Tensor:
    # A Newton step for log Phi(y) = log p.
    log_cdf, log_slope = log_cdf_and_hazard(y)
    error = log_p - log_cdf
    return y + error * (-log_slope).exp()
