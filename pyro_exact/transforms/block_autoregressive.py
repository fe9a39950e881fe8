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

from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_number,
    check_size,
)
from pyro_exact.nn.precision import full_precision
from pyro_exact.ops import newton
from pyro_exact.transforms.bijection import Bijection


class BlockAutoregressive(Bijection):
    r"""A network whose :math:`y_i` increases in :math:`x_i`, and depends on the dimensions before.

    Use it for an autoregressive flow with few weights.

    .. math::
        h_{l+1} = a\big(W_l h_l + b_l\big), \qquad h_0 = x, \qquad
        \log|\det \partial y/\partial x| = \sum_i \log \prod_l \frac{\partial h_{l+1, i}}{\partial
        h_{l, i}}, \qquad a(z) = \alpha z + (1 - \alpha) \tanh z

    Each dimension has a block of hidden units. The blocks of :math:`W_l` above the diagonal are
    zero, and the blocks on the diagonal positive; each row has the norm of a gain. There is no
    :math:`a` after the last layer. Because this slope is at least :math:`\alpha`, every ``y`` has
    an ``x``, unlike with tanh alone.

    The inverse is computed dimension by dimension, using a guarded Newton iteration on a few
    blocks. The derivatives are exact to second order.

    Args:
        dim: Dimension of the vectors.
        width: Hidden units of each dimension.
        depth: Hidden layers.
        context_dim: Size of an optional context vector, which all layers see.
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

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        h = x.unsqueeze(-1)
        log_slope = torch.zeros_like(h)

        with full_precision(x):
            for index, layer in enumerate(self.layers):
                # h' = W h + b
                blocks = layer.blocks()
                h = blocks.product(h) + layer.offset(context)

                # log dh'_i/dx_i, over the positive blocks on the diagonal
                terms = blocks.log_diagonal + log_slope.unsqueeze(-2)
                log_slope = terms.logsumexp(-1)

                if index < self.depth:
                    h, log_slope = self._activate(h, log_slope)

        return h.squeeze(-1), log_slope.squeeze(-1).sum(-1)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ladj = y.new_zeros(y.shape[:-1])
        start = torch.zeros_like(ladj)
        open_ends = (
            torch.full_like(ladj, -math.inf),
            torch.full_like(ladj, math.inf),
        )

        with full_precision(y):
            blocks = [layer.blocks() for layer in self.layers]
            offsets = [layer.offset(context).expand(*y.shape, -1) for layer in self.layers]

            # The inputs of each layer from the dimensions so far.
            known: list[list[Tensor]] = [[] for _ in blocks]

            for i in range(self.dim):
                # The part of each pre-activation that the dimensions before have determined.
                layers = zip(blocks, known, offsets, strict=True)
                given = [
                    block.from_before(i, inputs) + offset[..., i, :]
                    for block, inputs, offset in layers
                ]

                # y_i = f(x_i; given), an increasing function of x_i
                diagonals = [block.log_diagonal[i] for block in blocks]
                function = partial(self._output, diagonals)
                x, log_slope = newton.root(
                    function,
                    y[..., i],
                    given,
                    open_ends,
                    start,
                )
                ladj = ladj - log_slope

                hidden = self._inputs(diagonals, x, given)
                for inputs, h in zip(known, hidden, strict=True):
                    inputs.append(h)

        return torch.cat(known[0], dim=-1), ladj

    def _output(
        self,
        diagonals: list[Tensor],
        x: Tensor,
        *given: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the output of a dimension, and the logarithm of the derivative."""
        h = x.unsqueeze(-1)
        log_slope = torch.zeros_like(h)
        layers = zip(diagonals, given, strict=True)

        for index, (log_diagonal, offset) in enumerate(layers):
            products = log_diagonal.exp() * h.unsqueeze(-2)
            h = products.sum(-1) + offset

            terms = log_diagonal + log_slope.unsqueeze(-2)
            log_slope = terms.logsumexp(-1)

            if index < self.depth:
                h, log_slope = self._activate(h, log_slope)

        return h.squeeze(-1), log_slope.squeeze(-1)

    def _inputs(
        self,
        diagonals: list[Tensor],
        x: Tensor,
        given: list[Tensor],
    ) -> list[Tensor]:
        """Return the inputs of all layers from a dimension."""
        inputs = [x.unsqueeze(-1)]
        for log_diagonal, offset in zip(diagonals[:-1], given, strict=False):
            products = log_diagonal.exp() * inputs[-1].unsqueeze(-2)
            z = products.sum(-1) + offset
            h, _ = self._activate(z, z)
            inputs.append(h)

        return inputs

    def _activate(self, z: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return a(z), and the logarithm of the slope so far times a'(z)."""
        alpha = self.least_slope

        # 1 / cosh² z = 4 sigmoid(2 z) sigmoid(-2 z), without overflow
        sech2 = 4 * (2 * z).sigmoid() * (-2 * z).sigmoid()

        # a(z) = alpha z + (1 - alpha) tanh z
        activated = alpha * z + (1 - alpha) * z.tanh()
        slope = alpha + (1 - alpha) * sech2

        return activated, log_slope + slope.log()

    def extra_repr(self) -> str:
        return f"{self.dim}, width={self.width}, depth={self.depth}"


class Blocks(NamedTuple):
    """The blocks of a weight: (D, above, D, below) and, on the diagonal, (D, above, below)."""

    lower: Tensor
    log_diagonal: Tensor

    def product(self, h: Tensor) -> Tensor:
        r"""Return the product with h (\*batch, D, below)."""
        below = torch.einsum("iajb,...jb->...ia", self.lower, h)
        diagonal = self.log_diagonal.exp() * h.unsqueeze(-2)
        return below + diagonal.sum(-1)

    def from_before(self, i: int, inputs: list[Tensor]) -> Tensor | float:
        """Return the product of row i with the inputs of the dimensions before it."""
        if i == 0:
            return 0.0

        row = self.lower[i, :, :i].flatten(1)
        return F.linear(torch.cat(inputs, dim=-1), row)


class BlockLinear(nn.Module):
    """A linear layer between blocks of units, with positive blocks on the diagonal.

    The blocks above the diagonal are zero.
    """

    def __init__(
        self,
        dim: int,
        below: int,
        above: int,
        context_dim: int | None,
    ) -> None:
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
        mask = self.lower.new_ones(self.dim - 1, self.dim - 1).tril()
        masked = self.lower * mask[:, None, :, None]
        lower = F.pad(masked, (0, 0, 0, 1, 0, 0, 1, 0))
        if not self.normalized:
            return Blocks(lower, self.diagonal)

        # exp(diagonal) and the rest, both divided by the largest of a row, which may overflow
        top = self.diagonal.detach().amax(-1, keepdim=True).clamp(min=0)
        positive = (self.diagonal - top).exp()
        lower = lower * (-top).exp().unsqueeze(-1)

        # Each row, divided by the norm and times the gain.
        square = positive.square().sum(-1) + lower.square().sum((-2, -1))
        log_scale = self.log_gain - square.log() / 2
        log_scale = log_scale.unsqueeze(-1)

        lower = lower * log_scale.exp().unsqueeze(-1)
        log_diagonal = self.diagonal - top + log_scale

        return Blocks(lower, log_diagonal)

    def offset(self, context: Tensor | None) -> Tensor:
        r"""Return the bias, and the share of the context, (\*batch, D, above)."""
        if context is None:
            return self.bias

        weight = self.context.weight
        shares = F.linear(context.to(weight.dtype), weight)
        return self.bias + shares.unflatten(-1, (self.dim, -1))
