"""Local bits-back coding: code integer images by a flow of real values.

A flow maps z = f(v), and the density of v is no code. A code needs a grid, which f does not
preserve. So v is coded together with a point z near f(v), drawn from a narrow normal whose
covariance is that of a linear map, the Jacobian J:

1. Pop the dequantisation noise: v = x + u.
2. Pop z ~ N(f(v), s² J Jᵀ).
3. Push v under N(f⁻¹(z), s² I).
4. Push z under the base, N(0, I).

In the mean this costs -log p(v) for small s. A decoder reverses the steps. All distributions are
computed from values that both sides have, so rounding in the flow costs bits but no images.

Reference: Ho, Lohn and Abbeel (2019), Compression with Flows via Local Bits-Back Coding, section 3.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from pyro_exact.codec.entropy import Coder, Recorder, Stack, normal_code, uniform_code
from pyro_exact.models.dequantized import Dequantized

MOST_ELEMENTS = 1024  # of an image, because the whole Jacobian is computed
NOISE = 2.0**-10  # s, in levels
PIXEL_CELL, LATENT_CELL = 2.0**-16, 2.0**-26
LARGEST_BIN = 2**9
BASE_BIN, LARGEST_BASE_BIN = 2.0**-4, 2**12  # base noise up to 256


class LocalBitsBack:
    """The code of images by a flow, one image after the other.

    Args:
        model: The flow, whose copy in float64 is used. Noise is uniform, also if the model has
            learned noise.

    Raises:
        TypeError: If an image has too many elements, or the model has classes.
    """

    def __init__(self, model: Dequantized) -> None:
        shape = model.event_shape
        if model.classes is not None or shape.numel() > MOST_ELEMENTS:
            raise TypeError(
                f"Local bits-back coding expects a flow of at most {MOST_ELEMENTS:,} elements "
                f"without classes, because it computes the whole Jacobian; got one of "
                f"{shape.numel():,} elements. Use an integer flow (flows.idf), or an "
                "autoregressive network."
            )
        self.shape = shape
        self.flow = copy.deepcopy(model.flow).double().eval().requires_grad_(False)

    def encode(self, stack: Stack, x: Tensor) -> None:
        """Push an image, (C, H, W)."""
        recorder = Recorder()
        u = _code_uniform(stack, x.numel(), None, PIXEL_CELL)
        v = x.double().flatten() + u

        mean, factor = self._linearised(v)
        z = _code_correlated(stack, mean, factor, None)

        _code_base(recorder, z)
        _code_near(recorder, self._inverse(z), NOISE, v, PIXEL_CELL)
        stack.push(recorder)

    def decode(self, stack: Stack) -> Tensor:
        """Pop an image, (C, H, W), int64; this undoes `encode`."""
        size = self.shape.numel()
        z = _code_base(stack, None, size)
        v = _code_near(stack, self._inverse(z), NOISE, None, PIXEL_CELL)
        x = v.floor()

        recorder = Recorder()
        _code_uniform(recorder, size, v - x, PIXEL_CELL)
        mean, factor = self._linearised(v)
        _code_correlated(recorder, mean, factor, z)
        stack.push(recorder)
        return x.long().view(self.shape)

    def _linearised(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return f(v), and the lower triangular factor of s² J Jᵀ."""
        size = len(v)
        with torch.enable_grad():
            copies = v.expand(size, -1).clone().requires_grad_()
            z = self.flow.bijection.inv(copies.view(size, *self.shape))
            (jacobian,) = torch.autograd.grad(z.diagonal().sum(), copies)

        # J^T = Q R, so that J J^T = R^T R
        factor = NOISE * torch.linalg.qr(jacobian.mT, mode="r").R.mT
        return z[0].detach(), factor * factor.diagonal().sign()

    def _inverse(self, z: Tensor) -> Tensor:
        """Return f⁻¹(z)."""
        v: Tensor = self.flow.bijection(z[None].clone())
        return v.flatten()


def _code_uniform(coder: Coder, size: int, u: Tensor | None, cell: float) -> Tensor:
    """Code noise in [0, 1) on a grid, and return it; cells have their value in the centre."""
    code = uniform_code(round(1 / cell), size)
    given = None if u is None else _int32(u / cell - 0.5)
    index = torch.from_numpy(coder.code(code, given)).double()
    return (index + 0.5) * cell


def _code_base(coder: Coder, z: Tensor | None, size: int = 0) -> Tensor:
    """Code elements of the base, N(0, 1), and return them."""
    size = size if z is None else len(z)
    std = torch.full((size,), 1.0, dtype=torch.float64)
    mean = torch.zeros_like(std)
    return _code_bins(coder, mean, std, z, BASE_BIN, LATENT_CELL, LARGEST_BASE_BIN)


def _code_near(
    coder: Coder,
    mean: Tensor,
    std: float,
    v: Tensor | None,
    cell: float,
) -> Tensor:
    """Code independent elements near their means, and return them."""
    return _code_bins(coder, mean, torch.full_like(mean, std), v, std / 8, cell)


def _code_correlated(
    coder: Coder,
    mean: Tensor,
    factor: Tensor,
    z: Tensor | None,
) -> Tensor:
    """Code a draw of N(mean, factor factorᵀ), element by element, and return it."""
    coded = torch.zeros_like(mean)
    noise = torch.zeros_like(mean)

    for i in range(len(mean)):
        # z_i ~ N(mean_i + sum_{j < i} factor_ij noise_j, factor_ii²)
        std = factor[i, i]
        centre = mean[i] + factor[i] @ noise
        exponent = torch.floor(torch.log2(std / 8)).item()
        bin_width = max(2.0**exponent, LATENT_CELL)

        given = None if z is None else z[i : i + 1]
        element = _code_bins(coder, centre[None], std[None], given, bin_width, LATENT_CELL)
        coded[i] = element[0]
        noise[i] = (coded[i] - centre) / std
    return coded


def _code_bins(
    coder: Coder,
    mean: Tensor,
    std: Tensor,
    values: Tensor | None,
    width: float,
    cell: float,
    largest: int = LARGEST_BIN,
) -> Tensor:
    """Code normal elements: the bin by its probability, the cell in the bin uniformly.

    Args:
        coder: An encoder or a decoder.
        mean: Means, (n).
        std: Standard deviations, (n), of about 8 bins or more.
        values: The values to encode, centres of cells; `None` to decode.
        width: Width of a bin, a multiple of the cells by a power of 2.
        cell: Width of a cell.
        largest: Bins on each side of the mean.

    Raises:
        ValueError: If a value is too far from its mean.
    """
    # Bins are counted from the bin of the mean.
    nearest = (mean / width).floor()
    centre = (mean / width - nearest - 0.5).numpy()
    spread = (std / width).numpy()
    bins = normal_code(centre, spread, -largest, largest)

    given = None
    if values is not None:
        offset = (values / width).floor() - nearest
        if (offset.abs() > largest).any() or not offset.isfinite().all():
            raise ValueError(
                "Local bits-back coding expects an image that the flow maps to noise and back; got "
                "a value far from its mean. Leave the image out, or use an integer flow "
                "(flows.idf)."
            )
        given = _int32(offset)

    index = torch.from_numpy(coder.code(bins, given)).double()
    low = (index + nearest) * width

    count = max(1, round(width / cell))
    cells = uniform_code(count, len(mean))
    given = None if values is None else _int32((values - low) / cell - 0.5)
    place = torch.from_numpy(coder.code(cells, given)).double()
    return low + (place + 0.5) * cell


def _int32(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return values.round().to(torch.int32).numpy()
