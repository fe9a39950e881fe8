"""Entropy coders: distributions as integers, a queue for networks, and a stack for bits-back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating[Any]]
Symbols = NDArray[np.int32]
Words = NDArray[np.uint32]

_SCRAMBLED = 2**16  # values of a symbol that is scrambled
TOTAL = 2**24  # the sum of a table; the least probability is 1 / TOTAL


class Code(NamedTuple):
    """The distribution of a row of symbols, as a coder needs it.

    Attributes:
        family: A model of constriction.
        params: Parameters of each symbol; the first dimension counts the symbols.
    """

    family: Any
    params: tuple[NDArray[Any], ...]

    def bits(self, symbols: Symbols) -> Floats:
        """Return the bits that each symbol takes, for a code made by `table_code`."""
        weights = self.params[0].astype(np.float64)
        counts = np.take_along_axis(weights, symbols[:, None].astype(np.int64), 1)[:, 0] + 1
        return -np.log2(counts / TOTAL)


def library() -> Any:
    """Return the package constriction, which codes symbols.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        import constriction
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Compression expects the package constriction; got none. Install it with "
            "`pip install pyro_exact[codec]`."
        ) from error
    return constriction


# Codes
# --------------------------------------------------------------------------------------------------


def table_code(probs: Tensor) -> Code:
    """Return the code of symbols that have a table of probabilities each.

    The probabilities become integers that sum to 2^24, each at least 1. Encoder and decoder both
    use this function, so both have the same integers if they have the same probabilities.

    Args:
        probs: Probabilities, (n, levels), whose rows sum to 1 up to rounding.

    Raises:
        ValueError: If a probability is not finite.
    """
    p = probs.double().cpu().numpy()
    total = p.sum(-1, keepdims=True)
    if not (np.isfinite(total) & (total > 0)).all():
        raise ValueError(
            "A code expects finite probabilities; got other values. Check the weights of the model."
        )

    # 1 + floor(p (2^24 - L)), and the remainder to the largest
    spare = TOTAL - p.shape[-1]
    weights = np.floor(p * (spare / total))
    rest = spare - weights.sum(-1)
    weights[np.arange(len(p)), p.argmax(-1)] += rest

    # constriction adds 1 to each weight, and multiplies with spare / sum(weights) = 1 before.
    family = library().stream.model.Categorical(perfect=False)
    return Code(family, (weights.astype(np.float32),))


def normal_code(
    mean: Floats,
    std: Floats,
    lowest: int,
    highest: int,
) -> Code:
    """Return the code of integers between two bounds, rounded from normals.

    Args:
        mean: Means, (n).
        std: Standard deviations, (n).
        lowest: The smallest integer.
        highest: The largest integer.

    Raises:
        ValueError: If a parameter is not finite.
    """
    if not (np.isfinite(mean) & np.isfinite(std)).all():
        raise ValueError(
            "A code expects finite means and standard deviations; got other values. Check the "
            "weights of the model."
        )
    family = library().stream.model.QuantizedGaussian(lowest, highest)
    return Code(family, (mean.astype(np.float64), std.astype(np.float64)))


def uniform_code(size: int, count: int) -> Code:
    """Return the code of ``count`` integers 0, ..., size - 1, which are equally likely."""
    return Code(library().stream.model.Uniform(), (np.full(count, size, dtype=np.int32),))


# Coders
# --------------------------------------------------------------------------------------------------


class Coder(ABC):
    """The base class of coders. The same walk over a model encodes and decodes."""

    @abstractmethod
    def code(self, code: Code, symbols: Symbols | None) -> Symbols:
        """Code symbols, and return them.

        Args:
            code: The distribution of the symbols.
            symbols: The symbols to encode; `None` to decode.
        """


class QueueEncoder(Coder):
    """A range coder: the first symbol that is encoded is decoded first."""

    def __init__(self) -> None:
        self._encoder = library().stream.queue.RangeEncoder()

    def code(self, code: Code, symbols: Symbols | None) -> Symbols:
        given = _given(symbols)
        self._encoder.encode(given, code.family, *code.params)
        return given

    def words(self) -> Words:
        """Return the coded symbols."""
        words: Words = self._encoder.get_compressed()
        return words


class QueueDecoder(Coder):
    """The decoder of `QueueEncoder`."""

    def __init__(self, words: Words) -> None:
        self._decoder = library().stream.queue.RangeDecoder(words)

    def code(self, code: Code, symbols: Symbols | None) -> Symbols:
        decoded: Symbols = self._decoder.decode(code.family, *code.params)
        return decoded


class Recorder(Coder):
    """A list of symbols with their codes, for a stack, which codes in the opposite order."""

    def __init__(self) -> None:
        self.rows: list[tuple[Code, Symbols]] = []

    def code(self, code: Code, symbols: Symbols | None) -> Symbols:
        given = _given(symbols)
        self.rows.append((code, given))
        return given


class Stack(Coder):
    """A coder by asymmetric numeral systems: the last symbol pushed is popped first.

    `code` pops symbols. From random words, this is a draw of the symbols.

    Args:
        words: The contents.

    Attributes:
        fewest: The smallest count of words so far. Words below have never been used.
    """

    def __init__(self, words: Words) -> None:
        self._coder = library().stream.stack.AnsCoder(words)
        self.fewest: int = self._coder.num_words()

    def code(self, code: Code, symbols: Symbols | None) -> Symbols:
        popped: Symbols = self._coder.decode(code.family, *code.params)
        self.fewest = min(self.fewest, self._coder.num_words())
        return popped

    def push(self, recorder: Recorder) -> None:
        """Push symbols, so that popping returns them in the order of the recorder."""
        for code, symbols in reversed(recorder.rows):
            self._coder.encode_reverse(symbols, code.family, *code.params)

    def scramble(self, seed: int, back: bool = False) -> None:
        """Add random integers to the topmost bits; with ``back`` subtract them.

        The topmost bits say where in a distribution the last symbol was. The next draw would be
        at the same place of another distribution, and would not be random.
        """
        random = np.random.Generator(np.random.PCG64(seed))
        shift = random.integers(_SCRAMBLED, size=4, dtype=np.int32)

        code = uniform_code(_SCRAMBLED, len(shift))
        symbols = self.code(code, None)
        recorder = Recorder()
        recorder.code(code, (symbols + (-shift if back else shift)) % _SCRAMBLED)
        self.push(recorder)

    def words(self) -> Words:
        """Return the contents, the top last."""
        words: Words = self._coder.get_compressed()
        return words


def _given(symbols: Symbols | None) -> Symbols:
    if symbols is None:
        raise ValueError("An encoder expects symbols; got none. Pass symbols, or use a decoder.")
    return symbols
