"""Code the values of sites, given the parameters that a network or decoder computed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_exact.codec.entropy import Coder, Symbols, normal_code, table_code
from pyro_exact.likelihoods.gaussian import GaussianLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood

# Real values are integers times the width of a cell. Both parts of bits-back use the same cells,
# so that their width cancels.
CELLS = 32  # of a bin
BIN = 2.0**-4
CELL = BIN / CELLS
LARGEST_BIN = 2**8 - 1  # real values up to 16

LARGEST_TABLE = 2**20  # probabilities that are computed together


def code_sites(
    likelihood: Likelihood,
    theta: Tensor,
    coder: Coder,
    values: Tensor | None,
    bits: Tensor | None = None,
) -> Tensor:
    r"""Code the values of sites, channel by channel, and return them.

    Args:
        likelihood: The distribution of a site.
        theta: Parameters, (\*sites, num_params).
        coder: An encoder or a decoder.
        values: The values to encode, (\*sites, \*site_shape); `None` to decode.
        bits: Optional; the bits of each site are added, (\*sites).

    Raises:
        TypeError: If the sites are real, and not normal.
    """
    if likelihood.levels is None:
        return _code_real(likelihood, theta, coder, values)

    site_shape = likelihood.site_shape
    rows = theta.reshape(-1, theta.shape[-1])
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    given = None if values is None else values.reshape(len(rows), -1)
    spent = None if bits is None else torch.zeros(len(rows), dtype=torch.float64)

    # Tables of all levels take memory, so large batches are coded in pieces.
    pieces = []
    size = max(1, LARGEST_TABLE // likelihood.levels)
    for first in range(0, len(rows), size):
        piece = slice(first, first + size)
        part = None if given is None else given[piece]
        cost = None if spent is None else spent[piece]
        pieces.append(_code_levels(likelihood, rows[piece], coder, part, cost))

    if bits is not None and spent is not None:
        bits += spent.to(bits).view(bits.shape)
    coded = torch.cat(pieces) if pieces else rows.new_empty(0, *site_shape)
    return coded.reshape(*theta.shape[:-1], *site_shape)


def _code_levels(
    likelihood: Likelihood,
    theta: Tensor,
    coder: Coder,
    values: Tensor | None,
    bits: Tensor | None,
) -> Tensor:
    """Code sites with levels, (n, num_params), channel by channel; return them, (n, channels)."""
    channels = likelihood.site_shape[0] if likelihood.site_shape else 1
    coded = theta.new_empty(len(theta), channels)

    for c in range(channels):
        # p(x_c | x_{<c}, theta)
        probs = likelihood.level_probs(theta, coded[:, :c])
        code = table_code(probs)

        given = None if values is None else _symbols(values[:, c])
        symbols = coder.code(code, given)
        coded[:, c] = torch.from_numpy(symbols).to(coded)

        if bits is not None:
            bits += torch.from_numpy(code.bits(symbols))
    return coded


def code_normal(
    mean: Tensor,
    std: Tensor,
    coder: Coder,
    values: Tensor | None,
) -> Tensor:
    """Code real values on a grid of cells, with the probability of each cell, and return them.

    A table of all cells would leave too much probability for cells that are never used, because
    each has at least 2^-24. So the bin is coded first, then the cell within the bin.

    Args:
        mean: Means, of any shape.
        std: Standard deviations, of the same shape.
        coder: An encoder or a decoder.
        values: The values to encode, of the same shape, centres of cells; `None` to decode.
    """
    mu = mean.double().flatten()
    sigma = std.double().flatten()
    z = None if values is None else values.double().flatten()

    # The probability of the bin [k, k + 1), which a normal_code calls [k - 1/2, k + 1/2].
    centre = (mu / BIN - 0.5).cpu().numpy()
    spread = (sigma / BIN).cpu().numpy()
    bins = normal_code(centre, spread, -LARGEST_BIN, LARGEST_BIN)

    given = None if z is None else _symbols((z / BIN).floor())
    index = torch.from_numpy(coder.code(bins, given)).to(mu)
    low = index * BIN

    # The probability of each cell given the bin, from the density in the centre.
    offsets = (torch.arange(CELLS).to(mu) + 0.5) * CELL
    centres = low.unsqueeze(-1) + offsets
    standard = (centres - mu.unsqueeze(-1)) / sigma.unsqueeze(-1)
    probs = (standard.square() * -0.5).softmax(-1)

    given = None if z is None else _symbols((z - low) / CELL - 0.5)
    symbols = coder.code(table_code(probs), given)
    cell = torch.from_numpy(symbols).to(mu)

    return (low + (cell + 0.5) * CELL).to(mean.dtype).view(mean.shape)


def _code_real(
    likelihood: Likelihood,
    theta: Tensor,
    coder: Coder,
    values: Tensor | None,
) -> Tensor:
    """Code sites of normal elements."""
    if not isinstance(likelihood, GaussianLikelihood):
        raise TypeError(
            f"Compression expects elements with levels, or normal latents; got a "
            f"{type(likelihood).__name__}. Use another likelihood."
        )

    mean, log_std = likelihood._split(theta)
    shape = (*theta.shape[:-1], *likelihood.site_shape)
    given = None if values is None else values.reshape(mean.shape)
    return code_normal(mean, log_std.exp(), coder, given).reshape(shape)


def _symbols(values: Tensor) -> Symbols:
    """Return whole values as symbols."""
    symbols: Symbols = values.flatten().round().to(torch.int32).cpu().numpy()
    return np.ascontiguousarray(symbols)
