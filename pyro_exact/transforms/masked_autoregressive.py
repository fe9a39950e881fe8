"""The autoregressive layer: each dimension is transformed by what the dimensions before it say."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.nn.conditioner import CausalConditioner
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.parts import check_conditioner


class MaskedAutoregressive(Bijection):
    r"""Transform each dimension by a formula whose parameters are a function of the dimensions before it.

    .. math::
        y_i = f(x_i;\, g_i(x_{<i}, \mathrm{context})), \qquad \log|\det \partial y/\partial x| =
        \sum_i \log|f'_i|

    Forward is an evaluation of :math:`g`, for all dimensions at once. The inverse finds the
    dimensions one after the other, each from those found before, and is exact. With a conditioner
    that has ``start`` and ``step``, such as `pyro_exact.nn.MaskedDense`, all of its steps together
    cost the arithmetic of an evaluation; with any other it takes an evaluation a dimension.

    An inverse autoregressive flow uses it from noise to latent, and samples fast; a masked
    autoregressive flow from data to noise, and scores fast. ``inv`` exchanges the two. Under
    autocast the network stays in full precision: the two directions would round differently.

    Args:
        elementwise: The formula :math:`f`, for example ``Affine()``.
        conditioner: A module ``theta = g(x, context)`` with theta of shape (\*batch, dim,
            num_params), where theta of a dimension depends only on the dimensions before it in the
            conditioner's ``order``; without one, in 0, 1, ... Its ``context_shape``, if it has one,
            becomes that of the layer.

    Cost:
        - forward: an evaluation of :math:`g` and of the formula.
        - inverse: exact in :math:`D` steps, with the arithmetic of an evaluation where :math:`g`
          has ``step``.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension, or if the conditioner's output has
            another shape.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 3; Papamakarios, Pavlakou and Murray
        (2017), Masked Autoregressive Flow, section 3.

    Example:
        >>> from pyro_exact.nn import MaskedDense
        >>> layer = MaskedAutoregressive(Affine(), MaskedDense(3, Affine.num_params))
        >>> layer(torch.zeros(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        elementwise: Elementwise,
        conditioner: CausalConditioner,
    ) -> None:
        check_conditioner("MaskedAutoregressive", conditioner, CausalConditioner)
        super().__init__((conditioner.dim,), context_dim=conditioner.context_shape)
        self.elementwise = elementwise
        self.conditioner = conditioner

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        with full_precision(x):
            theta = self.elementwise.check_theta(self.conditioner(x, context), x)
            y, ladj = self.elementwise.forward_and_ladj(x, theta)

        return y, ladj.sum(-1)

    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        found = list(torch.zeros_like(y).unbind(-1))
        ladj = y.new_zeros(y.shape[:-1])
        previous: Tensor | None = None

        with full_precision(y):
            state = self.conditioner.start(y.shape[:-1], context)
            for i in self.conditioner.order:
                theta, state = self.conditioner.step(state, previous)
                theta = self.elementwise.check_theta(theta, y[..., i])
                previous, ladj_i = self.elementwise.inverse_and_ladj(y[..., i], theta)
                found[i] = previous
                ladj = ladj + ladj_i

        return torch.stack(found, dim=-1), ladj
