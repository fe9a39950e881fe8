"""Scores of a model on a data set: exact sums over exact counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from pyro_exact.checks import check_seed, check_size, check_tensor
from pyro_exact.data.dataset import Rows
from pyro_exact.data.views import check_rows
from pyro_exact.models import GenerativeModel
from pyro_exact.models.generative_model import evaluating
from pyro_exact.recipes import Unit
from pyro_exact.train.divergence import NotFiniteError, check_weights, first_non_finite


@dataclass(frozen=True)
class Evaluation:
    """The score of a model on a data set.

    Attributes:
        nats: Mean of -log p(x) per image, or of an upper bound of this.
        bits_per_dim: The same in bits per element: nats / (D log 2).
        standard_error: Standard error of ``bits_per_dim``: the standard deviation over images
            divided by sqrt(n); `None` for a single image.
        standard_error_nats: Standard error of ``nats``.
        images: Scored images, n.
        dims: Elements of an image, D.
        bound: ``"exact"``, or the bound of the likelihood: ``"elbo"`` or
            ``"importance-weighted"``.
        k: Samples of the guide per image.
        each: The score of each image in nats, (n,), float64, on the CPU.
    """

    nats: float
    bits_per_dim: float
    standard_error: float | None
    standard_error_nats: float | None
    images: int
    dims: int
    bound: str
    k: int
    each: Tensor = field(repr=False, compare=False)

    def __str__(self) -> str:
        k = "" if self.bound == "exact" else f", k = {self.k}"
        images = f"{self.images} image{'s' if self.images > 1 else ''}"
        bits = f"{self.bits_per_dim:.4f}{_error(self.standard_error, 4)}"
        return f"{bits} bits/dim ({self.bound}{k}, {images})"

    def in_unit(self, unit: Unit) -> float:
        """Return the score in a unit."""
        return self.nats if unit == "nats" else self.bits_per_dim

    def in_nats(self) -> str:
        """Return the mean and the standard error in nats per image, as text."""
        return f"{self.nats:.2f}{_error(self.standard_error_nats, 2)} nats per image"

    def in_words(self, unit: Unit) -> str:
        """Return the score as text in a unit: nats of a row, or bits/dim and nats of an image."""
        if unit == "bits/dim":
            return f"{self}\n{self.in_nats()}"
        k = "" if self.bound == "exact" else f", k = {self.k}"
        rows = f"{self.images} row{'s' if self.images > 1 else ''}"
        error = _error(self.standard_error_nats, 4)
        return f"{self.nats:.4f}{error} nats per row ({self.bound}{k}, {rows})"

    def metric(self, unit: Unit) -> dict[str, Any]:
        """Return value, standard error and bound in a unit, for a result record."""
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
    images: Rows,
    k: int = 1,
    batch_size: int = 100,
    seed: int = 0,
    labels: Tensor | None = None,
    shared: bool = False,
) -> Evaluation:
    r"""Score a model on images, in nats and in bits per dimension.

    The score is the mean over images of
    :math:`-\log \frac1k \sum_{i=1}^k p(x, z_i) / q(z_i \mid x)`, computed using samples of the
    guide q. The model is put into evaluation mode, and back afterwards. The random state of the
    caller does not change.

    Pyro's effect handlers, torch's random state and the mode of a model belong to the whole
    process. So two threads that score at the same time disturb each other: separate processes
    should be used.

    Args:
        model: The model, on any device.
        images: Integers of shape (N, C, H, W), or data of any shape (N, ...) that the model takes:
            a tensor, or rows in files, of which one batch at a time is read.
        k: Samples of the guide per image; 1 gives the ELBO, more give the
            importance-weighted bound, which is tighter.
        batch_size: Images or samples that are scored together; except for the noise, the
            result does not depend on it.
        seed: Seed of the guide's noise.
        labels: The class or the context of each image, for a conditional model; the score is then
            that of -log p(x | class).
        shared: If true, the processes of ``torch.distributed`` divide the batches among them; all
            must call this function. Each image is scored once, and the score is the same on any
            number of processes, because the noise of a batch depends on its position alone.

    Raises:
        TypeError: If an argument has another type, for example an array instead of a tensor.
        ValueError: If there are no images, the model cannot score these images, or the labels do
            not match the images.
        NotFiniteError: If a weight or a score is NaN or infinite, with the first layer whose output
            is not finite.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders, equation 8.
    """
    k, batch_size = check_size("evaluate", "k", k), check_size("evaluate", "batch_size", batch_size)
    seed = check_seed("evaluate", seed)
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"evaluate expects a GenerativeModel; got {type(model).__name__}. Pass one, such as a "
            f"VAE."
        )
    _check_rows(images, labels)
    check_weights(model, "evaluate")

    device = next(model.parameters()).device
    rows = max(1, batch_size // k)

    def log_p(first: int) -> Tensor:
        """Return the scores of a batch, starting at the first image."""
        index = torch.arange(first, min(first + rows, len(images)))
        batch = images[index]
        model.check(batch)

        torch.manual_seed(batch_seed(seed, first))
        given = model if labels is None else model.condition(labels[index].to(device))
        return _log_mean_weight(given, batch.to(device), k, batch_size)

    generators = [device] if device.type == "cuda" else []
    with evaluating(model), torch.random.fork_rng(devices=generators):
        nats = -_scores(log_p, len(images), rows, device, shared)
        _check_scores(nats, model, log_p, rows)

    return _summary(nats, math.prod(images.shape[1:]), _bound_name(model, k), k)


def batch_seed(seed: int, first: int) -> int:
    """Return the seed of the noise of a batch, a hash of the seed and of the first image."""
    return int(np.random.SeedSequence((seed, first)).generate_state(1)[0])


def _scores(
    log_p: Callable[[int], Tensor], total: int, rows: int, device: torch.device, shared: bool
) -> Tensor:
    """Return the scores of all images, of which this process computes each world-size-th batch."""
    shared = shared and distributed.is_available() and distributed.is_initialized()
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if shared else (0, 1)

    scores = torch.zeros(total, dtype=torch.float64, device=device if shared else "cpu")
    for first in range(rank * rows, total, processes * rows):
        scores[first : first + rows] = log_p(first)
    if shared:
        distributed.all_reduce(scores)  # all processes but one have zero at each position
    return scores.cpu()


def _check_rows(images: Rows, labels: Tensor | None) -> None:
    """Raise an error unless there are images, and a label for each image if there are labels."""
    check_rows("evaluate", "images", images)
    if len(images.shape) == 0:
        raise ValueError(
            "evaluate expects images of shape (N, ...); got a single number, of shape (). Stack "
            "them."
        )
    if len(images) == 0:
        raise ValueError("evaluate expects at least one image; got none. Choose another split.")

    count = len(images)
    if labels is None:
        return

    shape = tuple(check_tensor("evaluate", "labels", labels).shape)
    contexts = labels.is_floating_point() and len(shape) == 2
    if shape[:1] != (count,) or (len(shape) > 1 and not contexts):
        raise ValueError(
            f"evaluate expects labels of shape ({count},), one for each image; got "
            f"{tuple(labels.shape)}. Pass the labels of these images."
        )


def _check_scores(
    nats: Tensor, model: GenerativeModel, log_p: Callable[[int], Tensor], rows: int
) -> None:
    """Raise an error if a score is not finite, after the same computation has found the layer."""
    bad = (~nats.isfinite()).nonzero().flatten().tolist()
    if not bad:
        return

    layer = first_non_finite(model, lambda: log_p(bad[0] // rows * rows))
    culprit = "its probability, although all layers are finite"
    if layer is not None:
        culprit = f"the output of {layer}"
    raise NotFiniteError(
        f"evaluate expects finite scores; got {len(bad)} of {len(nats)} that are not, first "
        f"{nats[bad[0]]} nats of image {bad[0]}; first so is {culprit}. Take another checkpoint, "
        f"or look at the image.",
        culprit,
    )


def _log_mean_weight(model: GenerativeModel, x: Tensor, k: int, batch_size: int) -> Tensor:
    """Return log-mean-exp of k log-weights of each image, in float64.

    About ``batch_size`` log-weights are computed together.
    """
    together = max(1, batch_size // len(x))
    sums = []
    for done in range(0, k, together):
        log_weight = model.log_weight(x, min(together, k - done))
        if log_weight.device.type == "mps":
            log_weight = log_weight.cpu()  # an Apple GPU has no float64
        log_weight = log_weight.double()
        sums.append(log_weight.logsumexp(0))

    # log (1/k) sum_i w_i
    return torch.stack(sums).logsumexp(0) - math.log(k)


def _summary(nats: Tensor, dims: int, bound: str, k: int) -> Evaluation:
    n, bits = len(nats), dims * math.log(2)
    mean = nats.mean().item()
    error = nats.std().item() / math.sqrt(n) if n > 1 else None
    error_bits = None if error is None else error / bits
    return Evaluation(mean, mean / bits, error_bits, error, n, dims, bound, k, nats)


def _bound_name(model: GenerativeModel, k: int) -> str:
    if model.exact:
        return "exact"
    return "elbo" if k == 1 else "importance-weighted"


def _error(error: float | None, digits: int) -> str:
    return "" if error is None else f" ± {error:.{digits}f}"
