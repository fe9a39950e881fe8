"""Statistics of a batch, over all ranks, which are used for data-dependent initialisation."""

from __future__ import annotations

from torch import Tensor, distributed

from pyro_exact.checks import check_floating, check_size


def channel_statistics(x: Tensor, event_dim: int) -> tuple[Tensor, Tensor]:
    """Return mean and biased standard deviation per channel, over the batch and all ranks.

    Args:
        x: Of shape (*batch, C, ...), with ``event_dim`` dimensions in an event.
        event_dim: 1 for vectors, 3 for images (C, H, W).

    Returns:
        Two tensors of shape (C, 1, ..., 1) with ``event_dim`` dimensions.

    Raises:
        ValueError: If there is only a single value per channel, or a value is not finite.
    """
    x = check_floating("channel_statistics", "x", x)
    event_dim = check_size("channel_statistics", "event_dim", event_dim, most=x.dim())
    values = x.double().movedim(x.dim() - event_dim, 0)
    values = values.reshape(len(values), -1)
    count = _sum_over_ranks(values.new_tensor([values.shape[1]]))
    if count < 2:
        raise ValueError(
            f"Data-dependent initialisation expects at least two values per channel; got "
            f"{values.shape[1]} "
            f"from a batch of shape {tuple(x.shape)}. Pass a larger batch."
        )

    mean = _sum_over_ranks(values.sum(1)) / count
    variance = _sum_over_ranks((values - mean[:, None]).square().sum(1)) / count
    if not bool(variance.isfinite().all()):
        raise ValueError(
            "Data-dependent initialisation expects finite values; got NaN or infinity. Check the "
            "data and the preceding layers."
        )

    shape = (-1, *[1] * (event_dim - 1))

    return mean.to(x.dtype).view(shape), variance.sqrt().to(x.dtype).view(shape)


def _sum_over_ranks(x: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)

    return x
