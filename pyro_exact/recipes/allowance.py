"""A bound on how much a model takes, found by a rehearsal that builds it without memory for its weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pyro_exact.recipes.limits import LARGEST_MODEL, Limits, TooLargeError

_WEIGHTS = {"empty", "eye", "full", "normal", "ones", "rand", "randn", "zeros"}  # what makes them
_Model = TypeVar("_Model")


def build_within(
    build: Callable[[], _Model],
    source: str,
    limits: Limits = LARGEST_MODEL,
    check: Callable[[_Model], object] = lambda model: None,
) -> _Model:
    """Build a model, if what it takes stays within limits.

    A rehearsal finds that out; where there can be none, each allocation is compared with the limits
    as it comes.

    Args:
        build: What makes the model.
        source: What to call it in an error.
        limits: The bounds.
        check: Called with the model before its weights have memory, to refuse it by their shapes.

    Raises:
        TooLargeError: If it takes more, or has too many parts, before it allocates any of that.
    """
    try:
        rehearsed, _ = rehearse(build, source, limits)
    except TooLargeError:
        raise
    except (
        Exception
    ):  # its settings are wrong, which is told below, or it must see a weight to be built
        with _Allowance(source, limits, rehearsal=False):
            return build()
    check(rehearsed)
    return build()


def rehearse(
    build: Callable[[], _Model], source: str, limits: Limits = LARGEST_MODEL
) -> tuple[_Model, int]:
    """Build a model with its weights on the meta device, where a tensor has no memory.

    Orders and masks are real, for they decide what is built. Random states are left as they were.

    Returns:
        The model, and the bytes that building it as it is would allocate, all together.

    Raises:
        TooLargeError: As `build_within`.
        Exception: If the model must see a weight to be built.
    """
    with torch.random.fork_rng(devices=[]), _Allowance(source, limits, rehearsal=True) as allowance:
        model = build()
    return model, allowance.bytes


class _Allowance(TorchDispatchMode):
    """Count the calls of torch, and the bytes that each is going to allocate."""

    def __init__(self, source: str, limits: Limits, rehearsal: bool) -> None:
        super().__init__()
        self.source, self.limits, self.rehearsal = source, limits, rehearsal
        self.calls = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.calls += 1
        if self.calls > self.limits.calls:
            raise TooLargeError(
                f"{self.source} takes more than {self.limits.calls} calls to be built, with all its layers "
                f"together, though each setting is in its own range. Use fewer layers."
            )

        of_weights = any(tensor.is_meta for tensor in tensors) or _makes_weights(
            func, tensors, args, kwargs
        )
        if self.rehearsal and of_weights:
            made, new = _on_meta(func, args, kwargs)
            self._count(new)
            return made

        with suppress(
            NotImplementedError, RuntimeError
        ):  # where sizes depend on values, which were counted before
            self._count(_on_meta(func, args, kwargs)[1])
        return func(*args, **kwargs)

    def _count(self, new: int) -> None:
        self.bytes += new
        if self.bytes > self.limits.bytes:
            raise TooLargeError(
                f"{self.source} would take more than {self.limits.bytes / 2**20:,.0f} MiB of memory. "
                f"Use fewer or narrower layers, or smaller images."
            )


def _makes_weights(func: Any, tensors: list[Tensor], args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a call makes numbers of which no order and no mask is made."""
    name, dtype = func.overloadpacket.__name__, kwargs.get("dtype")
    if tensors or name not in _WEIGHTS or kwargs.get("generator") is not None:
        return False
    if name == "full" and dtype is None:
        return isinstance(args[1], float)
    return dtype in (None, torch.get_default_dtype())


def _on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, int]:
    """Return what a call would return, without memory, and the bytes that it would allocate."""
    if kwargs.get("generator") is not None:
        func, kwargs = (
            func.overloadpacket.default,
            {k: v for k, v in kwargs.items() if k != "generator"},
        )
    args, kwargs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), (args, kwargs))
    known = {
        t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)
    }
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}

    made = func(*args, **kwargs)
    storages = [t.untyped_storage() for t in tree_leaves(made) if isinstance(t, Tensor)]
    return made, sum(storage.nbytes() for storage in storages if storage._cdata not in known)
