"""The data sets of the benchmark of held-out likelihood: tables, digits and two-dimensional densities."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import NamedTuple

import torch
from sklearn import datasets
from torch import Generator, Tensor


class Splits(NamedTuple):
    """Rows for training, validation and test, in units of the standardised training rows."""

    train: Tensor
    validation: Tensor
    test: Tensor


class Target(NamedTuple):
    """A data set: a function of a generator, and the number of random splits or seeds."""

    draw: Callable[[Generator], Tensor]
    repetitions: int


def splits(target: str, seed: int) -> Splits:
    """Return one random split of a target: 64 % training, 16 % validation, 20 % test."""
    generator = torch.Generator().manual_seed(seed)
    x = TARGETS[target].draw(generator)
    x = x[torch.randperm(len(x), generator=generator)]

    last, held_out = round(0.64 * len(x)), round(0.8 * len(x))
    train, validation, test = x[:last], x[last:held_out], x[held_out:]

    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    return Splits(*(((part - mean) / std).float() for part in (train, validation, test)))


def dequantised(x: Tensor, generator: Generator) -> Tensor:
    """Add uniform noise to each column, as wide as the smallest gap between its values.

    A column with ties, for example of integers, has no density; the density of the sum is bounded.
    """
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
    return x + noise * torch.stack([_smallest_gap(column) for column in x.T])


def _smallest_gap(column: Tensor) -> Tensor:
    gaps = column.unique().diff()
    return gaps[gaps > 1e-6 * (column.max() - column.min())].min()  # smaller ones are rounding


# Tables -------------------------------------------------------------------------------------------


def table(load: Callable[[], object]) -> Callable[[Generator], Tensor]:
    """Return a function that draws the noise of one of scikit-learn's tables."""

    def draw(generator: Generator) -> Tensor:
        return dequantised(torch.from_numpy(load().data).double(), generator)

    return draw


def housing(_: Generator) -> Tensor:
    """8,400 rows like those of the California housing data: skewed, bounded, correlated, and with ties."""
    generator = torch.Generator().manual_seed(0)
    n = 8400

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator, dtype=torch.float64)

    # Places lie along a coast, around two cities and between them.
    city = torch.multinomial(torch.tensor([0.45, 0.35, 0.2]), n, True, generator=generator)
    centre = torch.tensor([[34.0, -118.2], [37.7, -122.2], [36.5, -120.0]]).double()[city]
    spread = torch.tensor([0.4, 0.35, 1.2]).double()[city, None]
    place = centre + spread * normal(2) @ torch.tensor([[1.0, -0.7], [0.0, 0.5]]).double()

    wealth = normal() + 0.4 * (city == 1)
    income = (1.2 + 0.45 * wealth + 0.1 * normal()).exp().clamp(max=15.0)
    age = (29 - 4 * wealth + 12 * normal()).round().clamp(1, 52)
    rooms = (1.6 + 0.12 * wealth - 0.004 * (age - 29) + 0.2 * normal()).exp()
    bedrooms = (0.05 + 0.15 * (rooms.log() - 1.6) + 0.08 * normal()).exp()
    population = (7.0 - 0.01 * (age - 29) + 0.7 * normal()).exp().round().clamp(min=3)
    occupancy = (1.05 - 0.1 * wealth + 0.2 * normal() + 0.1 * normal() ** 2).exp()

    columns = [income, age, rooms, bedrooms, population, occupancy, *(place * 100).round().T]
    steps = [1e-4, 1.0, 1e-3, 1e-3, 1.0, 1e-3, 1.0, 1.0]
    rounded = torch.stack([(c / s).round() * s for c, s in zip(columns, steps, strict=True)], 1)

    return dequantised(rounded, generator)


def digits(generator: Generator) -> Tensor:
    """Images of 8x8 pixels with 17 levels, as vectors with uniform noise."""
    pixels = torch.from_numpy(datasets.load_digits().data).double()
    return pixels + torch.rand(pixels.shape, generator=generator, dtype=pixels.dtype)


# Two dimensions -----------------------------------------------------------------------------------

POINTS = 10_000


def moons(generator: Generator) -> Tensor:
    """Two interleaved half circles."""
    angle = pi * _uniform(generator)
    upper = _uniform(generator) < 0.5
    x = torch.where(upper, angle.cos(), 1 - angle.cos())
    y = torch.where(upper, angle.sin(), 0.5 - angle.sin())
    return torch.stack([x, y], 1) + 0.1 * _normal(generator)


def spirals(generator: Generator) -> Tensor:
    """Two spirals, opposite to each other."""
    angle = 3 * pi * _uniform(generator).sqrt()
    sign = torch.where(_uniform(generator) < 0.5, 1.0, -1.0)
    spiral = torch.stack([-angle * angle.cos(), angle * angle.sin()], 1)
    return sign[:, None] * spiral / 3 + 0.1 * _normal(generator)


def checkerboard(generator: Generator) -> Tensor:
    """The black squares of a board of 4 x 4."""
    x = 4 * _uniform(generator)
    row = 2 * (2 * _uniform(generator)).floor() + x.floor() % 2
    return torch.stack([x, row + _uniform(generator)], 1) - 2


def rings(generator: Generator) -> Tensor:
    """Four concentric rings."""
    radius = 1 + (4 * _uniform(generator)).floor()
    angle = 2 * pi * _uniform(generator)
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1) + 0.1 * _normal(generator)


def eight_gaussians(generator: Generator) -> Tensor:
    """Eight normals on a circle."""
    angle = pi / 4 * (8 * _uniform(generator)).floor()
    return 4 * torch.stack([angle.cos(), angle.sin()], 1) + 0.5 * _normal(generator)


def _uniform(generator: Generator) -> Tensor:
    return torch.rand(POINTS, generator=generator, dtype=torch.float64)


def _normal(generator: Generator) -> Tensor:
    return torch.randn(POINTS, 2, generator=generator, dtype=torch.float64)


TARGETS = {
    "wine": Target(table(datasets.load_wine), 3),
    "diabetes": Target(table(datasets.load_diabetes), 3),
    "breast cancer": Target(table(datasets.load_breast_cancer), 3),
    "housing": Target(housing, 3),
    "digits": Target(digits, 2),
    "moons": Target(moons, 2),
    "spirals": Target(spirals, 2),
    "checkerboard": Target(checkerboard, 2),
    "rings": Target(rings, 2),
    "eight Gaussians": Target(eight_gaussians, 2),
}
