"""A permutation of any number of rows that needs no memory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_exact.checks import check_size

# A permutation of more rows than this is computed, and not stored: 2**20 indices take 8 MB.
MOST_STORED = 2**20

_ROUNDS = 8

# Odd multipliers of the mixing function of MurmurHash3 (Appleby, public domain).
_FIRST = np.uint64(0xFF51AFD7ED558CCD)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT = np.uint64(33)
_HALF = np.uint64(32)

Words = NDArray[np.uint64]


class Shuffle:
    """A permutation of 0, ..., total - 1, which computes each index when it is used.

    Use it instead of `torch.randperm` for 100 million rows, where an epoch of indices would take
    800 MB. A Feistel network with keyed rounds permutes all words of b bits, where b is the
    smallest such that 2**b is at least ``total``. A result outside of the range is permuted again
    until it is inside (cycle walking), which takes two rounds of work on average at most, and keeps
    the map one to one.

    Args:
        total: How many rows there are.
        *key: Integers that choose the permutation, for example a seed and an epoch; not negative.

    Reference:
        Black and Rogaway (2002), Ciphers with Arbitrary Finite Domains, sections 4 and 5.

    Example:
        >>> order = Shuffle(10, 0)
        >>> sorted(order[torch.arange(10)].tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, total: int, *key: int) -> None:
        self.total = check_size("Shuffle", "total", total, 1, 2**62)

        # Two words for each integer: SeedSequence drops zeros at the end of a larger integer.
        words = []
        for integer in key:
            words += [integer % 2**32, integer >> 32]
        source = np.random.SeedSequence(words)
        self._keys = source.generate_state(_ROUNDS, np.uint64)

        # A word of b bits is a left part of floor(b / 2) bits and a right part of the rest.
        bits = max((total - 1).bit_length(), 2)
        self._left = np.uint64(bits // 2)
        self._right = np.uint64(bits - bits // 2)

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, position: Tensor) -> Tensor:
        """Return the indices at some positions of the permutation, int64 of the same shape."""
        words = position.flatten().numpy().astype(np.uint64)
        words = self._permuted(words)

        outside = words >= self.total
        while outside.any():
            words[outside] = self._permuted(words[outside])
            outside = words >= self.total

        index = torch.from_numpy(words.astype(np.int64))
        return index.view(position.shape)

    def _permuted(self, words: Words) -> Words:
        """Return the Feistel network of words of b bits."""
        left = words >> self._right
        right = words & _mask(self._right)
        width, other = self._left, self._right

        # (L, R) -> (R, L xor F(R)), where F(R) has as many bits as L.
        for key in self._keys:
            mixed = _mixed(right + key) & _mask(width)
            left, right = right, left ^ mixed
            width, other = other, width
        return (left << self._right) | right


def order_of(total: int, generator: torch.Generator, *key: int) -> Tensor | Shuffle:
    """Return a permutation: stored for up to `MOST_STORED` rows, and computed for more.

    Args:
        total: How many rows there are.
        generator: The random state of a stored permutation.
        *key: The key of a computed permutation.
    """
    if total <= MOST_STORED:
        return torch.randperm(total, generator=generator)
    return Shuffle(total, *key)


def _mask(width: np.uint64) -> np.uint64:
    return (np.uint64(1) << width) - np.uint64(1)


def _mixed(words: Words) -> Words:
    """Return 32 well-mixed bits of each word."""
    words = _FIRST * (words ^ (words >> _SHIFT))
    words = _SECOND * (words ^ (words >> _SHIFT))
    return words >> _HALF
