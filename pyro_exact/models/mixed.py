"""A flow as a model of rows with real, discrete and periodic elements."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_exact.checks import check_batch
from pyro_exact.distributions.dequantizer import UniformDequantizer
from pyro_exact.distributions.flow import Flow
from pyro_exact.distributions.flow_with_angles import FlowWithAngles
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.models.noise_map import NoiseMap
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of


class Mixed(GenerativeModel):
    r"""A flow as a model of rows x of real, discrete and periodic elements. Use it for a table.

    .. math::
        p(r, d) = \int_{[0,1)^k} p(r, d + u)\, du \;\ge\; \exp \mathbb{E}_u \log p(r, d + u)

    Here r are the real and d the k discrete elements. The guide adds uniform noise u to the
    discrete elements, so `Trace_ELBO` is a bound; without discrete elements the likelihood is
    exact. The score is a probability of the discrete elements, and a density of the remaining
    elements in their units.

    Args:
        flow: The distribution of v: a `Flow`, or a `FlowWithAngles` for periodic elements.
        discrete: True at the discrete elements of a row, integers n that are the cells [n, n + 1).

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

    def __init__(self, flow: Flow | FlowWithAngles, discrete: Sequence[bool]) -> None:
        super().__init__()
        self.flow = flow
        self.register_buffer("discrete", torch.tensor(list(discrete)), persistent=False)
        self.has_discrete = any(discrete)

    @property
    def event_shape(self) -> torch.Size:
        """Shape of a row."""
        return self.discrete.shape

    @property
    def exact(self) -> bool:
        return not self.has_discrete

    def generate(self, x: Tensor | None = None) -> Tensor:
        observed = None if x is None else self._cast(x)
        if not self.has_discrete:
            real: Tensor = pyro.sample("x", self.flow(), obs=observed)
            return real

        v = pyro.sample("v", self.flow())
        row: Tensor = pyro.sample("x", Delta(self._row(v), event_dim=1), obs=observed)
        return row

    def infer(self, x: Tensor) -> None:
        if self.has_discrete:
            pyro.sample("v", self.noise_of(x))

    def check(self, x: Tensor) -> None:
        super().check(check_batch("Mixed", "x", x, self.event_shape))
        fractional = self.discrete & (x % 1 != 0).any(0)
        if bool(fractional.any()):
            place = int(fractional.nonzero()[0])
            raise ValueError(
                "Mixed expects integers in the discrete elements; got other values in element "
                f"{place}. Compare the order of the columns with that of the training data."
            )

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.check(x)
        v = self.noise_of(x).sample()
        if isinstance(self.flow, Flow):
            initialize_flow(self.flow, v, "Mixed")
            return

        angles, rest = self.flow.split(v)
        initialize_flow(self.flow.angles, angles, "Mixed")
        context = self.flow.features(angles)
        given = Flow(self.flow.flow.base, self.flow.flow.bijection.condition(context))
        initialize_flow(given, rest, "Mixed")

    def noise_of(self, x: Tensor) -> UniformDequantizer:
        """Return the distribution of the guide: uniform in the cells of the discrete elements."""
        return UniformDequantizer(self._cast(x), event_dim=1, discrete=self.discrete)

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` rows.

        Args:
            n: How many rows to draw.
            temperature: As in `Flow`; periodic elements do not depend on it.

        Raises:
            ValueError: If the weights or the rows are not finite.
        """
        v = self.flow(temperature).sample((checked_count(self, n),))
        return check_output("Mixed.sample", "the rows", self._row(v), self)

    def noise_map(self, x: Tensor, condition: Tensor | None = None) -> NoiseMap | None:
        self.check(x)
        with torch.no_grad():
            v = self.noise_of(x).sample()
        if isinstance(self.flow, Flow):
            return NoiseMap(self.flow.bijection.inv, v, None)

        angles, rest = self.flow.split(v)
        return NoiseMap(self.flow.flow.bijection.inv, rest, self.flow.features(angles))

    def _row(self, v: Tensor) -> Tensor:
        """Return the row of a draw: the cells of discrete elements become integers."""
        return torch.where(self.discrete, v.floor(), v)

    def _cast(self, x: Tensor) -> Tensor:
        """Return the rows in the precision of the weights."""
        return cast(x if x.is_floating_point() else x.float(), weight_of(self))
