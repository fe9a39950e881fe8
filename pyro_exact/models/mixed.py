"""A flow as a model of rows with real, discrete and periodic elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import Delta, TorchDistribution
from torch import Tensor

from pyro_exact.checks import check_batch
from pyro_exact.distributions.dequantizer import UniformDequantizer
from pyro_exact.distributions.flow import Flow
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.models.noise_map import NoiseMap
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of


class Mixed(GenerativeModel):
    r"""A flow as a model of rows x of real, discrete and periodic elements. Use it for a table.

    .. math::
        p(x) = p(\theta)\, \int_{[0,1)^k} p(r, d + u \mid \cos\theta, \sin\theta)\, du \;\ge\;
        p(\theta) \exp \mathbb{E}_u \log p(r, d + u \mid \cos\theta, \sin\theta)

    Here r are the real, d the discrete and :math:`\theta` the periodic elements. The guide adds
    uniform noise u to the discrete elements, so `Trace_ELBO` is a bound; without discrete elements
    the likelihood is exact. The score is a probability of the discrete elements, and a density of
    the remaining elements in their units.

    Args:
        flow: A `Flow` of the elements that are not periodic, from noise to v. With periodic
            elements it must take a context of twice their number.
        discrete: True at the discrete elements of a row, integers n that are the cells [n, n + 1).
        periodic: True at the periodic elements of a row.
        angles: A `Flow` of the periodic elements; required when there are any.
        period: Length of the period of each periodic element.

    Raises:
        ValueError: If there are periodic elements and no ``angles`` or ``period``, or an element is
            both.

    Shape:
        - x: (N, D).

    Example:
        >>> from pyro_exact.distributions import StandardNormal
        >>> from pyro_exact.flows import maf
        >>> model = Mixed(Flow(StandardNormal(2), maf(2).inv), discrete=[False, True])
        >>> model.log_weight(torch.tensor([[0.5, 3.0]])).shape
        torch.Size([1])
    """

    discrete: Tensor
    periodic: Tensor
    period: Tensor

    def __init__(
        self,
        flow: Flow,
        discrete: Sequence[bool],
        periodic: Sequence[bool] | None = None,
        angles: Flow | None = None,
        period: Sequence[float] = (),
    ) -> None:
        super().__init__()
        periodic = [False] * len(discrete) if periodic is None else periodic
        if any(d and p for d, p in zip(discrete, periodic, strict=True)):
            raise ValueError(
                "Mixed expects a single kind for each element; got an element of "
                "two kinds. Choose a kind."
            )
        if len(period) != sum(periodic) or (angles is not None) != any(periodic):
            raise ValueError(
                f"Mixed expects angles, and the period of each of {sum(periodic)} periodic "
                f"elements; got {len(period)} periods. Pass both, or neither."
            )

        self.flow, self.angles = flow, angles
        self.register_buffer("discrete", torch.tensor(discrete), persistent=False)
        self.register_buffer("periodic", torch.tensor(periodic), persistent=False)
        self.register_buffer("period", torch.tensor(period), persistent=False)
        self.has_discrete = any(discrete)

    @property
    def event_shape(self) -> torch.Size:
        """Shape of a row."""
        return self.discrete.shape

    @property
    def exact(self) -> bool:
        return not self.has_discrete

    def generate(self, x: Tensor | None = None) -> Tensor:
        angles, rest = (None, None) if x is None else self._parts(x)
        if self.angles is not None:
            angles = pyro.sample("angles", self.angles(), obs=angles)
        rest = self._generate_rest(self._flow_given(angles), rest)
        return self._joined(angles, rest)

    def _generate_rest(self, flow: TorchDistribution, rest: Tensor | None) -> Tensor:
        """Make the sample statements of the elements that are not periodic."""
        if not self.has_discrete:
            real: Tensor = pyro.sample("x", flow, obs=rest)
            return real
        v = pyro.sample("v", flow)
        x: Tensor = pyro.sample("x", Delta(self._rows(v), event_dim=1), obs=rest)
        return x

    def infer(self, x: Tensor) -> None:
        if self.has_discrete:
            pyro.sample("v", self.noise_of(self._parts(x)[1]))

    def check(self, x: Tensor) -> None:
        super().check(check_batch("Mixed", "x", x, self.event_shape))
        fractional = (x[:, self.discrete] % 1 != 0).any(0)
        if bool(fractional.any()):
            place = int(self.discrete.nonzero()[fractional][0])
            raise ValueError(
                "Mixed expects integers in the discrete elements; got other values in element "
                f"{place}. Compare the order of the columns with that of the training data."
            )

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.check(x)
        angles, rest = self._parts(x)
        rest = self.noise_of(rest).sample() if self.has_discrete else rest

        if self.angles is not None and angles is not None:
            initialize_flow(self.angles, angles, "Mixed")
            flow = Flow(self.flow.base, self.flow.bijection.condition(self._features(angles)))
            initialize_flow(flow, rest, "Mixed")
            return
        initialize_flow(self.flow, rest, "Mixed")

    def noise_of(self, rest: Tensor) -> UniformDequantizer:
        """Return the distribution of the guide: uniform in the cells of the discrete elements."""
        return UniformDequantizer(rest, event_dim=1, discrete=self.discrete[~self.periodic])

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` rows; the temperature scales the noise of the elements that are not periodic.

        Args:
            n: How many rows to draw.
            temperature: As in `Flow`.

        Raises:
            ValueError: If the weights or the rows are not finite.
        """
        n = checked_count(self, n)
        angles = None if self.angles is None else self.angles().sample((n,))
        flow = self._flow_given(angles, temperature)
        v = flow.sample((n,)) if angles is None else flow.sample()
        return check_output("Mixed.sample", "the rows", self._joined(angles, self._rows(v)), self)

    def noise_map(self, x: Tensor, condition: Tensor | None = None) -> NoiseMap | None:
        self.check(x)
        angles, rest = self._parts(x)
        with torch.no_grad():
            v = self.noise_of(rest).sample() if self.has_discrete else rest
        context = None if angles is None else self._features(angles)
        return NoiseMap(self.flow.bijection.inv, v, context)

    def _flow_given(
        self, angles: Tensor | None, temperature: float | None = None
    ) -> TorchDistribution:
        if angles is None:
            return self.flow(temperature)
        return self.flow.condition(self._features(angles), temperature)

    def _features(self, angles: Tensor) -> Tensor:
        """Return the cosine and the sine of the periodic elements."""
        turn = 2 * math.pi * angles / self.period
        return torch.cat([turn.cos(), turn.sin()], dim=-1)

    def _rows(self, v: Tensor) -> Tensor:
        """Return the elements of a draw: the cells of discrete elements become integers."""
        return torch.where(self.discrete[~self.periodic], v.floor(), v)

    def _parts(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the periodic elements and the rest, in the precision of the weights."""
        x = cast(x if x.is_floating_point() else x.float(), weight_of(self))
        if self.angles is None:
            return None, x
        return x[..., self.periodic], x[..., ~self.periodic]

    def _joined(self, angles: Tensor | None, rest: Tensor) -> Tensor:
        if angles is None:
            return rest
        x = rest.new_empty(*rest.shape[:-1], len(self.periodic))
        x[..., self.periodic] = angles
        x[..., ~self.periodic] = rest
        return x
