"""The radial flow: contraction or expansion around one point."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.nn.parameters import Parameters
from pyro_exact.transforms.act_norm import channels_fit
from pyro_exact.transforms.bijection import Bijection, Shape

FLOOR = 1e-3  # of alpha, and of alpha + beta: what the distance from the centre is divided by


class Radial(Bijection):
    r"""Move each point towards a centre, or away from it.

    .. math:: y = x + \frac{\beta}{\alpha + r} (x - x_0), \qquad r = \|x - x_0\|

    .. math::
        \log|\det \partial y/\partial x| = (D - 1) \log\left(1 + \frac{\beta}{\alpha + r}\right)
        + \log\left(1 + \frac{\alpha \beta}{(\alpha + r)^2}\right)

    With :math:`\alpha = \mathrm{softplus}(\cdot) + 0.001` and :math:`\alpha + \beta` likewise it is invertible, and
    finite at the centre. The distance :math:`R = \|y - x_0\|` determines :math:`r` in closed form: the positive root of
    :math:`r^2 + (\alpha + \beta - R)\, r - \alpha R = 0`.

    Args:
        dim: Dimension of the vectors.
        context_dim: Size of the context vector that :math:`x_0, \alpha, \beta` may depend on.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, the root of a quadratic, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: On another dimension.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 14 and appendix A.2.

    Example:
        >>> layer = Radial(4)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(self, dim: int, context_dim: int | None = None) -> None:
        super().__init__(1, None if context_dim is None else (context_dim,))
        if dim < 1:
            raise ValueError(f"Radial expects a positive dim; got {dim}.")
        self.dim = dim
        bound = dim**-0.5
        sizes = {"center": dim, "raw_alpha": 1, "raw_sum": 1}
        self.theta = Parameters({k: torch.empty(n).uniform_(-bound, bound) for k, n in sizes.items()}, context_dim)

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        center, alpha, total = self._theta(context)
        offset = x - center
        r = _norm(offset)
        return x + (total - alpha) / (alpha + r) * offset, self._ladj(r, alpha, total)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        center, alpha, total = self._theta(context)
        offset = y - center
        distance = _norm(offset)
        # The root is (p + sqrt(p^2 + 4 alpha R)) / 2; for negative p its conjugate form, in which nothing cancels.
        p = distance - total
        larger = (torch.where(p < 0, -p, p) + (p * p + 4 * alpha * distance).sqrt()) / 2
        r = torch.where(p < 0, alpha * distance / larger, larger)
        return y - (total - alpha) / (total + r) * offset, -self._ladj(r, alpha, total)

    def _theta(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centre, alpha and alpha + beta."""
        center, raw_alpha, raw_sum = self.theta(context)
        return center, F.softplus(raw_alpha) + FLOOR, F.softplus(raw_sum) + FLOOR

    def _ladj(self, r: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
        beta, below = total - alpha, alpha + r
        across = _log_ratio(total + r, below, beta / below)
        along = _log_ratio(r * (r + 2 * alpha) + alpha * total, below * below, alpha * beta / (below * below))
        return ((self.dim - 1) * across + along).squeeze(-1)

    def _fitting(self, shape: Shape, event_dim: int) -> torch.Size:
        return channels_fit(self, super()._fitting(shape, event_dim), self.dim, event_dim)

    def extra_repr(self) -> str:
        return f"{self.dim}"


def _norm(x: Tensor) -> Tensor:
    """Return the length of each vector; its gradient at zero is zero, not NaN."""
    return ((x * x).sum(-1, keepdim=True) + torch.finfo(x.dtype).tiny).sqrt()


def _log_ratio(numerator: Tensor, denominator: Tensor, excess: Tensor) -> Tensor:
    """Return log(numerator / denominator) = log1p(excess), by whichever is accurate: small excess, or near -1."""
    small = excess > -0.5
    return torch.where(small, torch.log1p(excess.clamp_min(-0.5)), (numerator / denominator).log())
