"""The base class of formulas, which are used by coupling and autoregressive layers."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from pyro_exact.nn.abstract import AbstractModuleMeta
from pyro_exact.nn.conditioner import Conditioner
from pyro_exact.ops.scalar import scalar


class Elementwise(nn.Module, metaclass=AbstractModuleMeta):
    r"""Base class of a formula: a scalar bijection :math:`y = f(x; \theta)` of each element.

    The parameters of each element are usually computed using a conditioner. Derive from this class
    to use a new formula in `Coupling`, `MaskedAutoregressive` or `Marginal`.

    Attributes:
        num_params: Count of parameters of each element.
        separate: True if the two methods also take the parameters one by one, in place of theta
            (default false). A formula of few parameters should: in a small flow, it takes longer to
            put them together and apart than to evaluate the formula.

    Shape:
        - x, y, ladj: any shape and floating-point type.
        - theta: (\*shape of x, num_params). When these are zero, the formula should be the
          identity, or close to it.
    """

    num_params: int
    separate = False

    @abstractmethod
    def forward_and_ladj(
        self,
        x: Tensor,
        theta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y` and :math:`\log|\partial y/\partial x|` of each element."""

    @abstractmethod
    def inverse_and_ladj(
        self,
        y: Tensor,
        theta: Tensor,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x` and :math:`\log|\partial x/\partial y|` of each element."""

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        """Return masks of the elements where the formula is at a limit, by name.

        `pyro_exact.diagnostics.flow_report` shows the shares. By default a formula has no limits.
        """
        return {}

    def theta_from(
        self,
        conditioner: Conditioner,
        given: Tensor,
        context: Tensor | None,
        x: Tensor,
    ) -> tuple[Tensor, ...]:
        """Return the parameters of each element of ``x``, as arguments of the two methods.

        Args:
            conditioner: The network.
            given: The input of the network.
            context: The context of the network.
            x: The elements.
        """
        if not (self.separate and conditioner.separable):
            return (self.check_theta(conditioner(given, context), x),)

        theta: tuple[Tensor, ...] = conditioner(given, context, separate=True)
        if len(theta) != self.num_params or theta[0].shape != x.shape:
            self.check_theta(torch.stack(theta, dim=-1), x)

        return theta if theta[0].dtype == x.dtype else tuple(part.to(x.dtype) for part in theta)

    def check_theta(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the parameters in the precision of ``x``, also under autocast.

        Raises:
            ValueError: If ``theta`` does not have ``num_params`` parameters for each element of
                ``x``.
        """
        shape = theta.shape
        if shape[:-1] != x.shape or shape[-1] != self.num_params:
            raise ValueError(
                f"{type(self).__name__} expects its conditioner to return parameters of shape "
                f"{(*x.shape, self.num_params)}; got {tuple(shape)}. "
                f"Build the conditioner for a free part of shape {tuple(x.shape)}."
            )

        return theta if theta.dtype == x.dtype else theta.to(x.dtype)


def tanh_bounded(x: Tensor, bound: float, sign: int = 1) -> Tensor:
    """Return sign * bound * tanh(x / bound).

    It is computed from the sigmoid, because `torch.tanh` is slower on some CPUs. The absolute
    error, which matters for a log-scale, is that of rounding.
    """
    half = scalar(0.5, x)
    rate = scalar(2 / bound, x)
    height = scalar(2 * sign * bound, x)

    # b tanh(x / b) = 2 b (sigmoid(2 x / b) - 1/2). In place, where no gradient needs the operand.
    return ((rate * x).sigmoid_() - half).mul_(height)


def soft_bounded(x: Tensor, bound: float, sign: int = 1) -> Tensor:
    """Return sign * x / (1 + abs(x) / bound)."""
    # A multiple of x / (b + |x|), which is at most 1 after rounding, and never overflows.
    return x / (x.abs() + bound) * (sign * bound)
