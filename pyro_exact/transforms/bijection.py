"""The contract of every flow layer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from pyro.distributions.conditional import ConditionalTransform
from pyro.distributions.torch_transform import TransformModule
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import check_floating, check_size, check_sizes
from pyro_exact.nn.abstract import AbstractModuleMeta
from pyro_exact.transforms.boundary import (
    HALF,
    Event,
    Shape,
    check_active,
    check_context,
    first_weight,
    other_shape,
    precise,
)
from pyro_exact.transforms.memory import FORWARD, INVERSE, Memory, Record


class Bijection(TransformModule, ConditionalTransform, metaclass=AbstractModuleMeta):
    r"""Base class of every flow layer: an invertible map :math:`y = f(x)`, plain or conditional.

    Derive from this class to write a new layer. It must declare the shape of an event and of a
    context, and implement two pure methods, `transform` and `invert`. Using these, it is a stock
    `torch.distributions.Transform` (``y = layer(x)``, ``layer.inv(y)``,
    ``layer.log_abs_det_jacobian(x, y)``) and, when it takes a context, a stock Pyro conditional
    transform (``layer.condition(context)``).

    Use `forward_and_ladj` and `inverse_and_ladj` to evaluate a layer without a distribution. They
    check the arguments, like every other public method; `transform` and `invert` do not, because a
    container has already checked the input of its parts.

    The log-determinant is computed together with the value, and remembered until the output dies: a
    sample and the corresponding score require a single evaluation. `Memory` lists when a value is
    computed again.

    Args:
        event: Shape of an event of ``x``, with `None` for a dimension of any size: (dim,) for
            vectors, (channels, None, None) for images.
        output: Shape of an event of ``y``, where it differs.
        context_dim: Size of an optional context vector, or the shape of a context; `None` for a
            plain layer.

    Shape:
        - x: (\*batch, \*event), of a floating-point type. It is cast to the type of the weights,
          which must be float32 or float64.
        - context: (\*batch, \*context_shape). `condition` broadcasts the batch shape with that of
          ``x``; the pure methods expect an ``x`` that has been expanded to both.
        - ladj: (\*batch).

    Raises:
        TypeError: If ``x`` or the context is not a tensor of a real type.
        ValueError: If ``x`` or the context has another shape.
    """

    bijective = True
    __repr__ = nn.Module.__repr__  # shows the parts, where that of Transform shows a bare name

    def __init__(
        self,
        event: Event,
        output: Event | None = None,
        context_dim: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.event = tuple(event)
        self.output = self.event if output is None else tuple(output)
        self.context_shape = self._context_shape(context_dim)
        self.domain = _reals(len(self.event))
        self.codomain = _reals(len(self.output))
        self._memory = Memory()

        # Shapes of events that have been checked, each after its direction, and the last shape of x
        # with that of y.
        self._fitting: set[tuple[int, ...]] = set()
        self._last_shapes: tuple[torch.Size, torch.Size] | None = None

        # The output and the record of the last call that a compiler has traced.
        self._traced: tuple[Tensor, Record] | None = None

    def _context_shape(self, context_dim: int | Sequence[int] | None) -> tuple[int, ...] | None:
        if context_dim is None:
            return None

        name = type(self).__name__
        if hasattr(context_dim, "__iter__") and getattr(context_dim, "ndim", 1) > 0:
            return check_sizes(name, "context_dim", context_dim)

        return (check_size(name, "context_dim", context_dim),)

    # To be written by a layer
    # ----------------------------------------------------------------------------------------

    @abstractmethod
    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`, unchecked."""

    @abstractmethod
    def invert(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x/\partial y|`, unchecked."""

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data, and return the output.

        A layer without such parameters should use this default.
        """
        return self.transform(x, context)[0]

    def forward_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``y`` for an ``x`` of ``shape``.

        Raises:
            ValueError: If an event of this shape does not fit the layer.
        """
        return other_shape(self, shape, self.event, self.output)

    def inverse_shape(self, shape: Shape) -> torch.Size:
        """Return the shape of ``x`` for a ``y`` of ``shape``.

        Raises:
            ValueError: If an event of that shape does not fit the layer.
        """
        return other_shape(self, shape, self.output, self.event)

    # The public methods of every layer
    # -------------------------------------------------------------------------------

    def forward_and_ladj(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`y = f(x)` and :math:`\log|\det \partial y / \partial x|`.

        Nothing is remembered.
        """
        return self.transform(*self._checked(x, context, FORWARD))

    def inverse_and_ladj(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x = f^{-1}(y)` and :math:`\log|\det \partial x / \partial y|`.

        Nothing is remembered.
        """
        return self.invert(*self._checked(y, context, INVERSE))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Set the parameters that depend on data from the batch ``x``, and return the output.

        Only an explicit call initialises: sampling, scoring and loading never do. A layer is
        initialised in the forward direction; via `inv` nothing is set.
        """
        return self.data_init(*self._checked(x, context, FORWARD))

    @property
    def inv(self) -> Bijection:
        """The inverse map, itself a `Bijection` with the same parameters."""
        # Imported here, because it derives from this class.
        from pyro_exact.transforms.inverse import Inverse

        inverse: Any = self._inv  # an attribute of Transform, which leaves it out of copies
        if inverse is None:
            # Not registered as a part: its parameters would be counted twice.
            inverse = self.__dict__["_inv"] = Inverse(self)

        return inverse

    def condition(self, context: Tensor) -> Bijection:
        """Bind a context. A plain layer returns itself."""
        # Imported here, because it derives from this class.
        from pyro_exact.transforms.conditioned import Conditioned

        return self if self.context_shape is None else Conditioned(self, context)

    @property
    def sign(self) -> int:
        """1 for a layer of single elements that rises, -1 for a layer that falls.

        It is used by a stock ``cdf``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} is no map of single elements that rises or falls everywhere; a "
            f"cdf needs such a map, for example FixedAffine or Logit. Estimate the cdf from "
            f"samples."
        )

    def with_cache(self, cache_size: int = 1) -> Bijection:
        """Return the layer itself: the memory is used where torch would cache."""
        return self

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`\log|\det \partial y / \partial x|`, of shape (\*batch)."""
        check_floating(type(self).__name__, "x", x)
        check_floating(type(self).__name__, "y", y)
        for output, source, direction in ((y, x, FORWARD), (x, y, INVERSE)):
            record = self._find(output, direction)
            if record is not None and (record.source is source or record.given is source):
                return record.ladj if direction == FORWARD else -record.ladj

        return self.forward_and_ladj(x)[1]

    # Evaluation with a memory, for distributions
    # ----------------------------------------------------------------------------

    def evaluate(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return :math:`f(x)`, and remember where it came from, as a call of the layer does."""
        return self._evaluate(x, FORWARD, context)

    def source_and_ladj(
        self,
        y: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return :math:`x` and :math:`\log|\det \partial x/\partial y|`; see `inverse_and_ladj`.

        When this layer has made ``y`` by `evaluate`, they are looked up, and not computed.
        """
        record = self._find(y, FORWARD, context)
        if record is None:
            return self.inverse_and_ladj(y, context)

        return record.source, -record.ladj

    def output_shape(self, shape: torch.Size) -> torch.Size:
        """Return `forward_shape`, which a step of training asks for again and again."""
        if self._last_shapes is None or self._last_shapes[0] != shape:
            self._last_shapes = shape, self.forward_shape(shape)

        return self._last_shapes[1]

    # The two methods that Transform calls
    # ----------------------------------------------------------------------------

    def _call(self, x: Tensor) -> Tensor:
        return self._evaluate(x, FORWARD)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._evaluate(y, INVERSE)

    def _evaluate(
        self,
        given: Tensor,
        direction: int,
        context: Tensor | None = None,
    ) -> Tensor:
        """Return the output for ``given``, and remember the log-determinant."""
        record = self._find(given, -direction, context)
        if record is not None:
            return record.source  # the opposite direction made `given`: an exact round trip

        source, cast = self._checked(given, context, direction)
        compute = self.transform if direction == FORWARD else self.invert
        value, ladj = compute(source, cast)
        record = Record(given, source, value.detach(), ladj, direction, context)

        if torch.compiler.is_compiling():
            self._traced = value, record
            return value

        # The key must be a tensor that the graph of `ladj` does not hold, or the record would keep
        # itself alive.
        output = value.clone()
        self._memory.write(self, output, record)

        return output

    def _find(
        self,
        output: Tensor,
        direction: int,
        context: Tensor | None = None,
    ) -> Record | None:
        """Return the record of the call in this direction that made ``output``, or `None`."""
        if torch.compiler.is_compiling():
            # A compiler cannot trace a weak map: it knows the last call alone.
            if self._traced is None:
                return None

            made, record = self._traced
            if made is not output or record.direction != direction:
                return None

            if record.context is not context:
                return None

            self._traced = None
            return record

        if not isinstance(output, Tensor):
            return None

        return self._memory.find(self, output, direction, context)

    def _checked(
        self, x: Tensor, context: Tensor | None, direction: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return an input and a context in the type of the weights, if the shapes fit."""
        check_floating(type(self).__name__, "x" if direction == FORWARD else "y", x)
        if isinstance(self, PyroModule):
            check_active(self)

        weight = first_weight(self)
        if weight is None:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        elif weight.dtype != x.dtype or weight.dtype in HALF:
            x = x.to(precise(self, weight.dtype))

        self._check_shape(x.shape, direction)
        if context is None and self.context_shape is None:
            return x, None

        event_dim = len(self.event if direction == FORWARD else self.output)
        check_context(self, context, x.shape[: x.dim() - event_dim])

        return x, None if context is None else context.to(x.dtype)

    def _check_shape(self, shape: torch.Size, direction: int) -> None:
        """Check the shape of an event, once for each shape."""
        cut = len(shape) - len(self.event if direction == FORWARD else self.output)
        key = (direction, cut < 0, *shape[cut:])
        if key not in self._fitting:
            check = self.forward_shape if direction == FORWARD else self.inverse_shape
            check(shape)
            self._fitting.add(key)


@cache
def _reals(event_dim: int) -> constraints.Constraint:
    return constraints.independent(constraints.real, event_dim) if event_dim else constraints.real
