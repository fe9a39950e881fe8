"""The radial flow: contraction or expansion around a point."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.transforms.bijection import Bijection

FLOOR = 1e-3  # of alpha, and of alpha + beta: what the distance from the centre is divided by


class Radial(Bijection):
    r"""Move each point towards a centre, or away from it. Use this layer for simple guides.

    .. math:: y = x + \frac{\beta}{\alpha + r} (x - x_0), \qquad r = \|x - x_0\|

    .. math::
        \log|\det \partial y/\partial x| = (D - 1) \log\left(1 + \frac{\beta}{\alpha + r}\right)
        + \log\left(1 + \frac{\alpha \beta}{(\alpha + r)^2}\right)

    With :math:`\alpha = \mathrm{softplus}(\cdot) + 0.001` and :math:`\alpha + \beta` likewise it is
    invertible, and finite at the centre. The distance :math:`R = \|y - x_0\|` determines :math:`r`
    in closed form: the positive root of :math:`r^2 + (\alpha + \beta - R)\, r - \alpha R = 0`.

    Args:
        dim: Dimension of the vectors.
        context_dim: Size of an optional context vector, used to compute :math:`x_0, \alpha, \beta`.
        layers: Maps of this type in a row, each with different :math:`x_0, \alpha, \beta` (default
            1); see `Planar`.

    Cost:
        - forward: :math:`O(D)`, times ``layers``.
        - inverse: closed form, the root of a quadratic, :math:`O(D)`, times ``layers``.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension, or ``layers`` is not positive.

    Reference:
        Rezende and Mohamed (2015), Variational Inference with Normalizing Flows, equation 14 and
        appendix A.2.

    Example:
        >>> layer = Radial(4)
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        dim: int,
        context_dim: int | None = None,
        layers: int = 1,
    ) -> None:
        dim = check_size("Radial", "dim", dim)
        layers = check_size("Radial", "layers", layers, most=LARGEST_COUNT)
        super().__init__((dim,), context_dim=context_dim)
        self.dim = dim
        self.layers = layers
        bound = dim**-0.5
        shapes = {
            "center": (layers, dim),
            "raw_alpha": (layers,),
            "raw_sum": (layers,),
        }
        self.theta = Parameters(
            {k: torch.empty(s).uniform_(-bound, bound) for k, s in shapes.items()},
            context_dim,
        )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        center, alpha, total = self._theta(context)
        distances = []
        maps = zip(
            center.unbind(-2),
            alpha.split(1, -1),
            total.split(1, -1),
            strict=True,
        )
        for x_0, alpha_k, total_k in maps:
            r = _norm(x - x_0)
            below = alpha_k + r

            # x_0 + (1 + beta / (alpha + r)) (x - x_0)
            excess = (total_k - alpha_k) / below
            factor = (total_k + r) / below
            x = _scaled(x, x_0, excess, factor)
            distances.append(r)

        r = torch.cat(distances, -1)
        return x, self._ladj(r, alpha, total)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        center, alpha, total = self._theta(context)
        distances = []
        for k in reversed(range(self.layers)):
            x_0 = center[..., k, :]
            alpha_k = alpha[..., k, None]
            total_k = total[..., k, None]
            r = _root(_norm(y - x_0), alpha_k, total_k)

            # x_0 + (1 - beta / (alpha + beta + r)) (y - x_0)
            above = total_k + r
            excess = (alpha_k - total_k) / above
            factor = (alpha_k + r) / above
            y = _scaled(y, x_0, excess, factor)
            distances.append(r)

        r = torch.cat(distances[::-1], -1)
        return y, -self._ladj(r, alpha, total)

    def _theta(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centres (*batch, layers, dim), and alpha and alpha + beta (*batch, layers)."""
        center, raw_alpha, raw_sum = self.theta(context)
        return (
            center,
            F.softplus(raw_alpha) + FLOOR,
            F.softplus(raw_sum) + FLOOR,
        )

    def _ladj(self, r: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
        beta = total - alpha
        below = alpha + r

        # across: log(1 + beta / (alpha + r)); along: log(1 + alpha beta / (alpha + r)^2)
        across = _log_ratio(total + r, below, beta / below)
        square = below * below
        along = _log_ratio(
            r * (r + 2 * alpha) + alpha * total,
            square,
            alpha * beta / square,
        )

        return ((self.dim - 1) * across + along).sum(-1)

    def extra_repr(self) -> str:
        return f"{self.dim}, layers={self.layers}"


def _norm(x: Tensor) -> Tensor:
    """Return the length of each vector, with a gradient of zero at zero."""
    square = (x * x).sum(-1, keepdim=True)
    tiny = torch.finfo(x.dtype).tiny
    return (square + tiny).sqrt()


def _scaled(x: Tensor, center: Tensor, excess: Tensor, factor: Tensor) -> Tensor:
    """Return centre + factor * (x - centre), where factor = 1 + excess, without cancellation."""
    offset = x - center
    from_x = x + excess * offset
    from_center = center + factor * offset
    return torch.where(excess > -0.5, from_x, from_center)


def _root(distance: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """Return the r that the distance R of ``y`` from the centre determines."""
    # It is (p + sqrt(p^2 + 4 alpha R)) / 2; for negative p its conjugate form, in which nothing
    # cancels.
    p = distance - total
    root = (p * p + 4 * alpha * distance).sqrt()
    larger = (torch.where(p < 0, -p, p) + root) / 2
    return torch.where(p < 0, alpha * distance / larger, larger)


def _log_ratio(numerator: Tensor, denominator: Tensor, excess: Tensor) -> Tensor:
    """Return log(numerator / denominator) = log1p(excess), using the more accurate form."""
    small = excess > -0.5
    return torch.where(
        small,
        torch.log1p(excess.clamp_min(-0.5)),
        (numerator / denominator).log(),
    )
