"""Masked multilayer perceptrons: each output sees only the inputs before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_elements, check_seed, check_tensor
from pyro_exact.nn.conditioner import CausalConditioner, arranged, required
from pyro_exact.nn.dropout import Dropout
from pyro_exact.nn.masked_linear import MaskedLinear
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import StepState
from pyro_exact.ops.functorch import functorch_active
from pyro_exact.ops.masked_product import is_large
from pyro_exact.ops.tensor_cache import TensorCache, refresh_on_load


class MaskedDense(CausalConditioner):
    r"""A multilayer perceptron whose output depends on the dimensions before, and a context.

    Use this network (MADE) as the conditioner of `pyro_exact.transforms.MaskedAutoregressive`.

    `forward` evaluates all dimensions at once. Use `start` and `step` to evaluate the dimensions in
    turn, when each input may depend on the outputs so far. A step computes only the units that the
    input completes, so that all steps together cost no more arithmetic than a `forward` without
    masks.

    A single mask spreads the degrees of the hidden units evenly. Several masks are drawn at random,
    each with a different order; this is an ensemble of networks with the same weights. The last
    layer starts at zero. The weights of a single mask correspond to places in the order, so that
    the layers have blocks (see `MaskedLinear`); the weights of several masks correspond to
    dimensions.

    Args:
        dim: Dimension of the vectors.
        num_params: Parameters of each dimension.
        hidden_dims: Widths of the hidden layers. Each must be at least ``dim - 1``, or ``dim`` with
            a context, so that every input can reach an output. `None` (default) for two layers of
            ``max(64, 2 dim)``.
        context_dim: Size of an optional context vector, used by every output.
        order: Optional order of the dimensions: a permutation of 0, ..., dim - 1, or a permutation
            for each mask. The default is 0, ..., dim - 1 or, with several masks, random orders.
        masks: Count of masks, which are the members of the ensemble.
        seed: Optional seed of random degrees and orders, which are saved with the weights. `None`
            (default) for degrees spread evenly.
        direct: If true, a linear map from the inputs to the outputs is added, and hidden layers may
            be narrow.
        dropout: Share of the hidden units that `forward` leaves out in training.

    Shape:
        - x: (\*batch, dim); context: (\*batch, context_dim).
        - theta: (\*batch, dim, num_params).

    Raises:
        ValueError: If a hidden layer is too narrow, ``order`` is not a permutation, several masks
            have no seed, ``dropout`` is outside [0, 1), or the orders do not correspond to the
            masks.

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution
        Estimation, section 4.

    Example:
        >>> net = MaskedDense(3, num_params=2)
        >>> theta = net(torch.randn(5, 3))
        >>> theta.shape
        torch.Size([5, 3, 2])
    """

    separable = True

    orders: Tensor

    def __init__(
        self,
        dim: int,
        num_params: int,
        hidden_dims: Sequence[int] | None = None,
        context_dim: int | None = None,
        order: Iterable[Any] | None = None,
        masks: int = 1,
        seed: int | None = None,
        direct: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, context_dim)
        if dim < 1 or masks < 1 or (masks > 1 and seed is None):
            raise ValueError(
                "MaskedDense expects dim >= 1, and a single mask, or several masks with a seed; "
                f"got dim {dim}, {masks} masks and seed {seed}."
            )

        self.num_params = num_params
        hidden_dims = [max(64, 2 * dim)] * 2 if hidden_dims is None else list(hidden_dims)

        generator = None
        if seed is not None:
            generator = torch.Generator().manual_seed(check_seed("MaskedDense", seed))

        widths = [dim + (context_dim or 0), *hidden_dims, dim * num_params]
        for below, above in pairwise(widths):
            check_elements("MaskedDense", below, above)

        orders = _orders(order, dim, masks, generator)
        self.register_buffer("orders", orders, persistent=generator is not None)

        # The k-th input in the order has degree k, from 1; a context has degree 0. A hidden unit
        # sees the inputs up to the degree of the unit, an output those before the dimension.
        least = 1 if context_dim is None and dim > 1 else 0
        if not direct:
            _check_widths(hidden_dims, dim, least)

        hidden = _even_degrees(hidden_dims, least, dim)
        if generator is not None:
            most = max(least, dim - 1)
            hidden = _random_degrees(masks, hidden_dims, least, most, generator)

        # Large layers work in blocks, for which the columns must come in the order of the degrees.
        products = [below * above for below, above in pairwise(widths)]
        self.sorted = masks == 1 and any(map(is_large, products))

        self._build_layers(hidden, context_dim or 0, direct, saved=generator is not None)
        self.dropout = Dropout(dropout) if dropout != 0 else None
        self._order = TensorCache(_first_order, self.orders)
        refresh_on_load(self, "order")

    def _build_layers(
        self,
        hidden: list[Tensor],
        context_dim: int,
        direct: bool,
        saved: bool,
    ) -> None:
        """Build the layers between units of the given degrees; the outputs start at zero."""
        places = self._columns().argsort() + 1
        context = torch.zeros(len(places), context_dim, dtype=torch.long)
        inputs = torch.cat((context, places), dim=-1)

        # The degrees of the outputs, arranged as the outputs are.
        outputs = torch.empty(len(places), self.dim * self.num_params, dtype=torch.long)
        arranged(outputs, self.num_params).copy_((places - 1).unsqueeze(-1))

        self.layers: Sequence[MaskedLinear] = nn.ModuleList(  # type: ignore[assignment]
            MaskedLinear(below, above, saved=saved)
            for below, above in pairwise([inputs, *hidden, outputs])
        )
        self.direct: MaskedLinear | None = None
        zeros = list(self.layers[-1].parameters())
        if direct:
            self.direct = MaskedLinear(places, outputs, bias=False, saved=saved)
            zeros += self.direct.parameters()

        for parameter in zeros:
            nn.init.zeros_(parameter)

    @property
    def order(self) -> list[int]:
        """The order of the dimensions under the first mask."""
        return self._order.of(self.orders)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
        separate: bool = False,
    ) -> Any:
        """Return the outputs of all dimensions, using a mask of the ensemble.

        With ``separate``, return a tuple of the parameters.
        """
        *hidden, last = self.layers
        check_tensor("MaskedDense", "x", x)
        if x.dtype != last.weight.dtype:
            x = x.to(last.weight.dtype)

        permuted = self.sorted and self._permuted()
        if permuted:
            x = x.index_select(-1, self.orders[0])

        h = x
        if self.context_shape is not None:
            context = required(context, self.context_shape, x, x.shape[:-1])
            h = torch.cat((context, h), dim=-1)

        # Not `layer(h)`: the call of a module takes as long as a small product.
        for layer in hidden:
            h = layer.forward(h, member).relu_()
            if self.dropout is not None:
                h = self.dropout(h)

        theta = last.forward(h, member)

        if self.direct is not None:
            theta = theta + self.direct(x, member)

        if not permuted:
            return arranged(theta, self.num_params, separate)

        # The gradient of `index_copy` is a selection, that of `index_select` would be a sum.
        theta = arranged(theta, self.num_params)
        theta = torch.empty_like(theta).index_copy(-2, self.orders[0], theta)

        return theta.unbind(-1) if separate else theta

    def start(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        """Return the state before the first step."""
        first, *others = (layer.bias.expand(*batch_shape, -1) for layer in self.layers)
        if self.context_shape is not None:
            weight = self.layers[0].weight[:, : self.context_shape[0]]
            first = first + F.linear(required(context, self.context_shape, weight), weight)

        return StepState(member, 0, [first, *others])

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        """Return the outputs of the next dimension, (*batch, num_params), and the next state.

        Args:
            state: From `start`, or from the step before. A unit that is complete is not used again.
            previous: The input of the dimension of the step before, (*batch); must be `None` at the
                first step.
        """
        member = state.member
        degree = state.done
        received = list(state.cache)
        column_of = self._columns()[member]
        if previous is not None:
            new = previous.unsqueeze(-1)
            column = column_of[degree - 1 : degree]
            if self.direct is not None:
                weight = self.direct.weight.index_select(1, column)
                received[-1] = received[-1] + F.linear(new, weight)

            # The columns of the inputs lie behind those of the context.
            first = self.layers[0]
            column = column + first.in_features - self.dim
            weight = first.weight.index_select(1, column)
            received[0] = received[0] + F.linear(new, weight)

        # The units that are complete pass their output on to the next layer.
        for i, (below, above) in enumerate(pairwise(self.layers)):
            complete = below.complete(degree, member)
            new = received[i].index_select(-1, complete).relu()
            weight = above.weight.index_select(1, complete)
            received[i + 1] = received[i + 1] + F.linear(new, weight)

        column = column_of[degree : degree + 1]
        theta = arranged(received[-1], self.num_params)
        theta = theta.index_select(-2, column).squeeze(-2)

        return theta, state.next(received)

    @torch.no_grad()
    def set_output_bias(self, theta: Tensor) -> None:
        """Set the outputs of a network without weights, (dim, num_params)."""
        by_column = theta.index_select(0, self.orders[0]) if self.sorted else theta
        arranged(self.layers[-1].bias, self.num_params).copy_(by_column)

    def _columns(self) -> Tensor:
        """Return the columns of the inputs, and of the outputs, in order, (masks, dim)."""
        if self.sorted:
            return torch.arange(self.dim, device=self.orders.device)[None]

        return self.orders

    def _permuted(self) -> bool:
        """Return whether the columns of the weights are in another order than the dimensions."""
        if torch.compiler.is_compiling() or functorch_active():
            return True  # these may swap the order itself, which Python then does not see

        return self.order != list(range(self.dim))

    def extra_repr(self) -> str:
        return f"{self.dim}, num_params={self.num_params}"


def _first_order(orders: Tensor) -> list[int]:
    order: list[int] = orders[0].tolist()
    return order


def _orders(
    order: Iterable[Any] | None,
    dim: int,
    masks: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the order of each mask, (masks, dim); several masks have random orders by default."""
    if order is None and masks > 1:
        return torch.stack([torch.randperm(dim, generator=generator) for _ in range(masks)])

    orders = permutations(range(dim) if order is None else order, dim, "MaskedDense")
    if len(orders) not in (1, masks):
        raise ValueError(
            f"MaskedDense expects a single order, or an order for each of {masks} masks; got "
            f"{len(orders)} orders."
        )

    return orders.repeat(masks // len(orders), 1)


def _check_widths(hidden_dims: Sequence[int], dim: int, least: int) -> None:
    """Check that every input can reach an output."""
    if min(hidden_dims, default=dim) < dim - least:
        raise ValueError(
            f"MaskedDense expects hidden widths of at least {dim - least} for {dim} dimensions; "
            f"got {hidden_dims}, which would disconnect some inputs from all outputs. Use wider "
            "layers."
        )


def _even_degrees(widths: Sequence[int], least: int, dim: int) -> list[Tensor]:
    """Return the degrees of each hidden layer, (1, width), spread evenly from ``least`` on."""
    count = dim - least
    return [(least + torch.arange(width) * count // width)[None] for width in widths]


def _random_degrees(
    masks: int,
    widths: Sequence[int],
    least: int,
    most: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Draw the degrees of each hidden layer, (masks, width).

    Each is at least the smallest degree in the layer below, and at most ``most``.
    """
    drawn: list[Tensor] = []
    for width in widths:
        lowest = drawn[-1].amin(-1, keepdim=True) if drawn else torch.full((masks, 1), least)
        uniform = torch.rand(masks, width, generator=generator, dtype=torch.float64)
        degrees = lowest + (uniform * (most + 1 - lowest)).long()

        # The units of a layer are alike, so those of a single mask may as well stand in order: see
        # `MaskedLinear`.
        drawn.append(degrees.sort(-1).values if masks == 1 else degrees)

    return drawn
