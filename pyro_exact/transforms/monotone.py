"""The base class of formulas without a closed inverse."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from pyro_exact.ops import newton
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.numerics import at_least_float32

Parts = tuple[Tensor, ...]


class Monotone(Elementwise):
    r"""Base class of the formulas :math:`y = f(x; \theta)` without a closed inverse.

    The inverse is computed using a guarded Newton iteration.

    A formula must split ``theta`` into parts, evaluate :math:`f` and :math:`\log f'` using these
    parts, and return bounds of the root. All of it is computed in float32 or better. See
    `pyro_exact.ops.newton` for the iteration, and for the derivatives of the inverse, which are
    exact to second order.
    """

    @abstractmethod
    def unpack(self, theta: Tensor) -> Parts:
        r"""Return the parts of ``theta``, each of shape (\*shape of x, \*any)."""

    @abstractmethod
    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`f(x)` and :math:`\log f'(x)`."""

    @abstractmethod
    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Return a lower and an upper bound of the root, which may be infinite."""

    def start(self, low: Tensor, high: Tensor, y: Tensor, *parts: Tensor) -> Tensor:
        """Return the first guess of the root: by default the middle of the bracket."""
        return (low + high) / 2

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        return self.evaluate(x, *self.unpack(theta))

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        parts = self.unpack(theta)

        with torch.no_grad():
            low, high = self.bracket(y, *parts)
            start = self.start(low, high, y, *parts)

        x, log_slope = newton.root(self.evaluate, y, parts, (low, high), start)

        return x, -log_slope
