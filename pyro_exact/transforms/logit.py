"""From pixel levels to the real line."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.checks import check_number, check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_EVENT_DIM, of_event
from pyro_exact.transforms.parts import sum_event


class Logit(Bijection):
    r"""Map dequantised pixels in [0, levels] to the real line.

    Use it as the first layer of a flow of images.

    .. math::
        p = \alpha + (1 - 2\alpha)\, x / \mathrm{levels}, \qquad
        y = \log p - \log(1 - p)

    .. math::
        \log|\det \partial y/\partial x| = \sum \log(1 - 2\alpha) - \log \mathrm{levels}
        - \log p - \log(1 - p)

    The margin :math:`\alpha` keeps :math:`y` finite at the ends; when it is small (0.001), pixels
    at the ends dominate the density. Both logarithms are taken in float32 or better, and the ladj
    of the inverse is computed from ``y``.

    The ``domain`` is the interval of the ``x`` whose :math:`p` lies in [0, 1], as that of the
    inverse of torch's `SigmoidTransform`; so it is the support of a distribution that ends with the
    inverse. Outside, ``y`` is NaN, as for `torch.logit`, because a check of all elements would make
    every call wait for the device.

    Args:
        levels: Pixel levels; 1 for elements in [0, 1].
        margin: :math:`\alpha`, from 0 to 0.49.
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.

    Cost:
        - forward: two logarithms for each element.
        - inverse: closed form, a sigmoid for each element.

    Shape:
        - x, y: (\*batch, \*event); ladj: (\*batch).

    Raises:
        ValueError: If ``levels`` or ``margin`` is out of range.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Real NVP, section 4.1.

    Example:
        >>> Logit(256)(torch.tensor([[[0.0, 128.0, 256.0]]]))
        tensor([[[-2.9444,  0.0000,  2.9444]]])
    """

    def __init__(
        self,
        levels: int = 256,
        margin: float = 0.05,
        event_dim: int = 3,
    ) -> None:
        event_dim = check_size("Logit", "event_dim", event_dim, least=0, most=LARGEST_EVENT_DIM)
        super().__init__([None] * event_dim)
        self.levels = check_size("Logit", "levels", levels)
        self.margin = check_number("Logit", "margin", margin, 0, 0.49)
        beyond = self.margin / (1 - 2 * self.margin) * self.levels
        self.ends = -beyond, self.levels + beyond  # where p is 0 and 1
        self.domain = of_event(constraints.interval(*self.ends), event_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))

        # 1 - p from the complement of x: subtracted from 1, p would lose it next to the last level.
        log_p, log_q = (
            (self.margin + (1 - 2 * self.margin) * (part / self.levels)).log()
            for part in (x, self.levels - x)
        )
        log_slope = self._log_slope - log_p - log_q
        return log_p - log_q, sum_event(log_slope, self.domain.event_dim)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = y.to(torch.promote_types(y.dtype, torch.float32))
        log_p = F.logsigmoid(y)
        log_q = F.logsigmoid(-y)
        log_slope = log_p + log_q - self._log_slope

        # x = levels (p - alpha) / (1 - 2 alpha)
        share = (y.sigmoid() - self.margin) / (1 - 2 * self.margin)
        x = share * self.levels

        return x.clamp(*self.ends), sum_event(log_slope, self.domain.event_dim)

    @property
    def _log_slope(self) -> float:
        return math.log(1 - 2 * self.margin) - math.log(self.levels)

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"{self.levels}, margin={self.margin}, event_dim={self.domain.event_dim}"
