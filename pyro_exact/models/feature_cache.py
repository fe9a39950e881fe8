"""The features of the top-down pass, kept from the guide to the model."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_exact.transforms import memory
from pyro_exact.transforms.memory import State, states

Features = TypeVar("Features")


class FeatureCache(Generic[Features]):
    """A cache of the features that the top-down pass of the guide computes, used by the model.

    The model is replayed with the latent tensors that the guide drew, so the top-down pass would
    compute the same features again. The cache maps each latent tensor weakly to the features below
    it. An entry is not used when anything that this entry depends on has changed since; see
    `pyro_exact.transforms.memory.Memory`. An entry belongs to the features above the latents: when
    these are computed again, all features below are computed again too.
    """

    def __init__(self) -> None:
        self._entries = WeakTensorKeyDictionary()

    def find(
        self,
        z: Tensor,
        above: Features | None,
        weights: State,
    ) -> Features | None:
        """Return the features below the latents ``z``, if those above are the same object.

        Args:
            z: The latents.
            above: The features above, as `find` or `write` had them; `None` at the top.
            weights: State of the weights that the features depend on.
        """
        if torch.is_grad_enabled() and z.is_leaf:
            # A leaf may be used again after a backward pass has freed the graph of the features.
            return None

        entry_above, stamp, features = self._entries.get(z, (None, None, None))
        return features if entry_above is above and stamp == self._stamp(z, weights) else None

    def write(
        self,
        z: Tensor,
        above: Features | None,
        weights: State,
        features: Features,
    ) -> None:
        """Store the features below ``z``. The latents of the top begin a new pass."""
        if above is None:
            self._entries = WeakTensorKeyDictionary()

        self._entries[z] = above, self._stamp(z, weights), features

    def __len__(self) -> int:
        return len(self._entries)

    def __reduce__(self) -> tuple[type[FeatureCache[Any]], tuple[()]]:
        return FeatureCache, ()

    def _stamp(self, z: Tensor, weights: State) -> tuple[Any, ...]:
        return memory.Memory.steps, torch.is_grad_enabled(), weights, states((z,))
