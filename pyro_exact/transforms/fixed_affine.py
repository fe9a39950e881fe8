"""A fixed scale and shift, for example from pixel levels to the range that a network expects."""

from __future__ import annotations

import math

from torch import Tensor

from pyro_exact.checks import check_number, check_size
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_EVENT_DIM

# Of a scale and of the inverse: with either, the products of float32 stay finite.
LARGEST_SCALE = 1e27


class FixedAffine(Bijection):
    r"""Scale and shift every element by two constants. Use it to change units.

    .. math:: y = a x + b, \qquad \log|\det \partial y/\partial x| = D \log|a|

    Using this layer, the change of units is part of the density. For example, a flow of dequantised
    8-bit images in pixel levels should begin with ``FixedAffine(1 / 256, -0.5)``; then :math:`D
    \log 256` must not be added by hand.

    Args:
        scale: :math:`a`, not zero.
        shift: :math:`b`.
        event_dim: Dimensions of an event: 1 for a vector, 3 for an image.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - x, y: (\*batch, \*event); ladj: (\*batch).

    Raises:
        ValueError: If the scale is zero, or the scale or the shift is not finite.

    Example:
        >>> FixedAffine(1 / 256, -0.5)(torch.tensor([[[0.0, 128.0]]]))
        tensor([[[-0.5000,  0.0000]]])
    """

    def __init__(self, scale: float, shift: float = 0.0, event_dim: int = 3) -> None:
        event_dim = check_size(
            "FixedAffine",
            "event_dim",
            event_dim,
            least=0,
            most=LARGEST_EVENT_DIM,
        )
        super().__init__([None] * event_dim)
        self.scale = check_number("FixedAffine", "scale", scale, -LARGEST_SCALE, LARGEST_SCALE)
        self.shift = check_number("FixedAffine", "shift", shift)
        if abs(self.scale) < 1 / LARGEST_SCALE:
            raise ValueError(
                f"FixedAffine expects a scale that is not 0 in float32; got {scale}. Choose a "
                f"larger one."
            )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return x * self.scale + self.shift, self._ladj(x)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.shift) / self.scale, -self._ladj(y)

    def _ladj(self, x: Tensor) -> Tensor:
        cut = x.dim() - self.domain.event_dim
        elements = math.prod(x.shape[cut:])
        log_scale = math.log(abs(self.scale))
        return x.new_full(x.shape[:cut], elements * log_scale)

    @property
    def sign(self) -> int:
        return 1 if self.scale > 0 else -1

    def extra_repr(self) -> str:
        return f"{self.scale}, {self.shift}, event_dim={self.domain.event_dim}"
