"""Random numbers for a batch that several processes share: each draws all of them, and keeps those of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# Functions that make a random tensor: one that makes an empty tensor of the same arguments, and
# what fills it.
MAKES: dict[Callable[..., Any], tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    torch.rand: (torch.empty, Tensor.uniform_),
    torch.rand_like: (torch.empty_like, Tensor.uniform_),
    torch.randn: (torch.empty, Tensor.normal_),
    torch.randn_like: (torch.empty_like, Tensor.normal_),
}
FILLS = {Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_}

_place: ContextVar[tuple[int, int]] = ContextVar("place", default=(0, 1))


def rows_of_batch(rows: int) -> tuple[int, int]:
    """Return where the rows of this process begin in the batch that it shares, and how many there are in all."""
    rank, processes = _place.get()
    return rank * rows, processes * rows


class SharedNoise(TorchFunctionMode):
    """In a with-block, draw as one process with the whole batch would, and keep the part of this one.

    Under one seed in all processes, the noise of a datum is then a function of the seed and of its
    place in the batch, whatever the number of processes. A random tensor belongs to the batch if
    its first dimension is a multiple of the rows of this process. Any other one, such as the choice
    of an order, is the same in all processes; so is what comes from a random function that is not
    known here, or has a generator of its own.

    Args:
        rank: Which process this is, from 0.
        processes: How many share the batch.
        rows: Of the batch, in each process.
    """

    def __init__(self, rank: int, processes: int, rows: int) -> None:
        super().__init__()
        self.rank, self.processes, self.rows = rank, processes, rows

    def __enter__(self) -> SharedNoise:
        self._token = _place.set((self.rank, self.processes))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _place.reset(self._token)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if given.pop("generator", None) is not None:
            return func(*args, **kwargs or {})
        if func in MAKES:
            make, fill = MAKES[func]
            return self._draw(make(*args, **given), fill)
        if func in FILLS:
            return self._fill(func, *args, **given)
        own: dict[Callable[..., Any], Callable[..., Any]] = {
            torch.normal: self._normal,
            torch.randint: self._randint,
            torch.bernoulli: self._bernoulli,
            F.dropout: self._dropout,
        }
        return own.get(func, func)(*args, **given)

    def _fill(self, fill: Callable[..., object], x: Tensor, *args: Any, **given: Any) -> Tensor:
        rest = [self._whole(value) for value in args]
        drawn = self._draw(x, lambda whole: fill(whole, *rest, **given))
        with torch.no_grad():
            return x.copy_(drawn)

    def _normal(
        self, mean: Tensor | float, std: Tensor | float = 1.0, size: Any = (), **given: Any
    ) -> Tensor:
        shape = size or torch.broadcast_shapes(
            *(value.shape for value in (mean, std) if isinstance(value, Tensor))
        )
        like = (
            mean
            if isinstance(mean, Tensor)
            else std
            if isinstance(std, Tensor)
            else torch.empty(0, **given)
        )
        return mean + std * self._draw(like.new_empty(shape), Tensor.normal_)

    def _randint(self, *args: Any, **given: Any) -> Tensor:
        *ends, size = args if "size" not in given else (*args, given.pop("size"))
        ends = (
            [given.pop("low", 0), *ends][-2:] if "high" not in given else [*ends, given.pop("high")]
        )
        made = torch.empty(size, dtype=given.pop("dtype", None) or torch.int64, **given)
        return self._draw(made, lambda whole: whole.random_(*ends))

    def _bernoulli(self, p: Tensor) -> Tensor:
        return self._draw(p, lambda whole: whole.bernoulli_(self._whole(p.detach())))

    def _dropout(
        self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return F.dropout(x, p, training, inplace)
        kept = self._draw(x, lambda whole: whole.copy_(F.dropout(torch.ones_like(whole), p)))
        return x.mul_(kept) if inplace else x * kept

    def _draw(self, like: Tensor, fill: Callable[[Tensor], object]) -> Tensor:
        """Return a tensor like this one, which is filled for the whole batch and cut."""
        like = like.detach()
        if not self._of_batch(like):
            fill(own := torch.empty_like(like))
            return own
        fill(whole := self._whole(like))
        return whole.chunk(self.processes)[self.rank]

    def _whole(self, value: Any) -> Any:
        """Return a value for the whole batch: for the rows of other processes any will do."""
        if isinstance(value, Tensor) and self._of_batch(value):
            return torch.cat([value] * self.processes)
        return value

    def _of_batch(self, value: Tensor) -> bool:
        return value.dim() > 0 and len(value) > 0 and len(value) % self.rows == 0
