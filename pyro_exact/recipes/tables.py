"""Entries of the models of vectors and tables: a distribution, behind a layer for the columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pyro_exact import flows
from pyro_exact.checks import check_shape, check_size
from pyro_exact.data.columns import Column
from pyro_exact.distributions import Flow, FlowWithAngles, Mixture, StandardNormal, UniformBox
from pyro_exact.models import Density, GenerativeModel, Mixed
from pyro_exact.recipes.entries import COLUMNS, ModelEntry, columns_from
from pyro_exact.transforms import (
    ActNorm,
    Bijection,
    Compose,
    Limits,
    LinearTriangular,
    Standardize,
)


@dataclass(frozen=True)
class TableEntry(ModelEntry):
    """The entry of a model of vectors; besides the settings of the builder it takes ``columns``.

    The columns of a table, as `pyro_exact.data.Table` has them, are a setting of the model, so that
    a checkpoint rebuilds their layers. Without columns all elements are real, or dequantised
    integers if the data have levels.
    """

    def parse(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        settings = super().parse(values, source)
        columns = columns_from(values, source)
        return settings if columns is None else {**settings, COLUMNS: columns}


def table(flow: Callable[..., Bijection]) -> TableEntry:
    """Return the entry of a flow of vectors, from data to noise."""

    def build(
        shape: int | Sequence[int],
        levels: int | None = None,
        columns: Sequence[Column] | None = None,
        **settings: Any,
    ) -> GenerativeModel:
        def distribution(dim: int, context_dim: int | None) -> tuple[nn.Module, list[Bijection]]:
            return StandardNormal(dim), [flow(dim, context_dim=context_dim, **settings)]

        return _model(shape, levels, columns, distribution)

    return TableEntry(build, flow, ("shape", "levels", "context_dim", "elementwise"))


def mixture_of(signature: Callable[..., Mixture]) -> TableEntry:
    """Return the entry of a mixture of vectors."""

    def build(
        shape: int | Sequence[int],
        levels: int | None = None,
        columns: Sequence[Column] | None = None,
        **settings: Any,
    ) -> GenerativeModel:
        def distribution(dim: int, context_dim: int | None) -> tuple[nn.Module, list[Bijection]]:
            if context_dim is not None:
                raise ValueError(
                    "mixture expects no periodic columns; got some. Use maf or nsf for this table."
                )
            return signature(dim, **settings), []

        return _model(shape, levels, columns, distribution)

    return TableEntry(build, signature, ("shape", "levels"))


def mixture(
    shape: int | Sequence[int],
    components: int = 10,
    layers: int = 0,
    hidden_dims: Sequence[int] = (32, 32),
) -> Mixture:
    """Build a mixture of normals with full covariances, or of masked autoregressive flows.

    Args:
        shape: Shape (dim,) of the vectors, or the integer dim.
        components: Components of the mixture.
        layers: Layers of a `flows.maf` for each component; 0 for normals.
        hidden_dims: Widths of the hidden layers of each flow.
    """
    (dim,) = check_shape("mixture", "shape", shape)
    components = check_size("mixture", "components", components)
    layers = check_size("mixture", "layers", layers, 0)

    def component() -> Flow:
        normal = Compose([ActNorm(dim), LinearTriangular(dim)])
        bijection = flows.maf(dim, layers, hidden_dims) if layers else normal
        return Flow(StandardNormal(dim), bijection.inv)

    return Mixture([component() for _ in range(components)])


def _model(
    shape: int | Sequence[int],
    levels: int | None,
    columns: Sequence[Column] | None,
    distribution: Callable[[int, int | None], tuple[nn.Module, list[Bijection]]],
) -> GenerativeModel:
    """Return the model of rows with these columns.

    Args:
        shape: Shape of a row.
        levels: Levels of integers without columns.
        columns: The columns, or `None`.
        distribution: A function of dimension and size of the context, which returns the base and
            the bijections from standardised elements to this base.
    """
    (dim,) = check_shape("A model of vectors", "shape", shape)

    if columns is None and levels is not None:
        columns = [Column(f"x{i}", "integer", 0, levels - 1) for i in range(dim)]

    if columns is None:
        base, parts = distribution(dim, None)
        return Density(Flow(base, _inverse(parts, dim)))

    if len(columns) != dim:
        raise ValueError(
            f"A model of vectors expects a column for each of {dim} elements; got {len(columns)}. "
            f"Compare the columns of the recipe with the data."
        )

    angles = [column for column in columns if column.kind == "periodic"]
    rest = [column for column in columns if column.kind != "periodic"]
    if not rest:
        return Density(_torus(angles))

    # Each angle is passed as its cosine and its sine.
    context_dim = 2 * len(angles) or None
    base, parts = distribution(len(rest), context_dim)
    layers = [*_input(rest), *parts]
    flow = Flow(base, _inverse(layers, len(rest)))

    if not angles and not any(column.discrete for column in rest):
        return Density(flow)

    discrete = [column.discrete for column in columns]
    if not angles:
        return Mixed(flow, discrete)

    period = [_period(column)[1] if column in angles else 0.0 for column in columns]
    return Mixed(FlowWithAngles(flow, _torus(angles), period), discrete)


def _input(columns: Sequence[Column]) -> list[Bijection]:
    """Return the layers from the units of the columns to standardised elements."""
    mean = torch.tensor([column.mean for column in columns])
    std = torch.tensor([column.std for column in columns])
    standardize = Standardize(mean, std)

    low = torch.tensor([column.limits[0] for column in columns])
    high = torch.tensor([column.limits[1] for column in columns])
    if not (low.isfinite() | high.isfinite()).any():
        return [standardize]
    return [Limits(low, high).inv, standardize]


def _inverse(parts: Sequence[Bijection], dim: int) -> Bijection:
    """Return the map from noise to data; a distribution without layers keeps an `ActNorm`."""
    return Compose(parts or [ActNorm(dim)]).inv


def _torus(columns: Sequence[Column]) -> Flow:
    """Return a flow of angles, in the units of the columns."""
    ends = [_period(column) for column in columns]
    middle = torch.tensor([low + period / 2 for low, period in ends])
    radian = torch.tensor([period / (2 * math.pi) for _, period in ends])

    parts = [Standardize(middle, radian), flows.circular_spline(len(columns))]
    return Flow(UniformBox(len(columns)), Compose(parts).inv)


def _period(column: Column) -> tuple[float, float]:
    """Return the lower end and the length of the period."""
    low, high = column.limits
    return low, high - low
