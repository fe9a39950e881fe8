"""The autoregressive layer: each dimension is transformed by what the dimensions before it say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_exact.transforms.act_norm import channels_fit
from pyro_exact.transforms.bijection import Bijection, Shape
from pyro_exact.transforms.elementwise import Elementwise


class MaskedAutoregressive(Bijection):
    r"""Transform each dimension by a formula whose parameters are a function of the dimensions before it.

    .. math::
        y_i = f(x_i;\, g_i(x_{<i}, \mathrm{context})), \qquad \log|\det \partial y/\partial x| = \sum_i \log|f'_i|

    Forward is one evaluation of :math:`g`, for all dimensions at once. The inverse finds the dimensions one after the
    other, each from those found before, and is exact. With a conditioner that has ``start`` and ``step``, such as
    `pyro_exact.nn.MaskedDense`, all of its steps together cost the arithmetic of one evaluation; with any other it
    takes one evaluation a dimension.

    An inverse autoregressive flow uses it from noise to latent, and samples fast; a masked autoregressive flow from
    data to noise, and scores fast. ``inv`` exchanges the two. Under autocast the network stays in full precision: the
    two directions would round differently.

    Args:
        elementwise: The formula :math:`f`, e.g. ``Affine()``.
        conditioner: A module ``theta = g(x, context)`` with theta of shape (\*batch, dim, num_params), where theta of a
            dimension depends only on the dimensions before it in the conditioner's ``order``; without one, in 0, 1, ...
            Its ``context_shape``, if it has one, becomes that of the layer.

    Cost:
        - forward: one evaluation of :math:`g` and of the formula.
        - inverse: exact in :math:`D` steps, with the arithmetic of one evaluation where :math:`g` has ``step``.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: On another dimension, or if the conditioner's output has another shape.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational Inference with Inverse
        Autoregressive Flow, section 3; Papamakarios, Pavlakou and Murray (2017), Masked Autoregressive Flow, section 3.

    Example:
        >>> from pyro_exact.nn import MaskedDense
        >>> layer = MaskedAutoregressive(Affine(), MaskedDense(3, Affine.num_params))
        >>> layer(torch.zeros(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, elementwise: Elementwise, conditioner: nn.Module) -> None:
        super().__init__(1, getattr(conditioner, "context_shape", None))
        self.elementwise, self.conditioner = elementwise, conditioner

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, enabled=False):
            theta = self.elementwise.fitting(self.conditioner(x, context), x)
            y, ladj = self.elementwise.forward_and_ladj(x, theta)
        return y, ladj.sum(-1)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        conditioner: Any = self.conditioner
        incremental, state, previous = hasattr(conditioner, "step"), None, None
        x, ladj = list(torch.zeros_like(y).unbind(-1)), y.new_zeros(y.shape[:-1])
        with torch.autocast(y.device.type, enabled=False):
            if incremental:
                state = conditioner.start(y.shape[:-1], context)
            for i in getattr(conditioner, "order", range(len(x))):
                if incremental:
                    theta, state = conditioner.step(state, previous)
                else:
                    theta = conditioner(torch.stack(x, dim=-1), context)[..., i, :]
                theta = self.elementwise.fitting(theta, y[..., i])
                x[i], found = self.elementwise.inverse_and_ladj(y[..., i], theta)
                previous, ladj = x[i], ladj + found
        return torch.stack(x, dim=-1), ladj

    def _fitting(self, shape: Shape, event_dim: int) -> torch.Size:
        shape = super()._fitting(shape, event_dim)
        dim = getattr(self.conditioner, "dim", None)
        return shape if dim is None else channels_fit(self, shape, dim, event_dim)
