"""A weak cache of log-determinants, keyed by the output tensors of a layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

FORWARD, INVERSE = 1, -1

State = tuple[Any, ...]  # compared for equality


class Record(NamedTuple):
    """The input and the log-determinant of an output.

    Attributes:
        given: The tensor that was passed.
        source: The same in the dtype of the weights, and with the batch shape of the context.
        value: The values of the output, which a write into the output itself leaves alone.
        ladj: The log-determinant in the direction that was taken.
        direction: `FORWARD` or `INVERSE`.
        with_grad: If true, gradients were recorded.
        context: The context that was passed, or `None`.
        state: State of the weights, and of the tensors above.
        weights: The weights themselves: as long as they are held, no other tensor gets their ids.
    """

    given: Tensor
    source: Tensor
    value: Tensor
    ladj: Tensor
    direction: int
    context: Tensor | None = None
    with_grad: bool = False
    state: State = ()
    weights: tuple[Tensor, ...] = ()

    def tensors(self) -> list[Tensor]:
        """Return the tensors that must be unchanged as long as the record is true."""
        tensors = [self.given, self.source, self.ladj]
        return tensors if self.context is None else [*tensors, self.context]


class Memory:
    """A weak map from an output tensor to the corresponding `Record`.

    A stock distribution calls ``layer(x)``, and later ``layer.inv(y)`` and
    ``layer.log_abs_det_jacobian(x, y)``. Using this memory, a sample and the corresponding score
    require a single evaluation. A record dies with the output, and is not kept by ``pickle`` and
    ``deepcopy``. It is not found

    - in the direction that made it, so that ``t(t(x))`` is not undone;
    - by a query with gradient, when it was made without;
    - after a step of any optimiser, or a change of a weight, a buffer or a training mode;
    - after a write into the output, the source or the log-determinant;
    - when a part is a `PyroModule` with random weights, which may be drawn anew.

    Two writes cannot be seen, as by autograd itself: through ``.data`` of a weight, and into the
    source through the NumPy view. You should score before such a write, or score a copy
    (``y.clone()``) after it.
    """

    steps = 0  # of all optimisers: fused ones write into the weights without raising their version

    def __init__(self, weights: Weights | None = None) -> None:
        self.weights = Weights() if weights is None else weights
        self._records = WeakTensorKeyDictionary()

    def find(
        self,
        layer: nn.Module,
        output: Tensor,
        direction: int,
        context: Tensor | None = None,
    ) -> Record | None:
        """Return the record of an output for a direction and a context, if it is still true."""
        record: Record | None = self._records.get(output)
        if record is None or record.direction != direction or record.context is not context:
            return None

        if torch.is_grad_enabled() and not record.with_grad:
            return None

        tensors = [*self.weights.of(layer), output, *record.tensors()]
        if record.state != self._state(layer, tensors):
            return None

        # A write through a NumPy view or ``.data`` raises no version, and a tensor of inference
        # mode has none.
        comparable = has_memory(output) and (output.device.type == "cpu" or output.is_inference())

        return None if comparable and not torch.equal(record.value, output) else record

    def write(self, layer: nn.Module, output: Tensor, record: Record) -> None:
        """Remember where ``output`` comes from."""
        weights = self.weights.of(layer)
        if self.weights.drawn:
            return

        state = self._state(layer, [*weights, output, *record.tensors()])
        self._records[output] = record._replace(
            with_grad=torch.is_grad_enabled(),
            state=state,
            weights=tuple(weights),
        )

    def _state(self, layer: nn.Module, tensors: list[Tensor]) -> State:
        return Memory.steps, self.weights.modes(layer), states(tensors)

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()


class Weights:
    """The parameters, buffers and modes of a layer, listed without a walk through the modules.

    Such a walk takes as long as a small flow. So the dictionaries of the modules are kept, and the
    walk is repeated only after a module has been replaced, or a tensor added or removed.

    Attributes:
        drawn: If true, a part is a `PyroModule` whose weights are random variables, which may be
            drawn anew.
    """

    drawn: bool = False

    def __init__(self) -> None:
        # All modules but the layer itself: a cycle would keep its graphs alive.
        self._inner: list[nn.Module] = []
        self._parts: list[dict[str, nn.Module | None]] = []
        self._tensors: list[dict[str, Tensor | None]] = []
        self._children: list[nn.Module | None] | None = None
        self._count = 0

    def of(self, layer: nn.Module) -> list[Tensor]:
        """Return the parameters and buffers."""
        tensors = self._listed()
        if (
            self._children != [*chain.from_iterable(map(dict.values, self._parts))]
            or len(tensors) != self._count
        ):
            self._walk(layer)
            tensors = self._listed()

        return tensors

    def modes(self, layer: nn.Module) -> list[bool]:
        """Return which modules are in training mode: the layer itself, then the inner modules."""
        return [layer.training, *map(attrgetter("training"), self._inner)]

    def _listed(self) -> list[Tensor]:
        return [
            tensor
            for tensor in chain.from_iterable(map(dict.values, self._tensors))
            if tensor is not None
        ]

    def _walk(self, layer: nn.Module) -> None:
        modules = list(layer.modules())
        self._inner = modules[1:]
        self._parts = [module._modules for module in modules if module._modules]
        found: Iterable[Any] = chain.from_iterable(
            (module._parameters, module._buffers) for module in modules
        )
        self._tensors = [tensors for tensors in found if tensors]
        self._children = [*chain.from_iterable(map(dict.values, self._parts))]
        self._count = len(self._listed())
        self.drawn = any(
            isinstance(module, PyroModule) and module._pyro_samples for module in modules
        )


def has_memory(tensor: Tensor) -> bool:
    """Return whether a tensor has values of its own.

    Within `torch.func`, a tensor may represent a whole batch of tensors.
    """
    try:
        return tensor.data_ptr() >= 0
    except RuntimeError:
        return False


def states(tensors: Sequence[Tensor]) -> State:
    """Return a state that changes when a tensor is replaced, written to, frozen or thawed.

    The address is included because a parameter may be given other memory, as by
    `torch.nn.utils.vector_to_parameters`.
    """
    try:
        versions = [*map(attrgetter("_version"), tensors)]
        addresses = [*map(Tensor.data_ptr, tensors)]
    except RuntimeError:
        # A tensor of inference mode has no version, a tensor within `torch.func` no address.
        versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]
        addresses = []

    return (
        [*map(id, tensors)],
        versions,
        addresses,
        [*map(attrgetter("requires_grad"), tensors)],
    )


def _count_step(*_: object) -> None:
    Memory.steps += 1


register_optimizer_step_post_hook(_count_step)
