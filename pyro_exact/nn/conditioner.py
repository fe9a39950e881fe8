"""Conditioners: networks that compute the parameters of a formula."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_sizes
from pyro_exact.nn.abstract import AbstractModuleMeta
from pyro_exact.nn.convolution import ScaledConv2d
from pyro_exact.nn.parameters import hypernet
from pyro_exact.nn.precision import network_input

Layer = Callable[[Tensor], Tensor]


class Conditioner(nn.Module, metaclass=AbstractModuleMeta):
    r"""Base class of a network theta = g(x, context), which computes the parameters of a formula.

    Derive from this class to use another network in `pyro_exact.transforms.Coupling` or
    `pyro_exact.transforms.FactorOut`.

    Attributes:
        in_size: Channels (or dimension) of the input that is required by the network; `None`
            (default) for any.
        context_shape: Shape of an optional context; `None` for a network without a
            context.
        separable: True if ``forward`` takes ``separate=True``, to return a tuple of the parameters,
            ``theta.unbind(-1)``, without putting them together first. A class with a ``forward`` of
            its own must set this attribute, or it is false.

    Shape:
        - x: (\*batch, \*event); context: (\*batch, \*context_shape), or a shape that broadcasts to
          it.
        - theta: (\*batch, \*event of the free part, num_params).

    Example:
        >>> class Constant(Conditioner):
        ...     def __init__(self):
        ...         super().__init__(in_size=2)
        ...         self.theta = nn.Parameter(torch.zeros(2, 2))
        ...     def forward(self, x, context=None):
        ...         return self.theta.expand(*x.shape[:-1], 2, 2)
        >>> Coupling(Halves(4), Affine(), Constant())(torch.ones(3, 4)).shape
        torch.Size([3, 4])
    """

    separable = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward" in cls.__dict__ and "separable" not in cls.__dict__:
            cls.separable = False

    def __init__(
        self,
        in_size: int | None = None,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_size = in_size
        self.context_shape: tuple[int, ...] | None = None
        if context_shape is not None:
            shape = context_shape if isinstance(context_shape, Sequence) else (context_shape,)
            self.context_shape = check_sizes(type(self).__name__, "the context", shape, least=0)

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for an input."""

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the weights that depend on data, using the batch ``x``, without gradient.

        By default this does nothing.
        """


class CausalConditioner(Conditioner):
    r"""Base class of a conditioner whose theta depends on the dimensions before only.

    Derive from this class to use another network in `pyro_exact.transforms.MaskedAutoregressive`.
    You should implement `start` and `step` when a step can cost less than a whole pass; by default,
    each step is a pass.

    Attributes:
        dim: Dimension of the vectors.
        order: The order in which the dimensions come: a permutation of 0, ..., dim - 1.

    Shape:
        - x: (\*batch, dim); context: (\*batch, \*context_shape); theta: (\*batch, dim, num_params).
    """

    def __init__(
        self,
        dim: int,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(dim, context_shape)
        self.dim = dim

    @property
    def order(self) -> Sequence[int]:
        """The order in which the dimensions come."""
        return range(self.dim)

    def start(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
    ) -> Any:
        """Return the state before the first step."""
        weight = next(self.parameters(), torch.zeros(()))
        return weight.new_zeros(*batch_shape, self.dim), context, 0

    def step(
        self,
        state: Any,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        r"""Return theta of the next dimension, (\*batch, num_params), and the next state.

        Args:
            state: From `start`, or from the step before.
            previous: The input of the dimension of the step before, (\*batch); must be `None` at
                the first step.
        """
        x, context, done = state
        if previous is not None:
            column = torch.full_like(x[..., :1], self.order[done - 1], dtype=torch.long)
            x = x.to(previous.dtype).scatter(-1, column, previous.unsqueeze(-1))

        return self(x, context)[..., self.order[done], :], (x, context, done + 1)


class DenseConditioner(Conditioner):
    r"""A multilayer perceptron from a vector, and a context, to the parameters of a formula.

    Use this network for couplings of vectors. The last layer starts at zero, so that the coupling
    starts as the identity.

    Args:
        in_features: Dimension of the fixed part.
        out_features: Dimension of the free part.
        num_params: Parameters that the formula uses for each element.
        hidden_dims: Widths of the hidden layers.
        context_dim: Size of an optional context vector.

    Shape:
        - x: (\*batch, in_features); context: (\*batch, context_dim).
        - theta: (\*batch, out_features, num_params).
    """

    separable = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        num_params: int,
        hidden_dims: Sequence[int] = (64, 64),
        context_dim: int | None = None,
    ) -> None:
        super().__init__(in_features, context_dim)
        self.num_params = num_params
        self.net = hypernet(
            in_features + (context_dim or 0),
            out_features * num_params,
            hidden_dims,
        )

    def forward(self, x: Tensor, context: Tensor | None = None, separate: bool = False) -> Any:
        """Return the parameters for the fixed part ``x``, or a tuple of them."""
        x = network_input("DenseConditioner", "x", x, cast(nn.Linear, self.net[-1]).weight)
        if self.context_shape is not None:
            context = required(context, self.context_shape, x, x.shape[:-1])
            x = torch.cat((x, context), dim=-1)

        return arranged(self.net(x), self.num_params, separate)


class ConvConditioner(Conditioner):
    r"""The convolutional network of Glow: 3x3, 1x1, 3x3, with activation normalisation inside.

    Use this network for couplings of images. The last layer starts at zero. The parameters of an
    element lie in neighbouring channels of the last convolution (shift, scale, shift, scale, ...),
    as in the official code. An optional context vector shifts the hidden channels; this shift
    starts at zero.

    Args:
        in_channels: Channels of the fixed part.
        out_channels: Channels of the free part.
        num_params: Parameters that the formula uses for each element.
        width: Hidden channels.
        context_dim: Size of an optional context vector.
        edge: If true, the 3x3 convolutions see the padding.
        log_scale_factor: See `ScaledConv2d`.

    Shape:
        - x: (\*batch, in_channels, H, W); context: (\*batch, context_dim).
        - theta: (\*batch, out_channels, H, W, num_params).

    Reference:
        Kingma and Dhariwal (2018), Glow, official code (`f`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_params: int,
        width: int = 512,
        context_dim: int | None = None,
        edge: bool = True,
        log_scale_factor: float = 3.0,
    ) -> None:
        super().__init__(in_channels, context_dim)
        self.num_params = num_params
        self.first = ScaledConv2d(
            in_channels, width, 3, edge=edge, log_scale_factor=log_scale_factor
        )
        self.second = ScaledConv2d(width, width, 1, log_scale_factor=log_scale_factor)
        self.last = ScaledConv2d(
            width,
            out_channels * num_params,
            3,
            zero=True,
            edge=edge,
            log_scale_factor=log_scale_factor,
        )
        self.shift = None if context_dim is None else hypernet(context_dim, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for the fixed part ``x``."""
        x = network_input("ConvConditioner", "x", x, self.first.weight)
        h = self._hidden(x, context, self.first, self.second)
        return split_params(self.last(h), self.num_params, x)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Normalise the hidden channels on the batch ``x``."""
        with torch.no_grad():
            self._hidden(x, context, self.first.initialize, self.second.initialize)

    def _hidden(
        self,
        x: Tensor,
        context: Tensor | None,
        first: Layer,
        second: Layer,
    ) -> Tensor:
        batch = x.shape[:-3]

        # Channels last: the convolutions are up to twice as fast on a CPU, and no slower on a GPU.
        h = first(x.reshape(-1, *x.shape[-3:]).contiguous(memory_format=torch.channels_last))
        if self.shift is not None and self.context_shape is not None:
            context = required(context, self.context_shape, x, batch)
            context = context.reshape(-1, *self.context_shape)
            h = h + self.shift(context)[..., None, None]

        return second(h.relu_()).relu_()  # in place: no convolution needs its own output again


class PriorConditioner(Conditioner):
    r"""A 3x3 convolution that starts at zero.

    It is used by `pyro_exact.transforms.FactorOut` to compute the learned prior of Glow.

    Args:
        in_channels: Channels of the kept part.
        out_channels: Channels of the part that is factored out.
        edge: See `ScaledConv2d`.
        log_scale_factor: See `ScaledConv2d`.

    Shape:
        - x: (\*batch, in_channels, H, W); theta: (\*batch, out_channels, H, W, 2).

    Reference:
        Kingma and Dhariwal (2018), Glow, official code (`split2d_prior`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edge: bool = True,
        log_scale_factor: float = 3.0,
    ) -> None:
        super().__init__(in_channels)
        self.conv = ScaledConv2d(
            in_channels,
            2 * out_channels,
            3,
            zero=True,
            edge=edge,
            log_scale_factor=log_scale_factor,
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for the kept part ``x``."""
        x = network_input("PriorConditioner", "x", x, self.conv.weight)
        return split_params(self.conv(x.reshape(-1, *x.shape[-3:])), 2, x)


def required(
    context: Tensor | None,
    shape: tuple[int, ...],
    like: Tensor,
    batch: Sequence[int] | None = None,
) -> Tensor:
    """Return the context in the precision of ``like``, if it has the required shape.

    With a batch shape, the context is expanded to it.
    """
    if context is None or context.shape[context.dim() - len(shape) :] != shape:
        got = (
            "none. Pass one, or call layer.condition(context) first"
            if context is None
            else f"{tuple(context.shape)}"
        )
        raise ValueError(
            f"A conditional layer expects a context of shape (*batch, "
            f"{', '.join(map(str, shape))}); got {got}."
        )

    if batch is not None and context.shape != (*batch, *shape):
        context = context.expand(*batch, *shape)

    return context.to(like.dtype)


def arranged(outputs: Tensor, num_params: int, separate: bool = False) -> Any:
    """Return the outputs of a dense network as theta, or as a tuple of the parameters.

    Two parameters are taken apart by a formula, and more are summed over. So the outputs hold the
    first parameter of all elements and then the second, or all parameters of an element together.

    Shape:
        - outputs: (*batch, size * num_params); theta: (*batch, size, num_params).
    """
    batch = outputs.shape[:-1]
    size = outputs.shape[-1] // num_params

    if num_params > 2:
        theta = outputs.view(*batch, size, num_params)
        return theta.unbind(-1) if separate else theta

    if separate:
        return outputs.split_with_sizes([size] * num_params, -1)

    return outputs.view(*batch, num_params, size).mT


def split_params(theta: Tensor, num_params: int, x: Tensor) -> Tensor:
    """Reshape (N, C num_params, H, W) to (*batch of x, C, H, W, num_params)."""
    split = theta.unflatten(1, (-1, num_params)).movedim(2, -1)
    return split.reshape(x.shape[:-3] + split.shape[1:])
