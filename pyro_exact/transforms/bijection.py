"""The contract of every flow layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.torch_transform import TransformModule
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import check_floating, check_sizes, check_tensor
from pyro_exact.nn.abstract import AbstractModuleMeta
from pyro_exact.transforms.memory import FORWARD, INVERSE, Memory

Shape = Sequence[int]
Event = Sequence[int | None]


class Bijection(TransformModule, ConditionalTransform, metaclass=AbstractModuleMeta):
    r"""Base class of every flow layer: an invertible map :math:`y = f(x)`, plain or conditional.

    A layer declares the shape of its events and of its context, and writes two pure methods, `transform` and `invert`.
    From these it is a stock `torch.distributions.Transform` (``y = layer(x)``, ``layer.inv(y)``,
    ``layer.log_abs_det_jacobian(x, y)``) and, when it takes a context, a stock Pyro conditional transform
    (``layer.condition(context)``).

    Use `forward_and_ladj` and `inverse_and_ladj` to evaluate a layer without a distribution. They check their
    arguments, as does every other public method; `transform` and `invert` do not, because a container has done so for
    its parts.

    The log-determinant is computed together with the value, and remembered until the output dies: a sample and its
    score are one evaluation. `Memory` says when a value is computed anew.

    Args:
        event: Shape of one event of ``x``, with `None` for a dimension of any size: (dim,) for vectors,
            (channels, None, None) for images.
        output: Shape of one event of ``y``, where it differs.
        context_dim: Size of the context vector, or the shape of a context; `None` for a plain layer.

    Shape:
        - x: (\*batch, \*event), floating point. It is cast to the dtype of the weights, to float32 at least.
        - context: (\*batch, \*context_shape). `condition` broadcasts its batch shape with that of ``x``; the pure
          methods expect an ``x`` that has been expanded to both.
        - ladj: (\*batch).

    Raises:
        TypeError: If ``x`` or the context is no tensor of real numbers.
        ValueError: If ``x`` or the context has another shape.
    """

    bijective = True
    __repr__ = nn.Module.__repr__  # shows the parts, where that of Transform shows a bare name

    def __init__(
        self, event: Event, output: Event | None = None, context_dim: int | Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.event = tuple(event)
        self.output = self.event if output is None else tuple(output)
        self.context_shape = self._context_shape(context_dim)
        self.domain, self.codomain = _reals(len(self.event)), _reals(len(self.output))
        self._memory = Memory()
        self._fitting: set[tuple[int, ...]] = set()  # shapes of events that have been checked, with their direction
        self._traced: tuple[Tensor, Tensor, Tensor, int] | None = None

    def _context_shape(self, context_dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
        if context_dim is None:
            return None
        sizes = context_dim if hasattr(context_dim, "__iter__") else (context_dim,)
        return check_sizes(type(self).__name__, "context_dim", sizes)

    # To be written by a layer ----------------------------------------------------------------------------------------

    @abstractmethod
    def transform(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`, without any check."""

    @abstractmethod
    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x / \partial y|`, without any check."""

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data, and return the output. By default there are none."""
        return self.transform(x, context)[0]

    def forward_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``y`` for an ``x`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return other_shape(self, shape, self.event, self.output)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``x`` for a ``y`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return other_shape(self, shape, self.output, self.event)

    # The public methods of every layer -------------------------------------------------------------------------------

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`. Nothing is remembered."""
        return self.transform(*self._checked(x, context, FORWARD))

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x / \partial y|`. Nothing is remembered."""
        return self.invert(*self._checked(y, context, INVERSE))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data from the batch ``x``, and return the output.

        Only an explicit call initialises: sampling, scoring and loading never do. A layer is initialised in its own
        direction; through `inv` nothing is set.
        """
        return self.data_init(*self._checked(x, context, FORWARD))

    @property
    def inv(self) -> Bijection:
        """The inverse map, itself a `Bijection` with the same parameters."""
        from pyro_exact.transforms.inverse import Inverse  # derives from this class

        inverse: Any = self._inv  # an attribute of Transform, which leaves it out of copies
        if inverse is None:
            inverse = self.__dict__["_inv"] = Inverse(self)  # as no part: its parameters would be counted twice
        return inverse

    def condition(self, context: Tensor) -> Bijection:
        """Bind a context. A plain layer returns itself."""
        from pyro_exact.transforms.conditioned import Conditioned  # derives from this class

        return self if self.context_shape is None else Conditioned(self, context)

    def with_cache(self, cache_size: int = 1) -> Bijection:
        """Return the layer itself: its memory serves where torch would cache."""
        return self

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`\log|\det \partial y / \partial x|`, of shape (\*batch)."""
        for output, source, direction in ((y, x, FORWARD), (x, y, INVERSE)):
            ladj = self._remembered(output, source, direction)
            if ladj is not None:
                return ladj if direction == FORWARD else -ladj
        return self.forward_and_ladj(x)[1]

    # The two methods that Transform calls ----------------------------------------------------------------------------

    def _call(self, x: Tensor) -> Tensor:
        return self._evaluate(x, FORWARD)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._evaluate(y, INVERSE)

    def _evaluate(self, given: Tensor, direction: int) -> Tensor:
        """Return the output for ``given``, and remember the log-determinant."""
        compiling = torch.compiler.is_compiling()
        if not compiling and isinstance(given, Tensor):
            record = self._memory.find(self, given, -direction)
            if record is not None:
                return record.source  # the opposite direction made `given`: an exact round trip

        source, context = self._checked(given, None, direction)
        output, ladj = (self.transform if direction == FORWARD else self.invert)(source, context)

        if compiling:
            self._traced = (output, given, ladj, direction)
            return output

        # The key must be a tensor that the graph of `ladj` does not hold, or the record would keep itself alive.
        output = output.view_as(output)
        self._memory.write(self, output, given, source, ladj, direction)
        return output

    def _remembered(self, output: Tensor, source: Tensor, direction: int) -> Tensor | None:
        """Return the log-determinant of the call that made ``output`` from ``source``, if there is one."""
        if torch.compiler.is_compiling():  # a compiler cannot trace a weak map: it gets the last call alone
            traced, self._traced = self._traced, None
            if traced is None:
                return None
            known = traced[0] is output and traced[1] is source and traced[3] == direction
            return traced[2] if known else None

        record = self._memory.find(self, output, direction)
        if record is None or (record.source is not source and record.given is not source):
            return None
        return record.ladj

    def _checked(self, x: Tensor, context: Tensor | None, direction: int) -> tuple[Tensor, Tensor | None]:
        """Return an input and its context in the dtype of the weights, if their shapes fit the layer."""
        check_floating(type(self).__name__, "its input", x)
        if isinstance(self, PyroModule):
            check_active(self)

        weight = _first_weight(self)
        if weight is not None and weight.dtype != x.dtype:
            x = x.to(torch.promote_types(weight.dtype, torch.float32))

        cut = x.dim() - len(self.event if direction == FORWARD else self.output)
        key = (direction, cut < 0, *x.shape[cut:])
        if key not in self._fitting:
            (self.forward_shape if direction == FORWARD else self.inverse_shape)(x.shape)
            self._fitting.add(key)

        if context is None and self.context_shape is None:
            return x, None
        check_context(self, context, x.shape[:cut])
        return x, None if context is None else context.to(x.dtype)


