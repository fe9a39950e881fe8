"""Bases of flows other than standard normal noise."""

from __future__ import annotations

import math

import torch
from pyro.distributions import (
    Categorical,
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Normal,
    StudentT,
    Uniform,
)
from torch import Tensor, nn

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size, check_tensor


class UniformBox(nn.Module):
    r"""The base of a flow on a box or a torus: independent uniform elements in [low, high].

    Args:
        dim: Dimension of the vectors.
        low: Lower end of each interval; the default is :math:`-\pi`.
        high: Upper end of each interval; the default is :math:`\pi`.

    Raises:
        ValueError: If ``low`` is not below ``high``.

    Example:
        >>> UniformBox(2, 0.0, 1.0)().log_prob(torch.tensor([0.2, 0.9]))
        tensor(0.)
    """

    low: Tensor
    high: Tensor

    def __init__(self, dim: int, low: float = -math.pi, high: float = math.pi) -> None:
        super().__init__()
        dim = check_size("UniformBox", "dim", dim)
        low, high = (check_number("UniformBox", n, v) for n, v in (("low", low), ("high", high)))

        if not low < high:
            raise ValueError(
                f"UniformBox expects low below high; got {low} and {high}. Exchange low and high."
            )

        self.register_buffer("low", torch.full((dim,), low), persistent=False)
        self.register_buffer("high", torch.full((dim,), high), persistent=False)

    def forward(self) -> Distribution:
        """Return the distribution."""
        return Independent(Uniform(self.low, self.high), 1)

    def extra_repr(self) -> str:
        return f"{len(self.low)}"


class StudentNoise(nn.Module):
    r"""The base of a flow of data with heavy tails: independent Student-t elements.

    The degrees of freedom of each dimension are learned, and must be above a given limit.

    Args:
        dim: Dimension of the vectors.
        df: Degrees of freedom at the start.
        least: Lower limit of the degrees of freedom; the variance is finite when this is above 2.

    Raises:
        ValueError: If ``df`` is not above ``least``, or either is not positive.

    Example:
        >>> StudentNoise(3)().event_shape
        torch.Size([3])
    """

    def __init__(self, dim: int, df: float = 5.0, least: float = 1.0) -> None:
        super().__init__()
        dim = check_size("StudentNoise", "dim", dim)
        self.least = check_number("StudentNoise", "least", least, 1e-3, 1e6)
        df = check_number("StudentNoise", "df", df, self.least, 1e6)

        if not df > self.least:
            raise ValueError(
                f"StudentNoise expects df above least = {self.least}; got {df}. Choose a larger df."
            )

        self.log_df = nn.Parameter(torch.full((dim,), math.log(df - self.least)))

    def forward(self) -> Distribution:
        """Return the distribution."""
        zero = torch.zeros_like(self.log_df)
        df = self.least + self.log_df.exp()

        return Independent(StudentT(df, zero, torch.ones_like(zero)), 1)

    def extra_repr(self) -> str:
        return f"{len(self.log_df)}, least={self.least}"


class NormalMixture(nn.Module):
    r"""The base of a flow of data in clusters: a learned mixture of diagonal normals.

    Samples have no gradient: this base should be used to fit data, and not in a guide.

    Args:
        dim: Dimension of the vectors.
        components: Components of the mixture.
        spread: Standard deviation of the means at the start of training.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> NormalMixture(3, 5)().event_shape
        torch.Size([3])
    """

    def __init__(self, dim: int, components: int, spread: float = 1.0) -> None:
        super().__init__()
        dim = check_size("NormalMixture", "dim", dim)
        components = check_size("NormalMixture", "components", components, most=LARGEST_COUNT)
        spread = check_number("NormalMixture", "spread", spread, 0, 1e6)
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(spread * torch.randn(components, dim))
        self.log_scales = nn.Parameter(torch.zeros(components, dim))

    def forward(self) -> Distribution:
        """Return the distribution."""
        parts = Independent(Normal(self.means, self.log_scales.exp()), 1)
        return MixtureSameFamily(Categorical(logits=self.logits), parts)

    def extra_repr(self) -> str:
        return f"{self.means.shape[1]}, components={self.means.shape[0]}"


