"""A masked linear layer, which is used by `MaskedDense`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.ops.functorch import functorch_active
from pyro_exact.ops.masked_product import (
    Blocks,
    degree_mask,
    is_large,
    masked_product,
)
from pyro_exact.ops.tensor_cache import TensorCache, refresh_on_load


class MaskedLinear(nn.Linear):
    r"""A linear layer whose unit of degree :math:`m` sees the inputs of degree at most :math:`m`.

    Use this layer to build autoregressive networks.

    .. math:: y = (W \odot M)\, x + b, \qquad M_{ij} = 1[m^\mathrm{out}_i \ge m^\mathrm{in}_j]

    Args:
        in_degrees: Degree of each input, (masks, in_features), with a row for each mask.
        out_degrees: Degree of each output, (masks, out_features).
        bias: If true, a bias is added.
        saved: If true, the degrees are part of the state. This is required when the
            degrees do not follow from the arguments.

    Shape:
        - x: (\*batch, in_features); y: (\*batch, out_features).

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE, equations 8-9 and 12-13.
    """

    in_degrees: Tensor | None
    out_degrees: Tensor | None
    fixed: Tensor | None

    def __init__(
        self,
        in_degrees: Tensor,
        out_degrees: Tensor,
        bias: bool = True,
        saved: bool = False,
    ) -> None:
        super().__init__(in_degrees.shape[-1], out_degrees.shape[-1], bias)
        self.large = is_large(self.weight.numel())
        self._structure = TensorCache(Structure, in_degrees.int(), out_degrees.int())

        # Degrees that are saved may be replaced. Others never change: all that follows from them is
        # computed once.
        replaceable = saved or self.large
        self.register_buffer(
            "in_degrees",
            in_degrees.int() if replaceable else None,
            persistent=saved,
        )
        self.register_buffer(
            "out_degrees",
            out_degrees.int() if replaceable else None,
            persistent=saved,
        )
        fixed = None if replaceable else degree_mask(in_degrees[0], out_degrees[0])
        self.register_buffer("fixed", fixed, persistent=False)
        refresh_on_load(self, "structure")

    def forward(self, x: Tensor, member: int = 0) -> Tensor:
        """Return the masked linear map of the input, using a mask of the ensemble."""
        if self.large and not torch.compiler.is_compiling() and not functorch_active():
            blocks = self.structure.blocks[member]
            if len(blocks) > 1:
                return self._by_blocks(x, blocks)

        return F.linear(x, self.weight * self.mask(member), self.bias)

    def mask(self, member: int = 0) -> Tensor:
        """Return 1 where an output sees an input and 0 elsewhere, (out_features, in_features)."""
        fixed = self.fixed
        if fixed is not None:
            return fixed

        in_degrees, out_degrees = self._degrees()

        return degree_mask(in_degrees[member], out_degrees[member]).to(self.weight.dtype)

    @property
    def structure(self) -> Structure:
        """The blocks and runs that follow from the degrees."""
        return (
            self._structure.value
            if self.in_degrees is None
            else self._structure.of(*self._degrees())
        )

    def complete(self, degree: int, member: int = 0) -> Tensor:
        """Return the units of a degree, which are complete when all inputs up to it are known."""
        structure = self.structure
        first, last = structure.runs[member].get(degree, (0, 0))
        return structure.units_by_degree(self.weight.device)[member, first:last]

    def _degrees(self) -> tuple[Tensor, Tensor]:
        if self.in_degrees is None or self.out_degrees is None:
            raise RuntimeError("This layer has lost the degrees of the units. Build a new layer.")

        return self.in_degrees, self.out_degrees

    def _by_blocks(self, x: Tensor, blocks: Blocks) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        weight = self.weight
        device = x.device.type
        if torch.is_autocast_enabled(device) and weight.dtype != torch.float64:
            # Autocast by itself would find the products, but not those of the gradients.
            rows, weight = (
                factor.to(torch.get_autocast_dtype(device)) for factor in (rows, weight)
            )

        y = masked_product(rows, weight, blocks).view(*x.shape[:-1], self.out_features)

        return y if self.bias is None else y + self.bias.to(y.dtype)


class Structure:
    """Facts about the degrees of a layer, under each mask, for Python.

    Args:
        in_degrees: Degree of each input, (masks, in_features).
        out_degrees: Degree of each output, (masks, out_features).

    Attributes:
        blocks: Blocks of units that are computed together.
        runs: For each degree, the first and the last place of the corresponding units, when sorted
            by degree.
    """

    def __init__(self, in_degrees: Tensor, out_degrees: Tensor) -> None:
        self.blocks = [
            Blocks(seen, seeing) for seen, seeing in zip(in_degrees, out_degrees, strict=True)
        ]
        self.runs = [_runs(degrees) for degrees in out_degrees]
        self._by_degree = out_degrees.argsort(dim=-1, stable=True)

    def units_by_degree(self, device: torch.device) -> Tensor:
        """Return the indices of the units, sorted by degree, (masks, out_features)."""
        if self._by_degree.device != device:
            self._by_degree = self._by_degree.to(device)

        return self._by_degree


def _runs(degrees: Tensor) -> dict[int, tuple[int, int]]:
    found, counts = degrees.unique(return_counts=True)
    ends = counts.cumsum(0)
    return {
        d: (end - n, end)
        for d, n, end in zip(found.tolist(), counts.tolist(), ends.tolist(), strict=True)
    }
