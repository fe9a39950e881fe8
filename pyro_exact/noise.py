"""Random noise for a batch that several processes share.

Each process draws the noise of the whole batch, and keeps the rows of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]

# Functions that return a random tensor: the function that allocates it, and the method that fills
# it.
MAKES: dict[Function, tuple[Function, Function]] = {
    torch.rand: (torch.empty, Tensor.uniform_),
    torch.rand_like: (torch.empty_like, Tensor.uniform_),
    torch.randn: (torch.empty, Tensor.normal_),
    torch.randn_like: (torch.empty_like, Tensor.normal_),
}
FILLS = {Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.bernoulli_, Tensor.exponential_}

_place: ContextVar[tuple[int, int]] = ContextVar("place", default=(0, 1))


def rows_of_batch(rows: int) -> tuple[int, int]:
    """Return the first row of this process in the shared batch, and the rows of the whole batch.

    Args:
        rows: How many rows this process has.
    """
    rank, processes = _place.get()
    return rank * rows, processes * rows


class SharedNoise(TorchFunctionMode):
    """In a with-block, draw random noise as a single process with the whole batch would.

    Use this when several processes share a batch and have the same seed. The noise of a datum is
    then a function of the seed and of the position in the batch, however many processes there are.
    A random tensor belongs to the batch if its first dimension is a multiple of the rows of this
    process. Any other random tensor, for example a random order, is the same in all processes. The
    result of a random function that is not listed here, or that uses another generator, is the same
    too.

    Args:
        rank: Rank of this process.
        processes: Processes that share the batch.
        rows: Rows of the batch in each process.
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
        func: Function,
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

        replaced: dict[Function, Function] = {
            torch.normal: self._normal,
            torch.randint: self._randint,
            torch.bernoulli: self._bernoulli,
            F.dropout: self._dropout,
        }
        return replaced.get(func, func)(*args, **given)

    def _draw(self, like: Tensor, fill: Callable[[Tensor], object]) -> Tensor:
        """Return a tensor of the same form: filled for the whole batch, cut to the rows here."""
        like = like.detach()
        if not self._of_batch(like):
            own = torch.empty_like(like)
            fill(own)
            return own

        whole = self._whole(like)
        fill(whole)
        return whole.chunk(self.processes)[self.rank]

    def _whole(self, value: Any) -> Any:
        """Return a value for the whole batch; the rows of other processes may have any value."""
        if isinstance(value, Tensor) and self._of_batch(value):
            return torch.cat([value] * self.processes)
        return value

    def _of_batch(self, value: Tensor) -> bool:
        if value.dim() == 0 or len(value) == 0:
            return False
        return len(value) % self.rows == 0

    def _fill(self, fill: Callable[..., object], x: Tensor, *args: Any, **given: Any) -> Tensor:
        rest = [self._whole(value) for value in args]
        drawn = self._draw(x, lambda whole: fill(whole, *rest, **given))
        with torch.no_grad():
            return x.copy_(drawn)

    def _normal(
        self, mean: Tensor | float, std: Tensor | float = 1.0, size: Any = (), **given: Any
    ) -> Tensor:
        tensors = [value for value in (mean, std) if isinstance(value, Tensor)]
        like = tensors[0] if tensors else torch.empty(0, **given)
        shape = size or torch.broadcast_shapes(*(value.shape for value in tensors))
        return mean + std * self._draw(like.new_empty(shape), Tensor.normal_)

    def _randint(self, *args: Any, **given: Any) -> Tensor:
        # The signatures of torch are randint(high, size) and randint(low, high, size).
        if "size" in given:
            args = (*args, given.pop("size"))
        *ends, size = args
        if "high" in given:
            ends = [*ends, given.pop("high")]
        else:
            ends = [given.pop("low", 0), *ends][-2:]

        dtype = given.pop("dtype", None) or torch.int64
        empty = torch.empty(size, dtype=dtype, **given)
        return self._draw(empty, lambda whole: whole.random_(*ends))

    def _bernoulli(self, p: Tensor) -> Tensor:
        return self._draw(p, lambda whole: whole.bernoulli_(self._whole(p.detach())))

    def _dropout(
        self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0:
            return F.dropout(x, p, training, inplace)

        # Dropout of ones gives the mask, scaled by 1 / (1 - p).
        def fill(whole: Tensor) -> Tensor:
            return whole.copy_(F.dropout(torch.ones_like(whole), p))

        mask = self._draw(x, fill)
        return x.mul_(mask) if inplace else x * mask
