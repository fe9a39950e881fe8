"""The logistic-mixture formula of Flow++, exact far into the tails."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.ops import newton
from pyro_exact.transforms.compiled import compiled
from pyro_exact.transforms.elementwise import Elementwise, tanh_bounded
from pyro_exact.transforms.numerics import at_least_float32

NEAR_BOUND = 0.95  # share of the bound of a log-scale, above which its gradient is small
LEAST_SCALE = "component of the least scale"

Function = Callable[..., tuple[Tensor, Tensor]]


class MixtureCDF(Elementwise):
    r"""Send each element through the cdf of a logistic mixture, then a logit and an affine map.

    Use this formula when the conditional distributions have several modes.

    .. math::
        y = \mathrm{logit}(F(x))\, e^{a} + b, \qquad
        \log|\partial y/\partial x| = \log \frac{F'(x)}{F(x) (1 - F(x))} + a, \qquad
        F(x) = \sum_k \pi_k\, \sigma\big((x - \mu_k)\, e^{-s_k}\big)

    All of it is computed from :math:`\log F`, :math:`\log (1 - F)` and :math:`\log F'`, so it is
    exact far into the tails, where F itself would round to 0 or 1. The parameters are :math:`b`,
    :math:`r` with :math:`a = \tanh r`, the logits of :math:`\pi`, the :math:`\mu_k - c_k` and the
    :math:`r_k` with :math:`s_k = m \tanh(r_k / m)`, in :math:`(-|m|, |m|)`. The constants
    :math:`c_k` are spread evenly, because equal components would always have equal gradients. So
    zero parameters give the identity only to within 0.17, or exactly when ``spread=0``.

    The inverse is exact to rounding for any parameters. It is computed using a guarded Newton
    iteration, see `pyro_exact.ops.newton`. The first and second derivatives are exact.

    Args:
        components: K, the components of the mixture.
        min_log_scale: :math:`m`, the least log-scale of a component, from -20 to 0.
        spread: The :math:`c_k` lie between minus and plus this value, in units of ``x``.
        compiled: If true, the arithmetic is fused via ``torch.compile``: about twice as fast, after
            a minute for the compiler (default false).

    Cost:
        - forward: :math:`O(K)` for each element.
        - inverse: guarded Newton steps, mostly 3 to 7, each
          :math:`O(K)` for each element.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 2 + 3 components).

    Raises:
        ValueError: If there is no component, or the least log-scale is out of range.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, equations 13-15, and the official code
        for the bounds.

    Example:
        >>> formula, x = MixtureCDF(4), torch.tensor([-60.0, 0.0, 60.0])
        >>> y, ladj = formula.forward_and_ladj(x, torch.zeros(3, 14))
        >>> formula.inverse_and_ladj(y, torch.zeros(3, 14))[0]
        tensor([-60.,   0.,  60.])
    """

    offsets: Tensor

    def __init__(
        self,
        components: int = 32,
        min_log_scale: float = -7.0,
        spread: float = 1.0,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        name = "MixtureCDF"
        self.components = components = check_size(name, "components", components, 1, LARGEST_COUNT)
        self.min_log_scale = check_number(name, "min_log_scale", min_log_scale, -20, -1e-6)
        self.spread = spread = check_number(name, "spread", spread, -1e6, 1e6)
        self.compiled = compiled
        self.num_params = 2 + 3 * components

        places = (2 * torch.arange(components) + 1) / components - 1
        offsets = spread * places.to(torch.get_default_dtype())
        self.register_buffer("offsets", offsets, persistent=False)

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        return self._fused(mixture_cdf)(x, theta, self.offsets, self.min_log_scale)

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        shift, log_scale, mixture = unpack(theta, self.offsets, self.min_log_scale)
        u = (y - shift) * (-log_scale).exp()

        # At the least of the components' own quantiles each of them has at most the probability
        # asked for, at the greatest at least that: the root lies between them.
        quantiles = mixture.mean + u.unsqueeze(-1) / mixture.rate
        quantiles = quantiles.detach()
        low = quantiles.amin(-1)
        high = quantiles.amax(-1)

        weight = mixture.log_weight.detach().exp()
        average = (weight * quantiles).sum(-1)
        start = average.clamp(low, high)

        evaluate = partial(
            evaluated,
            self._fused(log_odds),
            u.numel(),
        )
        x, log_slope = newton.root(
            evaluate,
            u,
            mixture,
            (low, high),
            start,
        )

        return x, -log_slope - log_scale

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        _, _, mixture = unpack(theta, self.offsets, self.min_log_scale)
        return {LEAST_SCALE: mixture.log_rate > NEAR_BOUND * -self.min_log_scale}

    def _fused(self, function: Function) -> Function:
        if self.compiled and not torch.compiler.is_compiling():
            return fused(function)

        return function

    def extra_repr(self) -> str:
        return f"{self.components}, min_log_scale={self.min_log_scale}"


def mixture_cdf(
    x: Tensor, theta: Tensor, offsets: Tensor, min_log_scale: float
) -> tuple[Tensor, Tensor]:
    """Return the value of the formula and the log-derivative."""
    shift, log_scale, mixture = unpack(theta, offsets, min_log_scale)
    u, log_slope = log_odds(x, mixture)

    # y = logit(F(x)) e^a + b
    y = u * log_scale.exp() + shift

    return y, log_slope + log_scale


class Mixture(NamedTuple):
    """A mixture of logistics; each of shape (*shape of x, K). A rate is the inverse of a scale."""

    log_weight: Tensor
    mean: Tensor
    rate: Tensor
    log_rate: Tensor


def unpack(
    theta: Tensor,
    offsets: Tensor,
    min_log_scale: float,
) -> tuple[Tensor, Tensor, Mixture]:
    """Return the shift and the log-scale of the affine part, and the mixture."""
    k = len(offsets)
    shift, raw, logits, means, log_scales = theta.split([1, 1, k, k, k], dim=-1)
    log_rate = tanh_bounded(log_scales, min_log_scale, sign=-1)
    mixture = Mixture(
        logits.log_softmax(-1),
        means + offsets.to(theta),
        log_rate.exp(),
        log_rate,
    )
    log_scale = tanh_bounded(raw.squeeze(-1), 1.0)

    return shift.squeeze(-1), log_scale, mixture


def log_odds(x: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    r"""Return logit(F(x)) and the log-derivative, :math:`\log F' - \log F - \log (1 - F)`.

    As :math:`\sigma(z) = e^{\min(z, 0)} \sigma(|z|)`, a single sigmoid for each component is used
    in all three sums, without underflow.
    """
    log_weight = mixture.log_weight
    z = (x.unsqueeze(-1) - mixture.mean) * mixture.rate

    # min(z, 0) and max(z, 0), written so that at 0 both have the derivatives from the same side
    below = z.clamp(max=0)
    above = z - below
    distance = above - below
    bulk = distance.sigmoid()

    # F = sum pi sigmoid(z), 1 - F = sum pi sigmoid(-z), F' = sum pi e^{-s} sigmoid(z) sigmoid(-z)
    log_cdf = log_sum(log_weight + below, bulk)
    log_rest = log_sum(log_weight - above, bulk)
    log_peak = log_weight + mixture.log_rate
    log_density = log_sum(log_peak - distance, bulk.square())

    return log_cdf - log_rest, log_density - log_cdf - log_rest


def log_sum(exponent: Tensor, factor: Tensor) -> Tensor:
    """Return the logarithm of the sum of factor * exp(exponent) over the last dimension."""
    greatest = exponent.detach().amax(-1, keepdim=True)
    terms = factor * (exponent - greatest).exp()
    return terms.sum(-1).log() + greatest.squeeze(-1)


def evaluated(
    fast: Function,
    count: int,
    x: Tensor,
    *parts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return `log_odds`, using a compiled function when all ``count`` elements are given."""
    together = x.dim() == 1 and len(x) == count and not torch.is_grad_enabled()
    function = fast if together else log_odds
    return function(x, Mixture(*parts))


@cache
def fused(function: Function) -> Function:
    """Return the function compiled, once for all layers."""
    return compiled(function)
