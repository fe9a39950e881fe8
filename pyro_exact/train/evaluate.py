"""Scores of a model on a data set, exact sums over exact counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_exact.checks import check_seed, check_size, check_tensor
from pyro_exact.data import Images
from pyro_exact.data.images import SPLITS
from pyro_exact.models import GenerativeModel
from pyro_exact.models.generative_model import evaluating
from pyro_exact.recipes import Unit
from pyro_exact.train.divergence import NotFiniteError, check_weights, first_non_finite


@dataclass(frozen=True)
class Evaluation:
    """How well a model codes a data set.

    Attributes:
        nats: Mean of -log p(x) per image, or of its upper bound.
        bits_per_dim: The same per number and in bits: nats / (D log 2).
        standard_error: Of ``bits_per_dim``: standard deviation over images / sqrt(n); `None` of a
            single image.
        standard_error_nats: Of ``nats``.
        images: n.
        dims: D, numbers per image.
        bound: ``"exact"``, or what bounds the likelihood: ``"elbo"`` or ``"importance-weighted"``.
        k: Samples of the guide per image.
    """

    nats: float
    bits_per_dim: float
    standard_error: float | None
    standard_error_nats: float | None
    images: int
    dims: int
    bound: str
    k: int

    def __str__(self) -> str:
        k = "" if self.bound == "exact" else f", k = {self.k}"
        images = f"{self.images} image{'s' if self.images > 1 else ''}"
        return f"{self.bits_per_dim:.4f}{_error(self.standard_error, 4)} bits/dim ({self.bound}{k}, {images})"

    def in_nats(self) -> str:
        """Return the mean and its error in nats per image."""
        return f"{self.nats:.2f}{_error(self.standard_error_nats, 2)} nats per image"

    def metric(self, unit: Unit) -> dict[str, Any]:
        """Return value, error and bound in a unit, as a record keeps them."""
        value, error = self.bits_per_dim, self.standard_error
        if unit == "nats":
            value, error = self.nats, self.standard_error_nats
        return {
            "unit": unit,
            "value": value,
            "standard_error": error,
            "bound": self.bound,
            "k": self.k,
        }


@torch.no_grad()
def evaluate(
    model: GenerativeModel,
    images: Tensor,
    k: int = 1,
    batch_size: int = 100,
    seed: int = 0,
    labels: Tensor | None = None,
) -> Evaluation:
    r"""Score a model: the mean over images of :math:`-\log \frac1k \sum_{i=1}^k p(x, z_i) / q(z_i \mid x)`.

    The model is put into evaluation mode and back. The random state of the caller is left alone.

    Pyro's effect handlers, torch's random state and the mode of a model belong to the whole
    process. So two threads that score at the same time disturb each other: give each a process of
    its own, or let one wait for the other.

    Args:
        model: What to score, on its own device.
        images: Integers of shape (N, C, H, W), or data of any shape (N, ...) that the model takes.
        k: Samples of the guide per image; 1 gives the ELBO, more the importance-weighted bound,
            which is tighter.
        batch_size: Images at once, or samples of fewer images; the result does not depend on it but
            for the noise.
        seed: Of the guide's noise.
        labels: Of a class-conditional model: the class of each image; the score is that of -log p(x
            | class).

    Raises:
        TypeError: If an argument is of another type, such as an array in place of a tensor.
        ValueError: If there are no images, or they hold what the model cannot score, or labels do
            not fit them.
        NotFiniteError: If a weight or a score is NaN or infinite, with the first layer where it is
            so.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, equation 8.
    """
    k, batch_size = check_size("evaluate", "k", k), check_size("evaluate", "batch_size", batch_size)
    seed = check_seed("evaluate", seed)
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"evaluate expects a GenerativeModel; got {type(model).__name__}. Pass one, such as a VAE."
        )
    _check_rows(images, labels)
    model.check(images)
    check_weights(model, "evaluate")
    device = next(model.parameters()).device
    rows = max(1, batch_size // k)

    def log_p(first: int) -> Tensor:
        """Return the score of one batch."""
        batch = slice(first, first + rows)
        given = model if labels is None else model.condition(labels[batch].to(device))
        return _log_mean_weight(given, images[batch].to(device), k, batch_size)

    with (
        evaluating(model),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        nats = -torch.cat([log_p(first) for first in range(0, len(images), rows)]).double().cpu()
        bad = (~nats.isfinite()).nonzero().flatten().tolist()
        if bad:
            torch.manual_seed(seed)
            layer = first_non_finite(
                model, lambda: [log_p(first) for first in range(0, bad[0] + 1, rows)]
            )
            culprit = (
                f"the output of {layer}"
                if layer
                else "its probability, although all layers are finite"
            )
            raise NotFiniteError(
                f"evaluate expects finite scores; got {len(bad)} of {len(nats)} that are not, first {nats[bad[0]]} "
                f"nats of image {bad[0]}; first so is {culprit}. Take another checkpoint, or look at the image.",
                culprit,
            )

    n, dims = len(nats), images[0].numel()
    error = nats.std().item() / math.sqrt(n) if n > 1 else None
    mean, bits = nats.mean().item(), dims * math.log(2)
    return Evaluation(
        mean,
        mean / bits,
        None if error is None else error / bits,
        error,
        n,
        dims,
        _bound_name(model, k),
        k,
    )


def labels_for(model: GenerativeModel, images: Images, split: str) -> Tensor | None:
    """Return the classes of a split for a class-conditional model, and none for any other.

    Raises:
        ValueError: If the model is class-conditional, and the data have no classes, or others.
    """
    if model.classes is None:
        return None
    labels = images.labels(split)
    if labels is None:
        raise ValueError(
            f"{images.name}, {split}: expected a label for each image, for a model of {model.classes} classes; got "
            f"none. Choose data with labels, or a model without classes."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= model.classes:
        raise ValueError(
            f"{images.name}, {split}: expected classes from 0 to {model.classes - 1}, as the model has them; got "
            f"labels from {lowest} to {highest}. Number the classes 0, 1, ..., or give the model more of them."
        )
    return labels


def check_labels(model: GenerativeModel, images: Images) -> None:
    """Say so before a run if the classes of any split do not fit the model; those of the test split may be missing.

    Raises:
        ValueError: As `labels_for`.
    """
    for split in SPLITS:
        if split != "test" or images.labels(split) is not None:
            labels_for(model, images, split)


def _check_rows(images: Tensor, labels: Tensor | None) -> None:
    """Raise an error unless there are images, with a label for each if there are labels."""
    if check_tensor("evaluate", "images", images).dim() == 0:
        raise ValueError(
            "evaluate expects images of shape (N, ...); got a single number, of shape (). Stack them."
        )
    if len(images) == 0:
        raise ValueError("evaluate expects at least one image; got none. Choose another split.")

    count = len(images)
    if labels is not None and tuple(check_tensor("evaluate", "labels", labels).shape) != (count,):
        raise ValueError(
            f"evaluate expects labels of shape ({count},), one an image; got {tuple(labels.shape)}. Pass the labels of "
            f"these images."
        )


def _error(error: float | None, digits: int) -> str:
    return "" if error is None else f" ± {error:.{digits}f}"


def _bound_name(model: GenerativeModel, k: int) -> str:
    if model.exact:
        return "exact"
    return "elbo" if k == 1 else "importance-weighted"


def _log_mean_weight(model: GenerativeModel, x: Tensor, k: int, batch_size: int) -> Tensor:
    """Return log-mean-exp of k log-weights for each image, in float64, from about ``batch_size`` of them at once."""
    most = max(1, batch_size // len(x))
    sums = [
        model.log_weight(x, min(most, k - done)).double().logsumexp(0) for done in range(0, k, most)
    ]
    return torch.stack(sums).logsumexp(0) - math.log(k)
