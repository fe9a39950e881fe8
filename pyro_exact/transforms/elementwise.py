"""What a coupling or an autoregressive layer does to each number: a scalar formula with parameters."""

from __future__ import annotations

from torch import Tensor, nn


class Elementwise(nn.Module):
    r"""A scalar bijection :math:`y = f(x; \theta)`, applied to each number with its own parameters.

    Shape:
        - x, y, ladj: any shape.
        - theta: (\*shape of x, num_params). At zero the formula is the identity, or close to it.
    """

    num_params: int

    def fitting(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the parameters of ``x`` in its own precision, also under autocast, or say how they do not fit.

        Raises:
            ValueError: If ``theta`` does not have ``num_params`` numbers for each number of ``x``.
        """
        expected = (*x.shape, self.num_params)
        if theta.shape != expected:
            raise ValueError(
                f"{type(self).__name__} expects its conditioner to return parameters of shape {expected}; got "
                f"{tuple(theta.shape)}. Build the conditioner for a free part of shape {tuple(x.shape)}."
            )
        return theta.to(x.dtype)

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y` and :math:`\log|\partial y/\partial x|` of each number."""
        raise NotImplementedError

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x` and :math:`\log|\partial x/\partial y|` of each number."""
        raise NotImplementedError


def bounded(x: Tensor, bound: float, sign: int = 1) -> Tensor:
    """Return sign * bound * tanh(x / bound).

    By way of the sigmoid: as a log-scale only its absolute error counts, and `torch.tanh` is slower on some CPUs.
    """
    return 2 * sign * bound * ((2 / bound * x).sigmoid() - 0.5)
