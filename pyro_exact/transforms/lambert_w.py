"""The Lambert-W formula: heavy tails made normal."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_number
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.numerics import at_least_float32

MOST = 64.0  # the largest logarithm of a stretch: beyond it the tail goes on in a straight line


class LambertW(Elementwise):
    r"""Pull in heavy tails, by a different amount on each side. Use it for heavy-tailed data.

    The inverse makes heavy tails of normal tails.

    .. math::
        y = x\, e^{-W(\delta x^2) / 2}, \qquad x = y\, e^{\delta y^2 / 2}, \qquad
        \log|\partial y/\partial x| = -\tfrac12 W(\delta x^2) - \log (1 + W(\delta x^2))

    :math:`W` is Lambert's function, the inverse of :math:`w e^w`, and :math:`\delta` the tail
    parameter of the side of ``x``: of normal ``y``, ``x`` has moments below :math:`1 / \delta`. The
    parameters are :math:`r_-, r_+` with :math:`\delta = \delta_\max\, \sigma(r - 4)`, so that
    zero parameters are close to the identity. Where the stretch would exceed :math:`e^{64}` it
    stays at that, and ``x`` finite.

    This is the direction from data to noise; the ``LambertWTail`` of TensorFlow Probability is the
    inverse.

    Args:
        max_tail: :math:`\delta_\max`, at most 2. Below 1/2 the variance is finite.

    Cost:
        - forward: Lambert's function in six steps for each element.
        - inverse: closed form, an exponential for each element.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 2).

    Raises:
        ValueError: If ``max_tail`` is out of range.

    Reference:
        Goerg (2015), The Lambert Way to Gaussianize Heavy-Tailed Data, equations 6-9.

    Example:
        >>> formula, x = LambertW(), torch.tensor([-1e6, 0.0, 1.0])
        >>> y, ladj = formula.forward_and_ladj(x, torch.zeros(3, 2))
        >>> torch.allclose(formula.inverse_and_ladj(y, torch.zeros(3, 2))[0], x)
        True
    """

    num_params = 2

    def __init__(self, max_tail: float = 1.0) -> None:
        super().__init__()
        self.max_tail = check_number("LambertW", "max_tail", max_tail, 1e-6, 2)

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        delta = self._tail(x, theta)
        w = lambert_w(delta * x.square())
        stretched = w < 2 * MOST

        # y = x e^{-w / 2}
        log_scale = torch.where(stretched, -w / 2, -MOST)
        y = x * log_scale.exp()
        ladj = torch.where(stretched, -w / 2 - w.log1p(), -MOST)

        return y, ladj

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        delta = self._tail(y, theta)
        w = delta * y.square()
        stretched = w < 2 * MOST

        # x = y e^{delta y^2 / 2}
        log_scale = torch.where(stretched, w / 2, MOST)
        x = y * log_scale.exp()
        ladj = torch.where(stretched, w / 2 + w.log1p(), MOST)

        return x, ladj

    def _tail(self, x: Tensor, theta: Tensor) -> Tensor:
        # delta = delta_max sigmoid(r - 4)
        left, right = theta.unbind(-1)
        raw = torch.where(x < 0, left, right)
        return self.max_tail * (raw - 4).sigmoid()

    def extra_repr(self) -> str:
        return f"max_tail={self.max_tail}"


def lambert_w(q: Tensor) -> Tensor:
    r"""Return the :math:`w` with :math:`w e^w = q`, for q of at least 0.

    The iteration is that of Iacono and Boyd (2017), New approximations to the principal real-valued
    branch of the Lambert W-function, equation 9: quadratic, and from this start exact to rounding
    in four steps. Two Newton steps, which are part of the graph, make the derivatives exact to
    second order.
    """
    with torch.no_grad():
        limits = torch.finfo(q.dtype)
        log_q = q.clamp(min=limits.tiny).log()
        growth = q.log1p()
        w = (q / (1 + growth / 2)).log1p()

        # w' = w / (1 + w) (1 + log q - log w)
        for _ in range(4):
            safe = w.clamp(min=limits.tiny)
            excess = 1 + log_q - safe.log()
            w = safe / (1 + safe) * excess

        w = torch.where(q < limits.eps, q, w)

    for _ in range(2):
        # A step for w = q e^{-w}, which neither overflows nor divides by zero.
        error = q * (-w).exp() - w
        w = w + error / (1 + w)

    return w
