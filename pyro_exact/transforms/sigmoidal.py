"""The deep and dense sigmoidal formulas of neural autoregressive flows, exact far into their tails."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.transforms.elementwise import tanh_bounded
from pyro_exact.transforms.monotone import Monotone, Parts


class DenseSigmoidal(Monotone):
    r"""A small monotone network of one element. Use it as the formula of a neural autoregressive flow.

    Each layer takes a vector :math:`h`, at first :math:`h = x`, to

    .. math::
        h' = \mathrm{logit}\big(W\, \sigma(a \odot (U h) + b)\big), \qquad
        y = h'_\mathrm{last}, \qquad
        \log|\partial y/\partial x| = \log \prod_\mathrm{layers} \frac{\partial h'}{\partial h}

    with rows of :math:`W` and :math:`U` that are positive and sum to 1, and positive :math:`a =
    \exp(m \tanh(r / m))`. It is computed from :math:`\log F`, :math:`\log (1 - F)` and the
    logarithms of all derivatives, so it is exact far into the tails, where a sum of sigmoids rounds
    to 0 or 1. Constant offsets of :math:`b` and of the logits of :math:`W` spread the units, because
    equal units would have equal gradients for ever; so zero parameters give the identity only
    approximately.

    Args:
        width: Number of sigmoids in a layer.
        depth: Number of layers.
        units: Number of elements of the vectors between layers; 1 for the deep form.
        max_log_slope: :math:`m`, the largest logarithm of a slope :math:`a`, in absolute value.

    Cost:
        - forward: :math:`O(\mathrm{width} \cdot \mathrm{units} \cdot \mathrm{depth})` an element.
        - inverse: guarded Newton steps, each of the same cost.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, num_params).

    Raises:
        ValueError: If a size is not positive, or the bound is out of range.

    Reference:
        Huang, Krueger, Lacoste and Courville (2018), Neural Autoregressive Flows, equations 8-12.

    Example:
        >>> formula, x = DenseSigmoidal(), torch.tensor([-100.0, 0.5, 100.0])
        >>> theta = torch.randn(3, formula.num_params)
        >>> y, ladj = formula.forward_and_ladj(x, theta)
        >>> torch.allclose(formula.inverse_and_ladj(y, theta)[0], x, atol=1e-4)
        True
    """

    places: Tensor
    nearness: Tensor

    def __init__(
        self, width: int = 8, depth: int = 2, units: int = 8, max_log_slope: float = 5.0
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.width = check_size(name, "width", width, most=LARGEST_COUNT)
        self.depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        self.units = check_size(name, "units", units, most=LARGEST_COUNT)
        self.max_log_slope = check_number(name, "max_log_slope", max_log_slope, 1e-3, 20)

        # Elements of the input of each layer, and of the output of the last one.
        self.sizes = [1, *[self.units] * (self.depth - 1), 1]
        self.splits = [
            [self.width, self.width, above * self.width, self.width * below if below > 1 else 0]
            for below, above in pairwise(self.sizes)
        ]
        self.num_params = sum(map(sum, self.splits))

        places, rows = _places(self.width), _places(self.units)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("nearness", -2 * (rows[:, None] - places).abs(), persistent=False)

    def unpack(self, theta: Tensor) -> Parts:
        r"""Return :math:`\log a, b, \log W` and :math:`\log U` of each layer."""
        parts: list[Tensor] = []
        layers = theta.split([sum(split) for split in self.splits], dim=-1)

        for layer, split, (below, above) in zip(
            layers, self.splits, pairwise(self.sizes), strict=True
        ):
            log_a, b, output, mixing = layer.split(split, dim=-1)
            output = output.unflatten(-1, (above, self.width))
            if above > 1:
                output = output + self.nearness.to(theta)
            if below > 1:
                log_mixing = mixing.unflatten(-1, (self.width, below)).log_softmax(-1)
            else:
                log_mixing = mixing.new_zeros(*mixing.shape[:-1], self.width, 1)

            log_a = tanh_bounded(log_a, self.max_log_slope)
            b = b - log_a.exp() * self.places.to(theta)
            parts += [log_a, b, output.log_softmax(-1), log_mixing]
        return tuple(parts)

    def evaluate(self, x: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        h, log_slope = x.unsqueeze(-1), torch.zeros_like(x).unsqueeze(-1)
        for i in range(0, len(parts), 4):
            h, log_slope = sigmoidal(h, log_slope, *parts[i : i + 4])
        return h.squeeze(-1), log_slope.squeeze(-1)

    def bracket(self, y: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds of the root, from the last layer to the first.

        If every element of h lies below (t - b) / a for all sigmoids of a layer, each of its
        outputs lies below t; likewise above.
        """
        low = high = y.unsqueeze(-1)
        for i in range(len(parts) - 4, -1, -4):
            log_a, b = parts[i : i + 2]
            per_a = (-log_a).exp()
            low = ((low - b) * per_a).amin(-1, keepdim=True)
            high = ((high - b) * per_a).amax(-1, keepdim=True)
        return low.squeeze(-1), high.squeeze(-1)

    def extra_repr(self) -> str:
        return f"{self.width}, {self.depth}, units={self.units}"


