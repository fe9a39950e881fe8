"""The contract of every flow layer, `Bijection`, and the only machinery behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from typing import Any, NamedTuple

import torch
from pyro.distributions.conditional import ConditionalTransformModule
from pyro.distributions.torch_transform import TransformModule
from torch import Tensor, nn
from torch.distributions import constraints
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

Shape = Sequence[int]
Direction = Callable[[Tensor], tuple[Tensor, Tensor]]
Method = Callable[[Any, Tensor, Tensor | None], Any]
State = tuple[int, int, int, bool]
Stamp = tuple[Any, ...]


class Bijection(TransformModule, ConditionalTransformModule):
    r"""Base class of every flow layer: an invertible map :math:`y = f(x)`, plain or conditional.

    A layer writes two pure methods, `forward_and_ladj` and `inverse_and_ladj`. From them it is a stock
    `torch.distributions.Transform` (``y = layer(x)``, ``layer.inv(y)``, ``layer.log_abs_det_jacobian(x, y)``) and,
    when it has a ``context_shape``, a stock Pyro conditional transform (``layer.condition(context)``). What enters the
    two methods, or `initialize`, is checked for it: by `forward_shape`, `inverse_shape` and ``context_shape``.

    The log-determinant is computed together with the value, and remembered by the *output* tensor until that tensor
    dies; so scoring or sampling evaluates each network once. `Ledger` says what is never answered from memory.

    Args:
        event_dim: Number of dimensions of one event of ``x``: 1 for vectors, 3 for images (C, H, W).
        context_shape: Shape of one context, `None` for a plain layer.
        output_event_dim: Number of dimensions of one event of ``y``, where it differs.

    Shape:
        - x: (\*batch, \*event), floating point.
        - context: (\*batch, \*context_shape). `condition` broadcasts its batch shape with that of ``x``; the pure
          methods expect an ``x`` that has been expanded to both.
        - ladj: (\*batch).
    """

    bijective = True
    __repr__ = nn.Module.__repr__  # shows the parts, where that of Transform shows a bare name

    def __init__(self, event_dim: int, context_shape: Shape | None = None, output_event_dim: int | None = None) -> None:
        super().__init__()
        if context_shape is not None and min(context_shape, default=1) < 1:
            raise ValueError(
                f"{type(self).__name__} expects a context of positive size; got {tuple(context_shape)}. "
                f"Build it without a context."
            )
        self.context_shape = None if context_shape is None else tuple(context_shape)
        self.domain = _reals(event_dim)
        self.codomain = _reals(event_dim if output_event_dim is None else output_event_dim)
        self._ledger = Ledger()

    def __init_subclass__(cls) -> None:
        """Put a check of the arguments before the methods that a layer writes."""
        super().__init_subclass__()
        for name in ("forward_and_ladj", "inverse_and_ladj", "initialize"):
            if name in vars(cls):
                setattr(cls, name, _checking(vars(cls)[name], f"{cls.__name__}.{name}"))

    # What a layer writes ---------------------------------------------------------------------------------------------

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`. Pure: nothing is remembered."""
        raise NotImplementedError

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x / \partial y|`. Pure."""
        raise NotImplementedError

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data from the batch ``x``, without gradient, and return the output.

        Only an explicit call initialises: sampling, scoring and loading never do. A layer is initialised in its own
        direction; through `inv` nothing is set.
        """
        with torch.no_grad():
            return self.forward_and_ladj(x, context)[0]

    def forward_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``y`` for an ``x`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return self._fitting(shape, self.domain.event_dim)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``x`` for a ``y`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return self._fitting(shape, self.codomain.event_dim)

    # What a layer gets -----------------------------------------------------------------------------------------------

    @property
    def inv(self) -> Bijection:
        """The inverse map, itself a `Bijection` with the same parameters."""
        inverse: Any = self._inv  # as in Transform, which leaves it out of copies
        if inverse is None:
            inverse = self.__dict__["_inv"] = Inverse(self)  # no part, whose parameters would be counted twice
        return inverse

    def condition(self, context: Tensor) -> Bijection:
        """Bind a context. A plain layer returns itself."""
        return self if self.context_shape is None else Conditioned(self, context)

    def with_cache(self, cache_size: int = 1) -> Bijection:
        """Return the layer itself: its ledger serves where torch would cache."""
        return self

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`\log|\det \partial y / \partial x|`, of shape (\*batch)."""
        for output, source, sign in ((y, x, 1), (x, y, -1)):
            record = self._ledger.find(output, sign, self._stamp)
            if record is not None and record.source is source:
                return record.ladj
        return self.forward_and_ladj(x)[1]

    def _call(self, x: Tensor) -> Tensor:
        return self._once(x, self.forward_and_ladj, 1)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._once(y, self.inverse_and_ladj, -1)

    def _once(self, source: Tensor, direction: Direction, sign: int) -> Tensor:
        record = self._ledger.find(_floating(source), -sign, self._stamp)
        if record is not None:
            return record.source  # the opposite direction made `source`: an exact round trip
        output, ladj = direction(source)
        # The key must be a tensor that the graph of `ladj` does not hold, or the record would keep itself alive.
        output = output.view_as(output)
        self._ledger.write(output, source, ladj if sign > 0 else -ladj, sign, *self._stamp())
        return output

    def _stamp(self) -> tuple[Stamp, list[Tensor]]:
        """Return what a remembered value depends on beside its source, modes and weights, and the weights."""
        modes: list[bool] = []
        found: list[Tensor | None] = []
        modules: list[nn.Module | None] = [self]
        for module in modules:  # one walk of a list that grows: a Glow has a thousand modules
            if module is not None:
                modes.append(module.training)
                found += module._parameters.values()
                found += module._buffers.values()
                modules += module._modules.values()
        weights = [t for t in found if t is not None]
        return (Ledger.steps, modes, states(weights)), weights

    def _fitting(self, shape: Shape, event_dim: int) -> torch.Size:
        if len(shape) < event_dim:
            raise ValueError(
                f"{type(self).__name__} expects at least {event_dim} dimensions in an event; got shape {tuple(shape)}. "
                f"Add the missing dimensions."
            )
        return torch.Size(shape)


def _checking(method: Method, name: str) -> Method:
    """Return a method that a layer writes, behind a check of its arguments."""
    inverse = method.__name__ == "inverse_and_ladj"

    def checked(self: Bijection, source: Tensor, context: Tensor | None = None) -> Any:
        shape = _floating(source).shape
        (self.inverse_shape if inverse else self.forward_shape)(shape)
        event_dim = (self.codomain if inverse else self.domain).event_dim
        _check_context(self, shape[: len(shape) - event_dim], context)
        return method(self, source, context)

    # torch.compile keeps its graphs by code object, and a few of each: no two layers should share one.
    checked.__code__ = checked.__code__.replace(co_name=name)
    return wraps(method)(checked)


class Record(NamedTuple):
    """What an output tensor was computed from; ``ladj`` is that of the forward direction."""

    source: Tensor
    ladj: Tensor
    sign: int
    with_grad: bool
    stamp: Stamp
    weights: list[Tensor]  # held, for the stamp knows them by their ids
    states: list[State]


class Ledger:
    """A weak map from an output tensor to its `Record`.

    A record dies with its output tensor, and is left behind by ``pickle`` and ``deepcopy``. It is not found

    - in the direction that made it, so ``t(t(x))`` is not undone;
    - by a query with gradient, when it was made without;
    - after a weight, a buffer or a training mode has changed, or after the output, its source or the log-determinant
      was written to. (A write into ``.data``, or to a tensor of inference mode, stays unseen, as by autograd.)
    """

    steps = 0  # of all optimisers: the fused ones write to the weights without raising their version

    def __init__(self) -> None:
        self._records = WeakTensorKeyDictionary()

    def find(self, output: Tensor, sign: int, stamp: Callable[[], tuple[Stamp, list[Tensor]]]) -> Record | None:
        """Return the record of an output made in direction ``sign``, if it may be used now."""
        record: Record | None = self._records.get(output)
        if record is None or record.sign != sign or (torch.is_grad_enabled() and not record.with_grad):
            return None
        now = stamp()[0], states((output, record.source, record.ladj))
        return record if now == (record.stamp, record.states) else None

    def write(
        self, output: Tensor, source: Tensor, ladj: Tensor, sign: int, stamp: Stamp, weights: list[Tensor]
    ) -> None:
        """Remember where ``output`` comes from for as long as it lives."""
        record = Record(source, ladj, sign, torch.is_grad_enabled(), stamp, weights, states((output, source, ladj)))
        self._records[output] = record

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[type[Ledger], tuple[()]]:
        return Ledger, ()


class Inverse(Bijection):
    """The inverse of a bijection; it shares parameters and ledger with the original."""

    def __init__(self, bijection: Bijection) -> None:
        super().__init__(bijection.codomain.event_dim, bijection.context_shape, bijection.domain.event_dim)
        self.bijection = bijection
        self.domain, self.codomain = bijection.codomain, bijection.domain
        self.training = bijection.training

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse_and_ladj(x, context)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.forward_and_ladj(y, context)

    def forward_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        return self.bijection.forward_shape(shape)

    @property
    def inv(self) -> Bijection:
        return self.bijection

    def condition(self, context: Tensor) -> Bijection:
        return self if self.context_shape is None else self.bijection.condition(context).inv

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.bijection.log_abs_det_jacobian(y, x)

    def _call(self, x: Tensor) -> Tensor:
        return self.bijection._inverse(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.bijection._call(y)


class Conditioned(Bijection):
    """A conditional bijection with its context bound: what `Bijection.condition` returns.

    Args:
        bijection: A layer with a ``context_shape``.
        context: Of shape (*batch, *context_shape).

    Raises:
        TypeError: If the context is no tensor of real numbers.
        ValueError: If it does not have the shape that the layer was built for.
    """

    context: Tensor

    def __init__(self, bijection: Bijection, context: Tensor) -> None:
        super().__init__(bijection.domain.event_dim, None, bijection.codomain.event_dim)
        self.bijection = bijection
        self.domain, self.codomain = bijection.domain, bijection.codomain
        self.context_batch = context_batch_shape(bijection, context)
        self.register_buffer("context", context, persistent=False)
        self.training = bijection.training

    def forward_and_ladj(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.forward_and_ladj(self._broadcast(x, self.domain.event_dim), self.context)

    def inverse_and_ladj(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse_and_ladj(self._broadcast(y, self.codomain.event_dim), self.context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bijection.initialize(self._broadcast(x, self.domain.event_dim), self.context)

    @property
    def inv(self) -> Bijection:
        return Inverse(self)  # a new one: in a cycle with it, the graph of the context would outlive its step

    # With the batch of the context in its shapes, a stock TransformedDistribution expands its base to that batch: equal
    # contexts get noise of their own.

    def forward_shape(self, shape: Shape) -> torch.Size:
        return self._broadcast_shape(self.bijection.forward_shape(shape), self.codomain.event_dim)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        return self._broadcast_shape(self.bijection.inverse_shape(shape), self.domain.event_dim)

    def _call(self, x: Tensor) -> Tensor:
        return super()._call(self._broadcast(x, self.domain.event_dim))

    def _inverse(self, y: Tensor) -> Tensor:
        return super()._inverse(self._broadcast(y, self.codomain.event_dim))

    def _broadcast(self, x: Tensor, event_dim: int) -> Tensor:
        shape = self._broadcast_shape(x.shape, event_dim)
        return x if x.shape == shape else x.expand(shape)  # the ledger knows the tensor itself, not a copy

    def _broadcast_shape(self, shape: torch.Size, event_dim: int) -> torch.Size:
        cut = len(self._fitting(shape, event_dim)) - event_dim
        try:
            return torch.Size((*torch.broadcast_shapes(shape[:cut], self.context_batch), *shape[cut:]))
        except RuntimeError:
            raise ValueError(
                f"{type(self.bijection).__name__} expects batch shapes of input and context that broadcast; got "
                f"{tuple(shape[:cut])} and {tuple(self.context_batch)}. Pass a context for each input, or one for all."
            ) from None


def context_batch_shape(bijection: Bijection, context: Tensor) -> torch.Size:
    """Return the batch shape of a context, or say how it does not fit."""
    expected = bijection.context_shape
    name = type(bijection).__name__
    if expected is None:
        raise ValueError(f"{name} takes no context; got a {type(context).__name__}. Build it with a context.")
    if not isinstance(context, Tensor) or context.is_complex():
        found = context.dtype if isinstance(context, Tensor) else type(context).__name__
        raise TypeError(f"{name} expects a context that is a tensor of real numbers; got {found}. Use torch.tensor.")
    cut = context.dim() - len(expected)
    if cut < 0 or tuple(context.shape[cut:]) != expected:
        raise ValueError(
            f"{name} expects a context of shape (*batch, {', '.join(map(str, expected))}); got {tuple(context.shape)}. "
            f"Pass a context of that size, or build the layer for yours."
        )
    return context.shape[:cut]


def context_for(part: Bijection, context: Tensor | None) -> Tensor | None:
    """Return what a part of a layer gets of the layer's context: nothing if it is plain."""
    return None if part.context_shape is None else context


def common_context_shape(owner: str, shapes: Iterable[tuple[int, ...] | None]) -> tuple[int, ...] | None:
    """Return the context shape of parts that share one context, `None` if none of them takes any."""
    found = set(shapes) - {None}
    if len(found) > 1:
        raise ValueError(f"{owner} expects one context shape; got {sorted(map(str, found))}. Use one for all parts.")
    return found.pop() if found else None


def states(tensors: Iterable[Tensor]) -> list[State]:
    """Return what changes when a tensor is replaced or written to, or when it starts or stops to require a gradient."""
    return [(id(t), _address(t), 0 if t.is_inference() else t._version, t.requires_grad) for t in tensors]


def _address(tensor: Tensor) -> int:
    """Return where the numbers are: other memory may be put behind a parameter, as by `vector_to_parameters`."""
    try:
        return tensor.data_ptr()
    except RuntimeError:  # one that only stands for numbers, as in `torch.func`
        return 0


def _count_step(*_: object) -> None:
    Ledger.steps += 1


register_optimizer_step_post_hook(_count_step)


@cache
def _reals(event_dim: int) -> constraints.Constraint:
    if event_dim < 0:
        raise ValueError(f"A flow layer expects an event_dim of at least 0; got {event_dim}. Vectors have 1, images 3.")
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real


def _floating(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"A flow layer expects a floating-point tensor; got {type(x).__name__}. Use torch.tensor.")
    if not x.is_floating_point():
        raise TypeError(
            f"A flow layer expects a floating-point tensor; got {x.dtype}. Convert it, e.g. with x.float()."
        )
    return x


def _check_context(bijection: Bijection, batch: torch.Size, context: Tensor | None) -> None:
    name, expected = type(bijection).__name__, bijection.context_shape
    if context is not None:
        found = context_batch_shape(bijection, context)
        if len(found) > len(batch) or any(f not in (1, b) for f, b in zip(found[::-1], batch[::-1], strict=False)):
            raise ValueError(
                f"{name} expects an input with the batch shape of its context; got {tuple(batch)} and {tuple(found)}. "
                f"Expand the input, or call layer.condition(context), which does."
            )
    elif expected is not None:
        raise ValueError(
            f"{name} expects a context of shape (*batch, {', '.join(map(str, expected))}); got none. "
            f"Call layer.condition(context) first."
        )
