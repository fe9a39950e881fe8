"""The layer of block neural autoregressive flows, and the inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import LARGEST_COUNT, check_elements, check_number, check_size
from pyro_exact.nn.precision import full_precision
from pyro_exact.ops import newton
from pyro_exact.transforms.bijection import Bijection


class BlockAutoregressive(Bijection):
    r"""One network whose output :math:`y_i` increases in :math:`x_i`, and depends on the dimensions before in any way.

    .. math::
        h_{l+1} = a\big(W_l h_l + b_l\big), \qquad h_0 = x, \qquad
        \log|\det \partial y/\partial x| = \sum_i \log \prod_l \frac{\partial h_{l+1, i}}{\partial
        h_{l, i}}, \qquad a(z) = \alpha z + (1 - \alpha) \tanh z

    Each dimension has a block of hidden units. The blocks of :math:`W_l` above the diagonal are
    zero, and the blocks on the diagonal positive; each row has the norm of a gain. There is no
    :math:`a` after the last layer. As its slope is at least :math:`\alpha`, every ``y`` has an
    ``x``, which would not be so with tanh alone.

    The inverse finds the dimensions one after the other. Given the dimensions before, each is a
    guarded Newton iteration on a few blocks. The derivatives are exact to second order.

    Args:
        dim: Dimension of the vectors.
        width: Number of hidden units of each dimension.
        depth: Number of hidden layers.
        context_dim: Size of a context vector, which all layers see.
        least_slope: :math:`\alpha`, from 0.01 to 1.

    Cost:
        - forward: an evaluation of the network.
        - inverse: :math:`D` scalar equations; together they cost an evaluation of the network
          and a few Newton steps on the diagonal blocks.

    Shape:
        - x, y: (\*batch, dim); ladj: (\*batch).

    Raises:
        ValueError: If a size is not positive, or the slope is out of range.

    Reference:
        De Cao, Titov and Aziz (2019), Block Neural Autoregressive Flow, equations 4-8; the network
        is theirs but for the linear part of the activation.

    Example:
        >>> layer, x = BlockAutoregressive(3), torch.randn(5, 3)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-4)
        True
    """

    def __init__(
        self,
        dim: int,
        width: int = 8,
        depth: int = 1,
        context_dim: int | None = None,
        least_slope: float = 0.1,
    ) -> None:
        name = "BlockAutoregressive"
        self.dim = dim = check_size(name, "dim", dim)
        self.width = width = check_size(name, "width", width, most=LARGEST_COUNT)
        self.depth = check_size(name, "depth", depth, most=LARGEST_COUNT)
        check_elements(name, dim * width, dim * width)
        super().__init__((dim,), context_dim=context_dim)
        self.least_slope = check_number(name, "least_slope", least_slope, 0.01, 1)

        sizes = [1, *[width] * self.depth, 1]
        layers = [BlockLinear(dim, *pair, context_dim) for pair in pairwise(sizes)]
        self.layers: Sequence[BlockLinear] = nn.ModuleList(layers)  # type: ignore[assignment]

    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h, log_slope = x.unsqueeze(-1), torch.zeros_like(x).unsqueeze(-1)
        with full_precision(x):
            for index, layer in enumerate(self.layers):
                blocks = layer.blocks()
                h = blocks.product(h) + layer.offset(context)
                log_slope = (blocks.log_diagonal + log_slope.unsqueeze(-2)).logsumexp(-1)
                if index < self.depth:
                    h, log_slope = self._activate(h, log_slope)
        return h.squeeze(-1), log_slope.squeeze(-1).sum(-1)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladj = y.new_zeros(y.shape[:-1])
        open_ends = torch.full_like(ladj, -math.inf), torch.full_like(ladj, math.inf)
        with full_precision(y):
            blocks = [layer.blocks() for layer in self.layers]
            offsets = [layer.offset(context).expand(*y.shape, -1) for layer in self.layers]
            # The inputs of each layer from the dimensions so far.
            known: list[list[Tensor]] = [[] for _ in blocks]

            for i in range(self.dim):
                # The part of each pre-activation that the dimensions before have determined.
                given = [
                    block.from_before(i, inputs) + offset[..., i, :]
                    for block, inputs, offset in zip(blocks, known, offsets, strict=True)
                ]
                diagonals = [block.log_diagonal[i] for block in blocks]
                function = partial(self._output, diagonals)
                x, log_slope = newton.root(
                    function, y[..., i], given, open_ends, torch.zeros_like(ladj)
                )
                ladj = ladj - log_slope

                for inputs, h in zip(known, self._inputs(diagonals, x, given), strict=True):
                    inputs.append(h)

        return torch.cat(known[0], dim=-1), ladj

    def _output(self, diagonals: list[Tensor], x: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of one dimension, and the logarithm of its derivative."""
        h, log_slope = x.unsqueeze(-1), torch.zeros_like(x).unsqueeze(-1)
        for index, (log_diagonal, offset) in enumerate(zip(diagonals, given, strict=True)):
            h = (log_diagonal.exp() * h.unsqueeze(-2)).sum(-1) + offset
            log_slope = (log_diagonal + log_slope.unsqueeze(-2)).logsumexp(-1)
            if index < self.depth:
                h, log_slope = self._activate(h, log_slope)
        return h.squeeze(-1), log_slope.squeeze(-1)

    def _inputs(self, diagonals: list[Tensor], x: Tensor, given: list[Tensor]) -> list[Tensor]:
        """Return the inputs of all layers from one dimension."""
        inputs = [x.unsqueeze(-1)]
        for log_diagonal, offset in zip(diagonals[:-1], given, strict=False):
            z = (log_diagonal.exp() * inputs[-1].unsqueeze(-2)).sum(-1) + offset
            inputs.append(self._activate(z, z)[0])
        return inputs

    def _activate(self, z: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return a(z), and the logarithm of the slope so far times a'(z)."""
        alpha = self.least_slope
        value = alpha * z + (1 - alpha) * z.tanh()

        # 1 / cosh² z = 4 sigmoid(2 z) sigmoid(-2 z), without overflow
        sech_squared = 4 * (2 * z).sigmoid() * (-2 * z).sigmoid()
        slope = alpha + (1 - alpha) * sech_squared
        return value, log_slope + slope.log()

    def extra_repr(self) -> str:
        return f"{self.dim}, width={self.width}, depth={self.depth}"


class Blocks(NamedTuple):
    """The blocks of a weight: (D, above, D, below) under the diagonal, and (D, above, below) on it."""

    lower: Tensor
    log_diagonal: Tensor

    def product(self, h: Tensor) -> Tensor:
        r"""Return the product with h (\*batch, D, below)."""
        below = torch.einsum("iajb,...jb->...ia", self.lower, h)
        return below + (self.log_diagonal.exp() * h.unsqueeze(-2)).sum(-1)

    def from_before(self, i: int, inputs: list[Tensor]) -> Tensor | float:
        """Return the product of row i with the inputs of the dimensions before it."""
        if i == 0:
            return 0.0
        return F.linear(torch.cat(inputs, dim=-1), self.lower[i, :, :i].flatten(1))


class BlockLinear(nn.Module):
    """A linear layer between blocks of units, with positive blocks on the diagonal and zeros above it."""

    def __init__(self, dim: int, below: int, above: int, context_dim: int | None) -> None:
        super().__init__()
        self.dim = dim
        bound = (dim * below) ** -0.5
        # The blocks of the rows from the second on, and of the columns but the last.
        lower = torch.empty(dim - 1, above, dim - 1, below)
        self.lower = nn.Parameter(lower.uniform_(-bound, bound))
        self.diagonal = nn.Parameter(torch.empty(dim, above, below).uniform_(-1, 0))
        self.bias = nn.Parameter(torch.empty(dim, above).uniform_(-1, 1))

        # A row of one weight is the gain itself.
        self.normalized = dim * below > 1
        if self.normalized:
            self.log_gain = nn.Parameter(torch.zeros(dim, above))
        if context_dim is not None:
            self.context = nn.Linear(context_dim, dim * above, bias=False)
            nn.init.zeros_(self.context.weight)

    def blocks(self) -> Blocks:
        """Return the weight, whose rows have the norms of the gains."""
        mask = self.lower.new_ones(self.dim - 1, self.dim - 1).tril()[:, None, :, None]
        lower = F.pad(self.lower * mask, (0, 0, 0, 1, 0, 0, 1, 0))
        if not self.normalized:
            return Blocks(lower, self.diagonal)

        # exp(diagonal) and the rest, both divided by the largest of a row, which may overflow
        top = self.diagonal.detach().amax(-1, keepdim=True).clamp(min=0)
        positive = (self.diagonal - top).exp()
        lower = lower * (-top).exp().unsqueeze(-1)

        square = positive.square().sum(-1) + lower.square().sum((-2, -1))
        log_scale = (self.log_gain - square.log() / 2).unsqueeze(-1)
        scale = log_scale.exp().unsqueeze(-1)
        return Blocks(lower * scale, self.diagonal - top + log_scale)

    def offset(self, context: Tensor | None) -> Tensor:
        r"""Return the bias, and the share of the context, (\*batch, D, above)."""
        if context is None:
            return self.bias
        weight = self.context.weight
        return self.bias + F.linear(context.to(weight.dtype), weight).unflatten(-1, (self.dim, -1))
