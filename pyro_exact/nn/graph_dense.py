"""A masked multilayer perceptron whose outputs see the parents in a graph."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements, check_size, check_sizes
from pyro_exact.nn.conditioner import CausalConditioner, required


class GraphDense(CausalConditioner):
    r"""A multilayer perceptron whose output for a dimension depends on the parents, and a context.

    Use this network as the conditioner of `pyro_exact.transforms.MaskedAutoregressive` when you
    know which dimensions depend on each other, for example from a causal graph. Without a known
    graph use `MaskedDense`.

    Each hidden unit belongs to a dimension :math:`k`, and sees no other inputs than the parents
    :math:`P_k`. A unit of a later layer sees the units whose parents are all among its parents:

    .. math::
        M^1_{uj} = 1[j \in P_{k(u)}], \qquad M^{l+1}_{vu} = 1[P_{k(u)} \subseteq P_{k(v)}]

    The last layer starts at zero. The inverse of a layer needs a pass for each dimension.

    Args:
        adjacency: Element (i, j) is true if dimension i depends on dimension j. The diagonal is not
            used. The graph must have no cycle.
        num_params: Parameters of each dimension.
        hidden_dims: Widths of the hidden layers, each at least the number of dimensions with
            parents, or with a context all dimensions; `None` (default) for two layers of
            ``max(64, 2 dim)``.
        context_dim: Size of an optional context vector, used by every output.

    Shape:
        - adjacency: (dim, dim); x: (\*batch, dim); context: (\*batch, context_dim).
        - theta: (\*batch, dim, num_params).

    Raises:
        ValueError: If the adjacency is not a square matrix or has a cycle, or a hidden layer is too
            narrow.

    Reference:
        Wehenkel and Louppe (2021), Graphical Normalizing Flows, section 3.

    Example:
        >>> chain = torch.ones(3, 3).tril(-1).triu(-1)  # dimension i depends on i - 1
        >>> GraphDense(chain, num_params=2)(torch.randn(5, 3)).shape
        torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        adjacency: Any,
        num_params: int,
        hidden_dims: Sequence[int] | None = None,
        context_dim: int | None = None,
    ) -> None:
        parents = _parents(adjacency)
        dim = len(parents)
        super().__init__(dim, context_dim)
        self.num_params = check_size("GraphDense", "num_params", num_params)
        self._order = _topological_order(parents)

        widths = [max(64, 2 * dim)] * 2 if hidden_dims is None else hidden_dims
        widths = check_sizes("GraphDense", "hidden_dims", widths)

        # Without a context, a dimension without parents has constant parameters, and needs no unit.
        used = parents.any(-1).nonzero().squeeze(-1)
        if context_dim is not None or len(used) == 0:
            used = torch.arange(dim)
        _check_widths(widths, len(used))

        # The dimension of each unit, and of each output
        owners = [used[torch.arange(width) % len(used)] for width in widths]
        outputs = torch.arange(dim).repeat_interleave(num_params)
        masks = [parents[owners[0]] if owners else parents[outputs]]
        for below, above in pairwise([*owners, outputs]):
            masks.append(_contained(parents[below], parents[above]))

        if context_dim is not None:
            seen = torch.ones(len(masks[0]), context_dim, dtype=torch.bool)
            masks[0] = torch.cat((seen, masks[0]), -1)
        for mask in masks:
            check_elements("GraphDense", *mask.shape)

        self.layers: Sequence[nn.Linear] = nn.ModuleList(  # type: ignore[assignment]
            nn.Linear(mask.shape[1], mask.shape[0]) for mask in masks
        )
        for i, mask in enumerate(masks):
            self.register_buffer(f"mask{i}", mask.to(self.layers[i].weight.dtype), persistent=False)
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    @property
    def order(self) -> Sequence[int]:
        """An order of the dimensions in which parents come first."""
        return self._order

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of all dimensions."""
        h = x.to(self.layers[0].weight.dtype)
        if self.context_shape is not None:
            context = required(context, self.context_shape, h)
            h = torch.cat((context.expand(*h.shape[:-1], -1), h), -1)

        for i, layer in enumerate(self.layers):
            mask: Tensor = getattr(self, f"mask{i}")
            h = F.linear(h.relu() if i > 0 else h, layer.weight * mask, layer.bias)
        return h.unflatten(-1, (self.dim, self.num_params))

    def extra_repr(self) -> str:
        return f"{self.dim}, num_params={self.num_params}"


def _parents(adjacency: Any) -> Tensor:
    """Return the adjacency as a matrix of bools without the diagonal."""
    parents = torch.as_tensor(adjacency).detach().cpu() != 0
    if parents.dim() != 2 or parents.shape[0] != parents.shape[1] or len(parents) == 0:
        raise ValueError(
            f"GraphDense expects adjacency as a square matrix; got shape {tuple(parents.shape)}. "
            f"Pass a row and a column for each dimension."
        )
    return parents & ~torch.eye(len(parents), dtype=torch.bool)


def _topological_order(parents: Tensor) -> list[int]:
    """Return an order in which parents come before children."""
    order: list[int] = []
    left = [*range(len(parents))]
    while left:
        ready = [i for i in left if not parents[i, left].any()]
        if not ready:
            raise ValueError(
                "GraphDense expects a graph without cycles; got a cycle among the dimensions "
                f"{left}. Remove an edge."
            )
        order += ready
        left = [i for i in left if i not in ready]
    return order


def _contained(below: Tensor, above: Tensor) -> Tensor:
    """Return whether all parents of a unit below are among the parents of a unit above."""
    foreign = below.float() @ (~above).float().mT
    return (foreign == 0).mT


def _check_widths(widths: Sequence[int], least: int) -> None:
    if min(widths, default=least) < least:
        raise ValueError(
            f"GraphDense expects hidden widths of at least {least}, a unit for each dimension; got "
            f"{list(widths)}. Widen the layers."
        )