def other_shape(layer: Bijection, shape: Shape, event: Event, other: Event) -> torch.Size:
    """Return the shape on the other side of a layer, or say how an event does not fit.

    Args:
        layer: The layer.
        shape: Shape on this side, (*batch, *event).
        event: Declared shape of an event on this side.
        other: Declared shape of an event on the other side; the same, or without `None`.
    """
    cut = len(shape) - len(event)
    found = shape[cut:] if cut >= 0 else ()
    if len(found) == len(event) and all(size is None or size == mine for size, mine in zip(event, found, strict=True)):
        return torch.Size(shape) if event == other else torch.Size((*shape[:cut], *other))  # type: ignore[arg-type]

    name = type(layer).__name__
    if cut < 0:
        raise ValueError(
            f"{name} expects at least {len(event)} dimensions in an event; got shape {tuple(shape)}. "
            f"Add the missing dimensions."
        )
    if None in event[1:] or len(event) == 1:
        kind = "channels" if len(event) > 1 else "dimensions"
        raise ValueError(
            f"{name} expects {event[0]} {kind}; got {found[0]} in shape {tuple(shape)}. "
            f"Build the layer for {found[0]}, or check the order of the dimensions."
        )
    raise ValueError(
        f"{name} expects events of shape {tuple(event)}; got {tuple(shape)}. Build the layer for that shape."
    )


