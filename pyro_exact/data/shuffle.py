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
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)

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
        words = [word for integer in key for word in (integer % 2**32, integer >> 32)]
        self._keys = np.random.SeedSequence(words).generate_state(_ROUNDS, np.uint64)

        bits = max((total - 1).bit_length(), 2)
        self._low, self._high = bits // 2, bits - bits // 2

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, position: Tensor) -> Tensor:
        """Return the indices at some positions of the permutation, int64 of the same shape."""
        words = position.numpy().astype(np.uint64).reshape(-1)
        words = self._permuted(words)

        while (outside := words >= self.total).any():
            words[outside] = self._permuted(words[outside])
        return torch.from_numpy(words.astype(np.int64)).view(position.shape)

    def _permuted(self, words: Words) -> Words:
        """Return the Feistel network of words of b bits."""
        widths = np.uint64(self._low), np.uint64(self._high)
        left, right = words >> widths[1], words & _mask(widths[1])

        # (L, R) -> (R, L xor F(R)): L and R differ in width by at most one bit, and change places.
        for number, key in enumerate(self._keys):
            width = widths[number % 2]
            left, right = right, left ^ (_mixed(right + key) & _mask(width))
        return (left << widths[1]) | right


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
    words = (words ^ (words >> np.uint64(33))) * _FIRST
    words = (words ^ (words >> np.uint64(33))) * _SECOND
    return words >> np.uint64(32)
