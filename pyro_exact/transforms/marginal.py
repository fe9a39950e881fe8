"""A formula alone: every element is transformed by parameters that depend on no other element."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.checks import check_shape
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.parts import sum_event


class Marginal(Bijection):
    r"""Transform each element by a formula with free or conditional parameters.

    Use this layer to change the marginal distributions or, with rotations, for a Gaussianization
    flow.

    .. math::
        y_i = f(x_i;\, \theta_i), \qquad \log|\det \partial y/\partial x| = \sum_i \log|f'_i|

    Args:
        elementwise: The formula :math:`f`, for example ``NormalMixtureCDF()``.
        shape: Shape of an event; an integer n means (n,).
        context_dim: Size of an optional context vector, used to compute the parameters.

    Cost:
        - forward: an evaluation of the formula.
        - inverse: the inverse of the formula.

    Shape:
        - x, y: (\*batch, \*shape); ladj: (\*batch).

    Raises:
        TypeError: If the formula is not of type `Elementwise`.
        ValueError: If an event does not have this shape.

    Reference:
        Meng, Song, Song and Ermon (2020), Gaussianization Flows, section 3.1.

    Example:
        >>> from pyro_exact.transforms import Spline
        >>> layer = Marginal(Spline(5), 3)
        >>> torch.allclose(layer(torch.ones(2, 3)), torch.ones(2, 3))
        True
    """

    def __init__(
        self,
        elementwise: Elementwise,
        shape: int | Sequence[int],
        context_dim: int | None = None,
    ) -> None:
        if not isinstance(elementwise, Elementwise):
            raise TypeError(
                f"Marginal expects elementwise as an Elementwise; got "
                f"{type(elementwise).__name__}. "
                f"Pass a formula, such as Spline()."
            )

        event = check_shape("Marginal", "shape", shape)
        super().__init__(event, context_dim=context_dim)
        self.elementwise = elementwise
        self.theta = Parameters({"theta": torch.zeros(*event, elementwise.num_params)}, context_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            y, ladj = self.elementwise.forward_and_ladj(x, self._theta(x, context))

        return y, sum_event(ladj, len(self.event))

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with full_precision(y):
            x, ladj = self.elementwise.inverse_and_ladj(y, self._theta(y, context))

        return x, sum_event(ladj, len(self.event))

    def _theta(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the parameters of every element of a batch."""
        (theta,) = self.theta(context)
        theta = theta.expand(*x.shape, theta.shape[-1])
        return self.elementwise.check_theta(theta, x)

    def extra_repr(self) -> str:
        return f"{self.event}"
