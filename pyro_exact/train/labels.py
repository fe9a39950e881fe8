"""The classes or the contexts of data, for conditional models."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.data.dataset import SPLITS, Dataset
from pyro_exact.models import GenerativeModel


def labels_for(model: GenerativeModel, images: Dataset, split: str) -> Tensor | None:
    """Return what `GenerativeModel.condition` takes: classes or contexts, one for each row.

    Args:
        model: A model; ``classes`` and ``context_dim`` must be `None` if it is not conditional.
        images: A data set.
        split: ``"train"``, ``"valid"`` or ``"test"``.

    Returns:
        Classes (N,), real contexts (N, context_dim), or `None` for a model that is not conditional.

    Raises:
        ValueError: If the model is conditional, and the data have no classes or contexts, or some
            that do not fit the model.
    """
    owner = f"{images.name}, {split}"
    if model.context_dim is not None:
        return _contexts(images.context(split), model.context_dim, owner)
    if model.classes is not None:
        return _labels(images.labels(split), model.classes, owner)
    return None


def check_labels(model: GenerativeModel, images: Dataset) -> None:
    """Raise an error before a run if the classes or contexts of a split do not fit the model.

    The test split may lack them, because training does not use it.

    Raises:
        ValueError: As `labels_for`.
    """
    for split in SPLITS:
        given = images.labels if model.context_dim is None else images.context
        if split != "test" or given(split) is not None:
            labels_for(model, images, split)


def _labels(labels: Tensor | None, classes: int, owner: str) -> Tensor:
    """Return the classes of a split, or raise an error if they do not fit the model."""
    if labels is None:
        raise ValueError(
            f"{owner} expects a label for each image, for a model of {classes} classes; got "
            f"none. Choose data with labels, or a model without classes."
        )

    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"{owner} expects classes from 0 to {classes - 1}, as the model has them; got "
            f"labels from {lowest} to {highest}. Number the classes 0, 1, ..., or build the model "
            f"with more classes."
        )
    return labels


def _contexts(context: Tensor | None, context_dim: int, owner: str) -> Tensor:
    """Return the contexts of a split, or raise an error if they do not fit the model."""
    if context is None:
        raise ValueError(
            f"{owner} expects a context for each row, for a model with context_dim={context_dim}; "
            f"got none. Pass data with contexts, or use a model without a context."
        )

    if context.dim() != 2 or context.shape[1] != context_dim:
        raise ValueError(
            f"{owner} expects contexts of shape (N, {context_dim}), as the model takes them; got "
            f"{tuple(context.shape)}. Build the model for this context_dim."
        )
    if not bool(context.isfinite().all()):
        raise ValueError(
            f"{owner} expects finite contexts; got {int((~context.isfinite()).sum())} elements "
            f"that are NaN or infinite. Repair these rows, or leave them out."
        )
    return context
