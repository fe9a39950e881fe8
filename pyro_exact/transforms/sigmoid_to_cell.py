"""From the real line to the interval of a pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.checks import check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.boundary import Shape
from pyro_exact.transforms.numerics import LARGEST_EVENT_DIM, of_event
from pyro_exact.transforms.parts import sum_event


class SigmoidToCell(Bijection):
    r"""Map each element to [c, c + 1), where the context c holds pixel levels.

    Without a context, the interval is [0, 1). Use it as the last layer of learned dequantisation
    noise.

    .. math::
        y = c + \sigma(x), \qquad
        \log|\det \partial y/\partial x| = \sum \log\sigma(x) + \log\sigma(-x)

    For any input, the floor of ``y`` is c. In float32 :math:`c + \sigma(x)` can round up to c + 1,
    which would be another image; such an element is replaced by the largest value below. When a
    context is bound, the interval is the ``codomain`` of the layer, and so the support of a
    distribution that ends with it. The inverse of an element outside is NaN.

    Args:
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.
        context_shape: Shape of an event, when pixel levels are the context; `None` (default) for
            the interval [0, 1).

    Cost:
        - forward: a sigmoid for each element.
        - inverse: closed form, two logarithms for each element. In float32 it keeps about four
          digits of the place in the interval: beside a level of 255 no more were stored.

    Shape:
        - x, y: (\*batch, \*event); context: (\*batch, \*event), the pixel levels; ladj: (\*batch).

    Raises:
        ValueError: If the event does not have the shape of the context.

    Reference:
        Ho, Chen, Srinivas, Duan and Abbeel (2019), Flow++, section 3.1 and official code
        (`Dequant`).

    Example:
        >>> pixels = torch.tensor([[[0.0, 254.0]]])
        >>> SigmoidToCell(context_shape=(1, 1, 2)).condition(pixels)(torch.zeros(1, 1, 2))
        tensor([[[  0.5000, 254.5000]]])
    """

    def __init__(self, event_dim: int = 3, context_shape: Shape | None = None) -> None:
        event_dim = check_size(
            "SigmoidToCell",
            "event_dim",
            event_dim,
            least=0,
            most=LARGEST_EVENT_DIM,
        )
        super().__init__(
            [None] * event_dim if context_shape is None else context_shape,
            context_dim=context_shape,
        )
        if context_shape is None:
            self.codomain = of_event(constraints.half_open_interval(0.0, 1.0), event_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x, low = self._in_full_precision(x, context)
        with torch.no_grad():
            greatest = torch.nextafter(low + 1, low)

        # y = c + sigmoid(x), below c + 1
        y = torch.minimum(low + x.sigmoid(), greatest)
        log_slope = F.logsigmoid(x) + F.logsigmoid(-x)

        return y, sum_event(log_slope, self.domain.event_dim)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, low = self._in_full_precision(y, context)
        u = y - low

        # The lower end belongs to the interval.
        u = torch.where(u == 0, torch.finfo(u.dtype).tiny, u)
        log_u = u.log()
        log_rest = torch.log1p(-u)

        log_slope = log_u + log_rest

        return log_u - log_rest, -sum_event(log_slope, self.domain.event_dim)

    def condition(self, context: Tensor) -> Bijection:
        bound = super().condition(context)
        if self.context_shape is not None:
            bound.codomain = of_event(
                constraints.half_open_interval(context, context + 1),
                self.domain.event_dim,
            )

        return bound

    def _in_full_precision(
        self,
        x: Tensor,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the elements and the lower ends of the intervals, in float32 or better."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        if context is None:
            return x, torch.zeros((), dtype=x.dtype, device=x.device)

        return x, context.to(x)

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"event_dim={self.domain.event_dim}, context_shape={self.context_shape}"