class ClassNormal(nn.Module):
    r"""The class-conditional base of a flow: a learned diagonal normal for each class.

    Use this for a flow whose layers are shared by all classes: only the noise knows the class. The
    context is a one-hot vector; without a context, all classes are equally probable.

    .. math:: p(z | c) = N(z; \mu^T c, \exp(s^T c)^2)

    Args:
        dim: Dimension of the vectors.
        classes: Number of classes.
        spread: Standard deviation of the means at the start of training.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> ClassNormal(3, 10).condition(torch.eye(10)[[4, 4, 7]]).batch_shape
        torch.Size([3])
    """

    def __init__(self, dim: int, classes: int, spread: float = 1.0) -> None:
        super().__init__()
        dim = check_size("ClassNormal", "dim", dim)
        classes = check_size("ClassNormal", "classes", classes, most=LARGEST_COUNT)
        spread = check_number("ClassNormal", "spread", spread, 0, 1e6)
        self.means = nn.Parameter(spread * torch.randn(classes, dim))
        self.log_scales = nn.Parameter(torch.zeros(classes, dim))

    @property
    def context_shape(self) -> tuple[int, ...]:
        """Shape of a context: a one-hot vector."""
        return (len(self.means),)

    def forward(self) -> Distribution:
        """Return the distribution when the class is not known."""
        parts = Independent(Normal(self.means, self.log_scales.exp()), 1)
        return MixtureSameFamily(Categorical(logits=torch.zeros_like(self.means[:, 0])), parts)

    def condition(self, context: Tensor) -> Distribution:
        """Return the distribution of each class, with the batch shape of the contexts.

        Raises:
            ValueError: If the context has another shape.
        """
        context = check_tensor("ClassNormal.condition", "context", context)
        if context.shape[-1:] != self.context_shape:
            raise ValueError(
                "ClassNormal.condition expects a context of shape (*batch, "
                f"{len(self.means)}); got {tuple(context.shape)}. Pass one-hot vectors."
            )

        context = context.to(self.means.dtype)
        scale = (context @ self.log_scales).exp()

        return Independent(Normal(context @ self.means, scale), 1)

    def extra_repr(self) -> str:
        return f"{self.means.shape[1]}, classes={self.means.shape[0]}"


class LowRankNormal(nn.Module):
    r"""The base of a flow of long vectors: a learned normal with diagonal plus low-rank covariance.

    Args:
        dim: Dimension of the vectors.
        rank: Rank of the low-rank part of the covariance.

    Raises:
        ValueError: If the rank is not from 1 to ``dim``.

    Example:
        >>> LowRankNormal(10, 2)().event_shape
        torch.Size([10])
    """

    def __init__(self, dim: int, rank: int = 1) -> None:
        super().__init__()
        dim = check_size("LowRankNormal", "dim", dim)
        rank = check_size("LowRankNormal", "rank", rank, most=dim)
        self.mean = nn.Parameter(torch.zeros(dim))
        self.factor = nn.Parameter(0.1 * torch.randn(dim, rank))
        self.log_diagonal = nn.Parameter(torch.zeros(dim))

    def forward(self) -> Distribution:
        """Return the distribution."""
        return _LowRankNormal(self.mean, self.factor, self.log_diagonal.exp())

    def extra_repr(self) -> str:
        return f"{self.factor.shape[0]}, rank={self.factor.shape[1]}"


class _LowRankNormal(LowRankMultivariateNormal):
    """A low-rank normal that casts the value to the dtype of the mean, which its products need."""

    def log_prob(self, value: Tensor) -> Tensor:
        value = check_tensor("LowRankNormal", "value", value)
        score: Tensor = super().log_prob(value.to(self.loc.dtype))
        return score
