"""Checks of the arguments that users pass, with one vocabulary of errors: what was expected, what came, what to do."""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_Choice = TypeVar("_Choice")

# The command line checks and prints names before it knows whether it needs torch, whose import
# takes seconds. So the checks of tensors import it themselves.

LARGEST_SIZE = 2**24  # of one dimension: a larger one is a mistake, or an attack
LARGEST_WEIGHT = 2**33  # elements of one weight, 32 GiB in float32
LARGEST_COUNT = 10_000  # of layers, blocks and other repeated parts

LONGEST_SHOWN = 200  # characters of a value in an error


def shown(value: object) -> str:
    """Return a short `repr` of a value from elsewhere, however large, deep or self-containing it is.

    Example:
        >>> shown([[1, 2], list(range(10**6)), 10**10_000])
        '[[1, 2], [0, 1, 2, 3, 4, 5, 6, 7, ...], an integer of 33220 bits]'
    """
    text = _Short().repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


class _Short(reprlib.Repr):
    """Elements, levels and characters are counted before they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"an integer of {x.bit_length()} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:
        return repr(x[: self.maxstring]) + ("..." if len(x) > self.maxstring else "")

    def repr_instance(self, x: object, level: int) -> str:
        return (
            repr(x)
            if isinstance(x, (bool, float, complex, type(None)))
            else f"<{type(x).__name__}>"
        )


def check_tensor(owner: str, name: str, value: object) -> Tensor:
    """Return ``value`` if it is a dense tensor of real numbers.

    Use it at the public boundary, for everything that is data: values, masks, contexts, latents.

    Args:
        owner: The function or class whose argument it is, as a user would write it.
        name: The argument.
        value: What came.

    Raises:
        TypeError: If it is no tensor (an array or a list, for example), complex, sparse or
            quantised.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        advice = (
            "Leave it out, or pass a tensor" if value is None else "Convert it with torch.as_tensor"
        )
        raise TypeError(
            f"{owner} expects {name} as a tensor; got {type(value).__name__}. {advice}."
        )
    if value.is_complex():
        raise TypeError(
            f"{owner} expects {name} of real numbers; got {value.dtype}. Pass its .real, or its .abs()."
        )
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        layout = "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
        kind = "quantised" if value.is_quantized else layout
        convert = "value.dequantize()" if value.is_quantized else "value.to_dense()"
        if value.is_nested:
            convert = "value.to_padded_tensor(0.0)"
        raise TypeError(
            f"{owner} expects {name} as a dense tensor; got a {kind} one. Convert it with {convert}."
        )
    return value


def check_floating(owner: str, name: str, value: object) -> Tensor:
    """Return ``value`` if it is a dense tensor of floating-point numbers.

    Raises:
        TypeError: If it is no such tensor.
    """
    tensor = check_tensor(owner, name, value)
    if not tensor.is_floating_point():
        raise TypeError(
            f"{owner} expects {name} as a floating-point tensor; got {tensor.dtype}. "
            f"Convert it, for example with {name}.float()."
        )
    return tensor


def check_numbers(owner: str, name: str, value: Tensor) -> Tensor:
    """Return a tensor if it holds numbers that can be looked at.

    Raises:
        TypeError: If it is a meta tensor, which has a shape only.
    """
    if value.is_meta:
        raise TypeError(
            f"{owner} expects {name} with numbers; got a meta tensor. Move data and model to a device."
        )
    return value


def check_event(
    owner: str, name: str, value: Tensor, event_shape: Sequence[int], batch_dims: int = 0
) -> torch.Size:
    """Return the batch shape of ``value`` if its last dimensions are an event of the given shape.

    Args:
        owner: The function or class whose argument it is.
        name: The argument.
        value: A tensor.
        event_shape: Shape of one event, for example (C, H, W).
        batch_dims: The smallest number of dimensions before those of the event; 1 asks for a batch.

    Raises:
        ValueError: If the event has another shape, or there are fewer dimensions before it.
    """
    cut = value.dim() - len(event_shape)
    expected = ", ".join(["*batch" if batch_dims == 0 else "N", *map(str, event_shape)])

    if cut >= 0 and tuple(value.shape[cut:]) == tuple(event_shape):
        if cut >= batch_dims:
            return value.shape[:cut]
        advice = f"Add the batch dimension: {name}.unsqueeze(0) for a single one"
    else:
        advice = "Reshape it, or build the model for that shape"
    raise ValueError(
        f"{owner} expects {name} of shape ({expected}); got {tuple(value.shape)}. {advice}."
    )