def context_batch_shape(layer: Bijection, context: object) -> torch.Size:
    """Return the batch shape of a context, or say how it does not fit."""
    name, expected = type(layer).__name__, layer.context_shape
    if expected is None:
        raise ValueError(f"{name} takes no context; got a {type(context).__name__}. Build it with a context.")
    tensor = check_tensor(name, "a context", context)
    cut = tensor.dim() - len(expected)
    if cut < 0 or tuple(tensor.shape[cut:]) != expected:
        raise ValueError(
            f"{name} expects a context of shape (*batch, {', '.join(map(str, expected))}); got {tuple(tensor.shape)}. "
            f"Pass a context of that size, or build the layer for yours."
        )
    return tensor.shape[:cut]


def check_context(layer: Bijection, context: Tensor | None, batch: torch.Size) -> None:
    """Check that a context fits the layer, and broadcasts to the batch shape of the input."""
    if context is None and layer.context_shape is not None:
        raise ValueError(
            f"{type(layer).__name__} expects a context of shape (*batch, {', '.join(map(str, layer.context_shape))}); "
            f"got none. Call layer.condition(context) first."
        )

    found = context_batch_shape(layer, context)
    if len(found) > len(batch) or any(f not in (1, b) for f, b in zip(found[::-1], batch[::-1], strict=False)):
        raise ValueError(
            f"{type(layer).__name__} expects an input with the batch shape of its context; got {tuple(batch)} and "
            f"{tuple(found)}. Expand the input, or call layer.condition(context), which does."
        )


def check_conditioner(owner: str, conditioner: object, expected: type[nn.Module]) -> None:
    """Check that the network of a layer is one of the expected kind."""
    if not isinstance(conditioner, expected):
        raise TypeError(
            f"{owner} expects a conditioner of type {expected.__name__}; got {type(conditioner).__name__}. "
            f"Derive it from pyro_exact.nn.{expected.__name__}."
        )


def sum_event(ladj: Tensor, event_dim: int) -> Tensor:
    """Sum the log-derivatives of the elements of an event."""
    return ladj.sum(tuple(range(-event_dim, 0))) if event_dim else ladj


def check_active(layer: PyroModule) -> None:
    """Check that weights which are random variables are read where Pyro draws them.

    A stock ``pyro.sample(..., obs=x)`` scores after the model has returned, when Pyro would draw other weights.
    """
    random = any(isinstance(part, PyroModule) and part._pyro_samples for part in layer.modules())
    if random and not layer._pyro_context.active:
        raise ValueError(
            f"{type(layer).__name__} expects to be evaluated inside of the call of the PyroModule that holds it, "
            f"because its weights are random variables; got a call outside. "
            f'Score there, with pyro.factor("x", d.log_prob(x)) in place of pyro.sample("x", d, obs=x).'
        )


def context_for(part: Bijection, context: Tensor | None) -> Tensor | None:
    """Return the context for a part of a container: a plain part gets none."""
    return None if part.context_shape is None else context


def common_context_shape(owner: str, shapes: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Return the context shape of parts that share one context, `None` if none of them takes any."""
    found = set(shapes) - {None}
    if len(found) > 1:
        raise ValueError(f"{owner} expects one context shape; got {sorted(map(str, found))}. Use one for all parts.")
    return found.pop() if found else None


def _first_weight(module: nn.Module) -> Tensor | None:
    """Return the first parameter of floating point: all of a layer share one dtype."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.is_floating_point():
            return parameter
    for part in module._modules.values():
        weight = None if part is None else _first_weight(part)
        if weight is not None:
            return weight
    return None


@cache
def _reals(event_dim: int) -> constraints.Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real
