"""The autoregressive layer: each dimension is transformed using the dimensions before."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.nn.conditioner import CausalConditioner
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.parts import check_conditioner


class MaskedAutoregressive(Bijection):
    r"""Transform each dimension, with parameters computed from the dimensions before.

    Use this layer for flows that are fast in a single direction.

    .. math::
        y_i = f(x_i;\, g_i(x_{<i}, \mathrm{context})), \qquad \log|\det \partial y/\partial x| =
        \sum_i \log|f'_i|

    Forward is an evaluation of :math:`g`, for all dimensions at once. The inverse is computed
    dimension by dimension, and is exact. When the conditioner has ``start`` and ``step``, such as
    `pyro_exact.nn.MaskedDense`, all steps together cost the arithmetic of an evaluation; otherwise
    an evaluation is required for each dimension.

    It is used by an inverse autoregressive flow from noise to latent, for fast samples, and by a
    masked autoregressive flow from data to noise, for fast scores. ``inv`` exchanges the two. Under
    autocast the network stays in full precision: the two directions would round differently.

    Args:
        elementwise: The formula :math:`f`, for example ``Affine()``.
        conditioner: A module ``theta = g(x, context)`` with theta of shape (\*batch, dim,
            num_params), where theta of a dimension must depend only on the dimensions before it in
            the ``order`` of the conditioner; by default 0, 1, ... This layer uses the same
            ``context_shape``.

    Cost:
        - forward: an evaluation of :math:`g` and of the formula.
        - inverse: exact in :math:`D` steps, with the arithmetic of an evaluation when :math:`g` has
          ``step``.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If the input does not have this dimension, or the output of the conditioner does
            not have the required shape.
        TypeError: If the conditioner is not of type `pyro_exact.nn.CausalConditioner`.

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
            theta = self.elementwise.theta_from(self.conditioner, x, context, x)
            y, ladj = self.elementwise.forward_and_ladj(x, *theta)

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