def check_batch(owner: str, name: str, value: object, event_shape: Sequence[int]) -> Tensor:
    """Return ``value`` if it is a batch of shape (N, *event_shape) that is not empty.

    Raises:
        TypeError: If it is no dense tensor of real numbers.
        ValueError: If it has another shape, or no rows.
    """
    batch = check_tensor(owner, name, value)
    rows = check_event(owner, name, batch, event_shape, batch_dims=1)
    if len(rows) > 1 or rows.numel() == 0:
        expected = ", ".join(["N", *map(str, event_shape)])
        advice = (
            f"Flatten the batch: {name}.flatten(0, {len(rows) - 1})"
            if len(rows) > 1
            else "Leave empty batches out"
        )
        raise ValueError(
            f"{owner} expects {name} of shape ({expected}), N of at least 1; got {tuple(batch.shape)}. {advice}."
        )
    return batch


def check_mask(owner: str, name: str, value: object) -> Tensor:
    """Return a mask as a tensor of booleans; zeros and ones of any type are one.

    Raises:
        TypeError: If it is no dense tensor of real numbers.
        ValueError: If it holds anything else.
    """
    import torch

    mask = check_numbers(owner, name, check_tensor(owner, name, value))
    if mask.dtype == torch.bool:
        return mask
    if bool(((mask != 0) & (mask != 1)).any()):
        raise ValueError(
            f"{owner} expects {name} of True and False; got other numbers. Compare with a threshold."
        )
    return mask.bool()


def check_broadcast(
    owner: str, name: str, shape: Sequence[int], other: str, others: Sequence[int]
) -> torch.Size:
    """Return the shape to which two batch shapes broadcast.

    Raises:
        ValueError: If they do not.
    """
    import torch

    try:
        return torch.broadcast_shapes(tuple(shape), tuple(others))
    except RuntimeError:
        raise ValueError(
            f"{owner} expects a batch shape of {name} that broadcasts with that of {other}, {tuple(others)}; got "
            f"{tuple(shape)}. Add dimensions of size 1, or pass as many."
        ) from None


def check_finite(owner: str, name: str, value: Tensor, advice: str) -> Tensor:
    """Return ``value`` if none of its elements is NaN or infinite.

    Use it where floats become integers, pictures or records: there a NaN would turn into an
    ordinary number.

    Args:
        owner: The function or class that computed it, or whose argument it is.
        name: The tensor.
        value: The tensor itself.
        advice: A sentence that says what to do, without its full stop.

    Raises:
        ValueError: If an element is NaN or infinite.
    """
    if bool(check_numbers(owner, name, value).isfinite().all()):
        return value
    bad = int((~value.isfinite()).sum())
    kind = "NaN" if bool(value.isnan().any()) else "infinite"
    raise ValueError(
        f"{owner} expects {name} to be finite; got {bad} of {value.numel()} elements {kind}. {advice}."
    )


def check_size(
    owner: str, name: str, size: object, least: int = 1, most: int = LARGEST_SIZE
) -> int:
    """Return a size as an integer; every integer type is one, NumPy's for example.

    Args:
        owner: The function or class whose argument it is.
        name: The argument.
        size: What came.
        least: The smallest size allowed.
        most: The largest size allowed; use `LARGEST_COUNT` for layers and other parts that are
            built one by one.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small or too large.
    """
    try:
        value = operator.index(size)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{owner} expects {name} as an integer; got {size!r}. Pass a whole number."
        ) from None
    if isinstance(size, bool):
        raise TypeError(f"{owner} expects {name} as an integer; got {size!r}. Pass a whole number.")
    if not least <= value <= most:
        raise ValueError(
            f"{owner} expects {name} from {least} to {most}; got {value}. Choose one in that range."
        )
    return value


def check_sizes(
    owner: str,
    name: str,
    sizes: object,
    least: int = 1,
    most: int = LARGEST_SIZE,
    length: int | None = None,
) -> tuple[int, ...]:
    """Return several sizes, such as a shape or the widths of hidden layers, as a tuple of integers.

    Args:
        owner: The function or class whose argument it is.
        name: The argument.
        sizes: What came: a list, a tuple, a `torch.Size` or an array.
        least: The smallest size allowed.
        most: The largest size allowed.
        length: How many there must be; `None` for any number.

    Raises:
        TypeError: If it is no sequence of integers.
        ValueError: If a size is out of range, or there are more or fewer than there must be.
    """
    if (
        isinstance(sizes, (str, bytes))
        or not hasattr(sizes, "__iter__")
        or getattr(sizes, "ndim", 1) == 0
    ):
        raise TypeError(
            f"{owner} expects {name} as a sequence of integers; got {sizes!r}. Pass a tuple."
        )
    found = tuple(check_size(owner, f"each of {name}", size, least, most) for size in sizes)
    if length is not None and len(found) != length:
        raise ValueError(
            f"{owner} expects {length} sizes in {name}; got {found}. Pass {length} of them."
        )
    return found


