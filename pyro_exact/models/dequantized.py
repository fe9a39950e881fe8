"""A continuous flow as a model of integer images, with dequantisation as the guide."""

from __future__ import annotations

import pyro
import torch
from pyro.distributions import Delta, TorchDistribution
from torch import Tensor, nn

from pyro_exact.checks import check_event, check_floating, check_numbers, check_size, check_tensor
from pyro_exact.data.check import check_images
from pyro_exact.distributions.dequantizer import FlowDequantizer, UniformDequantizer
from pyro_exact.distributions.flow import Flow
from pyro_exact.models.classes import one_hot
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.models.noise_map import NoiseMap
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of


class Dequantized(GenerativeModel):
    r"""A flow as a model of integer images x = floor(v). Use it to train a flow of images.

    .. math::
        P(x) = \int_{[0,1)^D} p(x + u)\, du \;\ge\; \exp \mathbb{E}_{q(v \mid x)} \log
        \frac{p(v)}{q(v \mid x)}

    The guide draws v in [x, x + 1) using dequantisation noise, so `Trace_ELBO` is the usual bound,
    and ``RenyiELBO(alpha=0)`` the importance-weighted bound. The unit of v is a pixel level:
    bits/dim are -log P(x) / (D log 2), without any correction.

    If the context of the flow is a one-hot class, the model is class-conditional: use `condition`
    with the classes of a batch.

    Args:
        flow: A `Flow` over images (C, H, W) in pixel levels.
        levels: Levels; the values of an element are 0, ..., levels - 1.
        noise: Optional module that maps x to the distribution q(v | x) on [x, x + 1), for example
            `FlowDequantizer`. The default is uniform noise.

    Shape:
        - x: (N, C, H, W), integers in {0, ..., levels - 1}, of any dtype.

    Raises:
        TypeError: If ``flow`` is not a `Flow`, or ``noise`` not a module.
        ValueError: If there are fewer than two levels.

    Reference:
        Uria, Murray and Larochelle (2013), RNADE, section 4.1; Theis, van den Oord and Bethge
        (2016), A note on the evaluation of generative models, section 3.1; Ho et al. (2019),
        Flow++, equation 5.

    Example:
        >>> from pyro_exact.distributions import StandardNormal
        >>> from pyro_exact.flows import glow
        >>> bijection = glow((1, 8, 8), levels=17, scales=2, steps=2, width=8)
        >>> flow = Flow(StandardNormal(64), bijection.inv)
        >>> model = Dequantized(flow, levels=17)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """

    def __init__(self, flow: Flow, levels: int = 256, noise: nn.Module | None = None) -> None:
        super().__init__()
        if not isinstance(flow, Flow):
            raise TypeError(
                f"Dequantized expects a Flow over images; got {type(flow).__name__}. Build it as "
                "Flow(base, bijection)."
            )
        if noise is not None and not isinstance(noise, nn.Module):
            raise TypeError(
                "Dequantized expects noise as a module such as FlowDequantizer; got "
                f"{type(noise).__name__}. Leave it out for uniform noise."
            )

        self.flow, self.noise = flow, noise
        self.levels = check_size("Dequantized", "levels", levels, least=2)

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return self.flow.event_shape

    @property
    def classes(self) -> int | None:
        """Classes of a class-conditional model; `None` for any other model."""
        context_shape = self.flow.bijection.context_shape
        return None if context_shape is None else context_shape[0]

    def condition(self, label: Tensor) -> GenerativeModel:
        if self.classes is None:
            return super().condition(label)

        context = one_hot(label, self.classes, "Dequantized")
        flow = Flow(self.flow.base, self.flow.bijection.condition(context))
        return Dequantized(flow, self.levels, self.noise)

    def check(self, x: Tensor) -> None:
        check_numbers("Dequantized", "x", check_tensor("Dequantized", "x", x))

        channels, height, width = self.event_shape
        check_images(x, (channels, height, width), self.levels)

        if x.dim() != 4:
            raise ValueError(
                f"Dequantized expects a batch of shape (N, C, H, W); got {tuple(x.shape)}. Add the "
                "batch dimension, or flatten it."
            )

    def generate(self, x: Tensor | None = None) -> Tensor:
        v = pyro.sample("v", self.flow())

        observed = None if x is None else x.to(v.dtype)
        pixels: Tensor = pyro.sample("x", Delta(v.floor(), event_dim=3), obs=observed)
        return pixels

    def infer(self, x: Tensor) -> None:
        pyro.sample("v", self.noise_of(x))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        self.check(x)
        if isinstance(self.noise, FlowDequantizer):
            self.noise.initialize(x)

        initialize_flow(self.flow, self.noise_of(x).sample(), "Dequantized")

    def noise_of(self, x: Tensor) -> TorchDistribution:
        """Return q(v | x), the distribution of the guide on [x, x + 1)."""
        # Half precision has no values between the larger levels, so use float32 at least.
        x = x.to(torch.promote_types(weight_of(self).dtype, torch.float32))

        noise: TorchDistribution = UniformDequantizer(x) if self.noise is None else self.noise(x)
        return noise

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` images, int64 in {0, ..., levels - 1}, using ``temperature`` as in `Flow`.

        If the model is conditioned on classes, draw ``n`` of each, of shape (n, classes, C, H, W).
        """
        n = checked_count(self, n)
        return self._pixels(self.flow(temperature).sample((n,)), "sample")

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Return the base noise of a draw of v for each image, (N, dimension of the base)."""
        self.check(x)

        v = self.noise_of(x).sample()
        z: Tensor = self.flow.bijection.inv(v)
        return check_output("Dequantized.encode", "the noise", z, self)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Return the images of base noise, of dtype int64; this inverts `encode`."""
        z = check_floating("Dequantized.decode", "z", z)
        check_event("Dequantized.decode", "z", z, self.flow.noise().event_shape)

        return self._pixels(self.flow.bijection(cast(z, weight_of(self))), "decode")

    @torch.no_grad()
    def reconstruct_with_error(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images after the way to noise and back, and the error of the continuous v."""
        self.check(x)
        v = self.noise_of(x).sample()

        # A copy of the noise: for the noise itself, the flow would return the cached image.
        z = self.flow.bijection.inv(v).clone()
        error = (self.flow.bijection(z) - v).abs()
        return self.decode(z), error

    def noise_map(self, x: Tensor, condition: Tensor | None = None) -> NoiseMap | None:
        self.check(x)
        context = condition
        if condition is not None and self.classes is not None:
            context = one_hot(condition, self.classes, "Dequantized")

        with torch.no_grad():
            v = self.noise_of(x).sample()
        return NoiseMap(self.flow.bijection.inv, v, context)

    def _pixels(self, v: Tensor, method: str) -> Tensor:
        """Return the images of continuous v, or raise an error if v is not finite."""
        # NaN would become an ordinary integer.
        v = check_output(f"Dequantized.{method}", "the image", v, self)
        return v.floor().clamp(0, self.levels - 1).long()
