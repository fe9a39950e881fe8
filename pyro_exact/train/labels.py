"""The classes of images, for class-conditional models."""

from __future__ import annotations

from torch import Tensor

from pyro_exact.data import Images
from pyro_exact.data.dataset import SPLITS
from pyro_exact.models import GenerativeModel


def labels_for(model: GenerativeModel, images: Images, split: str) -> Tensor | None:
    """Return the classes of a split for a class-conditional model, and `None` for any other model.

    Args:
        model: A model; ``classes`` must be `None` if the model is not class-conditional.
        images: A data set.
        split: ``"train"``, ``"valid"`` or ``"test"``.

    Raises:
        ValueError: If the model is class-conditional and the data have no classes, or classes that
            the model does not have.
    """
    if model.classes is None:
        return None

    labels, owner = images.labels(split), f"{images.name}, {split}"
    if labels is None:
        raise ValueError(
            f"{owner} expects a label for each image, for a model of {model.classes} classes; got "
            f"none. Choose data with labels, or a model without classes."
        )

    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= model.classes:
        raise ValueError(
            f"{owner} expects classes from 0 to {model.classes - 1}, as the model has them; got "
            f"labels from {lowest} to {highest}. Number the classes 0, 1, ..., or build the model "
            f"with more classes."
        )
    return labels


def check_labels(model: GenerativeModel, images: Images) -> None:
    """Raise an error before a run if the classes of a split do not fit the model.

    The test split may lack labels, because training does not use it.

    Raises:
        ValueError: As `labels_for`.
    """
    for split in SPLITS:
        if split != "test" or images.labels(split) is not None:
            labels_for(model, images, split)