def check_elements(owner: str, *sizes: int, most: int = LARGEST_WEIGHT) -> None:
    """Make sure that a weight with these sizes can be allocated: each may be in range, and their product not.

    Args:
        owner: The function or class that has the weight.
        *sizes: The shape of the weight.
        most: The largest number of elements allowed.

    Raises:
        ValueError: If it has more elements.
    """
    elements = math.prod(sizes)
    if elements > most:
        shape = " x ".join(map(str, sizes))
        raise ValueError(
            f"{owner} expects a weight of at most {most} elements; got {shape} = {elements}. Choose smaller sizes."
        )


def check_seed(owner: str, seed: object) -> int:
    """Return a seed as an integer of 64 bits.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is out of range.
    """
    return check_size(owner, "seed", seed, least=-(2**63), most=2**63 - 1)


def check_path(owner: str, name: str, path: object) -> Path:
    """Return the name of a file or a folder as a path.

    Raises:
        TypeError: If it is neither a string nor a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            f"{owner} expects {name} as a string or a path; got {shown(path)}. Pass the name of a file."
        )
    return Path(path)


def check_choice(owner: str, name: str, value: _Choice, choices: Sequence[_Choice]) -> _Choice:
    """Return a value that is one of several choices; raise ValueError if it is another one."""
    if value not in choices:
        expected = " or ".join(map(repr, choices))
        raise ValueError(f"{owner} expects {name} {expected}; got {shown(value)}. Choose one.")
    return value


def check_share(owner: str, name: str, share: object) -> float:
    """Return the share of elements that are dropped: a number in [0, 1).

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of range.
    """
    value = check_number(owner, name, share)
    if not 0 <= value < 1:
        raise ValueError(
            f"{owner} expects {name} as a share in [0, 1); got {value}. Use 0 to drop nothing."
        )
    return value


def check_shape(owner: str, name: str, shape: object) -> tuple[int, ...]:
    """Return the shape of a vector, given by its size alone, or of anything else, as a tuple of positive integers.

    Raises:
        TypeError: If it is neither an integer nor a sequence of integers.
        ValueError: If a size is out of range, there is none, or there are too many elements.
    """
    single = not hasattr(shape, "__iter__") or getattr(shape, "ndim", 1) == 0
    sizes = check_sizes(owner, name, (shape,) if single else shape)
    if not sizes:
        raise ValueError(
            f"{owner} expects {name} of at least one size; got (). Use (1,) for a single number."
        )
    check_size(owner, f"the number of elements of {name}", math.prod(sizes))
    return sizes


def check_kernel(owner: str, name: str, size: object) -> int:
    """Return the side of a kernel that has a centre.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is even, or out of range.
    """
    side = check_size(owner, name, size, most=LARGEST_COUNT)
    if side % 2 == 0:
        raise ValueError(f"{owner} expects an odd {name}; got {side}. Use {side + 1}.")
    return side


def check_number(
    owner: str,
    name: str,
    number: object,
    least: float = -math.inf,
    most: float = math.inf,
    open_ends: bool = False,
) -> float:
    """Return a finite real number within the given range.

    Args:
        owner: The function or class whose argument it is.
        name: The argument.
        number: What came: a Python or NumPy number, or a tensor with one element.
        least: The lower end of the range.
        most: The upper end of the range.
        open_ends: Whether the ends themselves are refused.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN or infinite, or out of range.
    """
    if isinstance(number, (bool, str)):
        raise TypeError(f"{owner} expects {name} as a number; got {number!r}. Pass a float.")
    try:
        value = float(number)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{owner} expects {name} as a number; got {number!r}. Pass a float."
        ) from None

    inside = least < value < most if open_ends else least <= value <= most
    if not (math.isfinite(value) and inside):
        ends = [f"{'above' if open_ends else 'at least'} {least:g}"] if least > -math.inf else []
        ends += [f"{'below' if open_ends else 'at most'} {most:g}"] if most < math.inf else []
        wanted = " that is " + " and ".join(ends) if ends else ""
        raise ValueError(
            f"{owner} expects {name} as a finite number{wanted}; got {value}. Choose another one."
        )
    return value


def printable(text: object) -> str:
    r"""Return text in which each character that a terminal would obey, and not show, is written as an escape.

    Use it for names from elsewhere, such as those of files and of arrays in a file: a control
    sequence in one of them could hide a message, or rewrite it.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )
