"""Build a model within limits of memory, via a rehearsal on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pyro_exact.recipes.limits import LARGEST_MODEL, Limits, TooLargeError

_FACTORIES = {"empty", "eye", "full", "normal", "ones", "rand", "randn", "zeros"}
_Model = TypeVar("_Model")


def build_within(
    build: Callable[[], _Model],
    source: str,
    limits: Limits = LARGEST_MODEL,
    check: Callable[[_Model], object] = lambda model: None,
) -> _Model:
    """Build a model, unless it exceeds limits.

    The allocations are first counted using a rehearsal. When this is impossible, each allocation is
    counted while the model is built.

    Args:
        build: Returns the model.
        source: Name of the model in an error.
        limits: The limits.
        check: Called with the model before memory for the weights is allocated.

    Raises:
        TooLargeError: If the model exceeds the limits; then nothing beyond the limits was
            allocated.
    """
    try:
        rehearsed, _ = rehearse(build, source, limits)
    except TooLargeError:
        raise
    except Exception:
        # The settings are invalid, so the second attempt raises the error, or the builder reads the
        # value of a weight, which the meta device does not have.
        with _Allowance(source, limits, rehearsal=False):
            return build()

    check(rehearsed)
    return build()


def rehearse(
    build: Callable[[], _Model], source: str, limits: Limits = LARGEST_MODEL
) -> tuple[_Model, int]:
    """Build a model with all weights on the meta device, where a tensor needs no memory.

    Orders and masks are real tensors, because the structure of the model depends on these tensors.
    Random states are not changed.

    Returns:
        The model, and the bytes that a real build would allocate in total.

    Raises:
        TooLargeError: As `build_within`.
        Exception: If the builder reads the value of a weight.
    """
    with torch.random.fork_rng(devices=[]), _Allowance(source, limits, rehearsal=True) as allowance:
        model = build()
    return model, allowance.bytes


class _Allowance(TorchDispatchMode):
    """A dispatch mode that counts the calls of torch and the bytes that each call allocates."""

    def __init__(self, source: str, limits: Limits, rehearsal: bool) -> None:
        super().__init__()
        self.source = source
        self.limits = limits
        self.rehearsal = rehearsal
        self.calls = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]

        self.calls += 1
        if self.calls > self.limits.calls:
            raise TooLargeError(
                f"{self.source} takes more than {self.limits.calls} calls to be built, with all "
                "its layers together, though each setting is in its own range. Use fewer layers."
            )

        of_weights = any(tensor.is_meta for tensor in tensors) or _makes_weights(
            func, tensors, args, kwargs
        )
        if self.rehearsal and of_weights:
            made, new = _on_meta(func, args, kwargs)
            self._count(new)
            return made

        # On the meta device an operation fails if the size of the output depends on values.
        with suppress(NotImplementedError, RuntimeError):
            self._count(_on_meta(func, args, kwargs)[1])
        return func(*args, **kwargs)

    def _count(self, new: int) -> None:
        self.bytes += new
        if self.bytes > self.limits.bytes:
            raise TooLargeError(
                f"{self.source} would take more than {self.limits.bytes / 2**20:,.0f} MiB of "
                "memory. Use fewer or narrower layers, or smaller images."
            )


def _makes_weights(func: Any, tensors: list[Tensor], args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a call creates a weight, in contrast to an order or a mask."""
    name, dtype = func.overloadpacket.__name__, kwargs.get("dtype")

    # A call with tensors derives from these tensors; orders have a generator, or an integer type.
    if tensors or name not in _FACTORIES or kwargs.get("generator") is not None:
        return False

    if name == "full" and dtype is None:
        return isinstance(args[1], float)
    return dtype in (None, torch.get_default_dtype())


def _on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, int]:
    """Return the result of a call on the meta device, and the bytes to allocate for it."""
    if kwargs.get("generator") is not None:
        func = func.overloadpacket.default
        kwargs = {name: value for name, value in kwargs.items() if name != "generator"}

    args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    known = {storage._cdata for storage in _storages((args, kwargs))}

    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}

    made = func(*args, **kwargs)
    new = [storage for storage in _storages(made) if storage._cdata not in known]
    return made, sum(storage.nbytes() for storage in new)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    """Return the storages of all tensors in nested containers."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