class DeepSigmoidal(DenseSigmoidal):
    r"""A chain of logits of weighted sigmoids. Use it as the formula of a neural autoregressive flow.

    .. math::
        y = \mathrm{logit}\Big(\sum_j w_j\, \sigma(a_j x + b_j)\Big), \qquad
        \log|\partial y/\partial x| = \log \frac{F'(x)}{F(x) (1 - F(x))}, \qquad
        F(x) = \sum_j w_j\, \sigma(a_j x + b_j)

    once for each layer. It is `DenseSigmoidal` with scalars between the layers. One layer is the
    transformer of Pyro's ``NeuralAutoregressive``, and up to an affine map `MixtureCDF`.

    Args:
        width: Number of sigmoids in a layer.
        depth: Number of layers.
        max_log_slope: The largest logarithm of a slope :math:`a`, in absolute value.

    Cost:
        - forward: :math:`O(\mathrm{width} \cdot \mathrm{depth})` an element.
        - inverse: guarded Newton steps, each of the same cost.

    Shape:
        - x, y, ladj: any shape; theta: (\*shape of x, 3 width depth).

    Raises:
        ValueError: If a size is not positive, or the bound is out of range.

    Reference:
        Huang, Krueger, Lacoste and Courville (2018), Neural Autoregressive Flows, equation 8.

    Example:
        >>> formula, x = DeepSigmoidal(4), torch.tensor([-100.0, 0.5, 100.0])
        >>> y, ladj = formula.forward_and_ladj(x, torch.zeros(3, 12))
        >>> torch.allclose(formula.inverse_and_ladj(y, torch.zeros(3, 12))[0], x)
        True
    """

    def __init__(self, width: int = 8, depth: int = 1, max_log_slope: float = 5.0) -> None:
        super().__init__(width, depth, 1, max_log_slope)

    def extra_repr(self) -> str:
        return f"{self.width}, {self.depth}"


def sigmoidal(
    h: Tensor, log_slope: Tensor, log_a: Tensor, b: Tensor, log_w: Tensor, log_u: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\mathrm{logit}(W \sigma(a (U h) + b))` and the logarithm of its derivative.

    Args:
        h: Vectors (\*batch, n).
        log_slope: Logarithm of their derivatives (\*batch, n).
        log_a: :math:`\log a` (\*batch, width).
        b: :math:`b` (\*batch, width).
        log_w: :math:`\log W` (\*batch, m, width), with rows that sum to 1.
        log_u: :math:`\log U` (\*batch, width, n), with rows that sum to 1.
    """
    mixed = (log_u.exp() * h.unsqueeze(-2)).sum(-1)
    z = log_a.exp() * mixed + b
    log_dz = log_a + (log_u + log_slope.unsqueeze(-2)).logsumexp(-1)

    # log sigmoid(z) and log sigmoid(-z): the logarithms of F and of 1 - F, without rounding to 0
    below = F.logsigmoid(z).unsqueeze(-2)
    above = F.logsigmoid(-z).unsqueeze(-2)
    log_cdf = (log_w + below).logsumexp(-1)
    log_rest = (log_w + above).logsumexp(-1)

    # With shares q = w sigmoid(z) / F the derivative of log F is sum q sigmoid(-z) z', from which
    # nothing as large as log F has to be subtracted. Above the median the same for 1 - F.
    lower = (log_cdf < log_rest).detach()
    side = lower.unsqueeze(-1)
    near = torch.where(side, below, above)
    far = torch.where(side, above, below)
    log_share = (log_w + near).log_softmax(-1)
    terms = log_share + far + log_dz.unsqueeze(-2)

    other = torch.where(lower, log_rest, log_cdf)
    log_derivative = terms.logsumexp(-1) - other
    return log_cdf - log_rest, log_derivative


def _places(count: int) -> Tensor:
    """Return evenly spread places in (-1, 1), and 0 for a single place."""
    return ((2 * torch.arange(count) + 1) / count - 1).to(torch.get_default_dtype())
