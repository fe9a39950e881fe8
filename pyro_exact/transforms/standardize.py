"""A fixed mean and scale for each element, for example of the columns of a table."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.checks import check_finite
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.fixed_affine import LARGEST_SCALE


class Standardize(Bijection):
    r"""Subtract a fixed mean from each element, and divide by a fixed standard deviation.

    Use this layer first in a flow of a table, so that the scores are in the units of the columns.

    .. math:: y = (x - m) / s, \qquad \log|\det \partial y/\partial x| = -\sum_i \log s_i

    The mean and the standard deviation are buffers, which training does not change. See `ActNorm`
    for a layer that sets them using data, and `FixedAffine` for the same constants for all
    elements.

    Args:
        mean: :math:`m`, one for each element.
        std: :math:`s`, likewise; each above 0.

    Cost:
        - forward: :math:`O(D)`.
        - inverse: closed form, :math:`O(D)`.

    Shape:
        - mean, std: (D,).
        - x, y: (\*batch, D); ladj: (\*batch).

    Raises:
        ValueError: If the shapes differ, or a value is not finite, or a standard deviation is not
            above 0.

    Example:
        >>> layer = Standardize(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        >>> layer(torch.tensor([2.0, 6.0]))
        tensor([1., 1.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        mean, std = (
            torch.as_tensor(value, dtype=torch.get_default_dtype()).clone() for value in (mean, std)
        )
        if mean.dim() != 1 or mean.shape != std.shape:
            raise ValueError(
                f"Standardize expects mean and std of shape (D,); got {tuple(mean.shape)} and "
                f"{tuple(std.shape)}. Pass a value for each element."
            )

        super().__init__(mean.shape)
        check_finite("Standardize", "mean", mean, "Repair the column")
        check_finite("Standardize", "std", std, "Repair the column")
        if not bool(((std > 1 / LARGEST_SCALE) & (std < LARGEST_SCALE)).all()):
            raise ValueError(
                f"Standardize expects std above 0 and below {LARGEST_SCALE:g}; got "
                f"{std.min().item():g} to {std.max().item():g}. Leave constant columns out."
            )

        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return (x - self.mean) / self.std, -self._log_scale(x)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * self.std + self.mean, self._log_scale(y)

    def _log_scale(self, x: Tensor) -> Tensor:
        return self.std.log().sum().expand(x.shape[:-1])

    @property
    def sign(self) -> int:
        return 1

    def extra_repr(self) -> str:
        return f"{len(self.mean)}"
