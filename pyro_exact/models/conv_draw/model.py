"""Convolutional DRAW: a recurrent VAE that draws an image on a canvas."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from pyro_exact.checks import check_kernel, check_number, check_size, check_sizes
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.models.conv_draw.canvas import BernoulliCanvas, Canvas, LogisticCanvas
from pyro_exact.models.conv_draw.recurrence import Recurrence
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.dense import scaled
from pyro_exact.nn.precision import least_std

MOST_STEPS = 1024
MOST_LAYERS = 8
STRIDES = (2, 4, 8)


class ConvDRAW(GenerativeModel):
    r"""Convolutional DRAW. Use it for images whose latents tell first the whole, then details.

    .. math::
        e_t &= x - \mathrm{mean}(r_{t-1}), \qquad
        & h^e_t &= \mathrm{LSTM}_e([x, e_t], h^d_{t-1}; h^e_{t-1}), \qquad
        & z_t &\sim q(z_t \mid h^e_t) \\
        z_t &\sim p(z_t \mid h^d_{t-1}), \qquad
        & h^d_t &= \mathrm{LSTM}_d(z_t, r_{t-1}; h^d_{t-1}), \qquad
        & r_t &= r_{t-1} + \mathrm{write}(h^d_t)

    The image is drawn in steps. In each step the encoder looks at the image and at the error of the
    canvas :math:`r`, and adds a latent map :math:`z_t`; the decoder reads this map and adds to the
    canvas. The last canvas holds the parameters of all pixels: a logit for bits, otherwise the mean
    and the log-scale of a discretised logistic, so that bits/dim can be compared with other models
    of levels. Prior and posterior are diagonal normals; the prior of a step depends on all earlier
    latents via the state of the decoder.

    With several layers each step has a latent map for every layer, from the top down: the encoder
    of a layer reads the encoder below and the image, the decoder of a layer reads the decoder above
    in the same step, and so does its prior.

    The maps of all states are ``stride`` times smaller than the image.

    Args:
        shape: (C, H, W), with sides that ``stride`` divides.
        levels: Levels of a pixel; two make bits.
        steps: Steps of the recurrence.
        latent_channels: Channels of a latent map.
        width: Channels of all states.
        depth: Layers of the recurrence, 1 or 2 in the paper.
        kernel_size: Odd side of the kernels.
        stride: Ratio of the sides of image and states: 2, 4 or 8.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1.
        - ``z{t}_{l}``: (N, latent_channels, H / stride, W / stride), for steps t = 1, ..., steps
          and layers l = 1, ..., depth.

    Raises:
        ValueError: If the stride does not divide the sides; on values that are no levels, or on
            another shape.

    Reference:
        Gregor, Besse, Jimenez Rezende, Danihelka and Wierstra (2016), Towards Conceptual
        Compression, sections 2.1 to 2.3, where the likelihood is a normal density.

    Example:
        >>> model = ConvDRAW((1, 8, 8), levels=2, steps=3, latent_channels=2, width=4)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 256,
        steps: int = 16,
        latent_channels: int = 12,
        width: int = 64,
        depth: int = 1,
        kernel_size: int = 5,
        stride: int = 4,
    ) -> None:
        super().__init__()
        name = "ConvDRAW"
        self.shape = channels, height, breadth = check_sizes(name, "shape", shape, length=3)
        self.levels = check_size(name, "levels", levels, least=2)
        self.steps = check_size(name, "steps", steps, most=MOST_STEPS)
        latent_channels = check_size(name, "latent_channels", latent_channels)
        width = check_size(name, "width", width)
        depth = check_size(name, "depth", depth, most=MOST_LAYERS)
        kernel_size = check_kernel(name, "kernel_size", kernel_size)
        _check_stride(height, breadth, stride)

        self.pixels: Canvas = BernoulliCanvas(channels)
        if levels > 2:
            self.pixels = LogisticCanvas(channels, levels)

        self.recurrence = Recurrence(
            (channels, height, breadth),
            self.pixels,
            self.steps,
            latent_channels,
            width,
            depth,
            kernel_size,
            stride,
        )

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return torch.Size(self.shape)

    @property
    def latent_names(self) -> list[str]:
        """Names of the latents, in the order in which they are drawn."""
        layers = range(len(self.recurrence.layers), 0, -1)
        return [f"z{step}_{layer}" for step in range(1, self.steps + 1) for layer in layers]

    def check(self, x: Tensor) -> None:
        super().check(x)
        self.pixels.likelihood.check_values(x)

    def generate(self, x: Tensor | None = None) -> Tensor:
        def draw(
            name: str,
            step: int,
            layer: int,
            prior: Normal,
        ) -> Tensor:
            z: Tensor = pyro.sample(name, prior.to_event(3))
            return z

        canvas = self.recurrence.draw(draw)
        sample: Tensor = pyro.sample("x", self.likelihood_of(canvas), obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        def draw(name: str, posterior: Normal) -> Tensor:
            z: Tensor = pyro.sample(name, posterior.to_event(3))
            return z

        self._infer(x, draw)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the first canvas to the marginal distribution of each channel in a batch."""
        super().initialize(x)
        marginal = self.pixels.marginal(x.to(self.recurrence.first_canvas.dtype))
        self.recurrence.first_canvas.copy_(marginal[:, None, None])

    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` images, using ``temperature`` to scale standard deviations of the priors."""
        return self.sample_steps(n, self.steps, temperature)

    @torch.no_grad()
    def sample_steps(
        self,
        n: int,
        steps: int,
        temperature: float | None = None,
    ) -> Tensor:
        """Draw ``n`` images, with the latents of the first steps alone.

        With few steps the images show what the first latents tell. The random numbers of these
        latents are the same for any ``steps``.

        Args:
            n: How many images to draw.
            steps: Steps whose latents are drawn; all later latents are the means of their priors.
            temperature: Factor of the standard deviations; by default 1.
        """
        n = checked_count(self, n)
        steps = self._checked_steps(steps)
        scale = 1.0
        if temperature is not None:
            scale = check_number("ConvDRAW", "temperature", temperature, least=0)

        def draw(
            name: str,
            step: int,
            layer: int,
            prior: Normal,
        ) -> Tensor:
            if step > steps:
                return prior.mean
            std = (scale * prior.scale).clamp_min(least_std(prior.scale.dtype))
            return Normal(prior.loc, std).sample()

        canvas = self.recurrence.draw(draw, (n,))
        x: Tensor = self.likelihood_of(canvas).sample()
        return x

    @torch.no_grad()
    def reconstruct(self, x: Tensor, steps: int | None = None) -> Tensor:
        """Return draws from p(x | z), where the first latents are drawn from q(z | x).

        Args:
            x: (N, C, H, W).
            steps: Steps whose latents come from the guide; the latents of later steps are the means
                of their priors, as if they were not transmitted. By default all steps.
        """
        self.check(x)
        steps = self._checked_steps(self.steps if steps is None else steps)
        kept: dict[str, Tensor] = {}

        def draw(name: str, posterior: Normal) -> Tensor:
            kept[name] = posterior.sample()
            return kept[name]

        self._infer(x, draw)

        def replay(
            name: str,
            step: int,
            layer: int,
            prior: Normal,
        ) -> Tensor:
            return prior.mean if step > steps else kept[name]

        canvas = self.recurrence.draw(replay, x.shape[:1])
        drawn: Tensor = self.likelihood_of(canvas).sample()
        return drawn

    def likelihood_of(self, canvas: Tensor) -> IndependentSites:
        """Return p(x | z), given the last canvas."""
        return self.pixels.distribution(canvas)

    def _infer(self, x: Tensor, draw: Callable[[str, Normal], Tensor]) -> None:
        images = scaled(x, self.shape, self.levels, self.recurrence.first_canvas)
        self.recurrence.infer(images, draw)

    def _checked_steps(self, steps: int) -> int:
        return check_size("ConvDRAW", "steps", steps, least=0, most=self.steps)


def _check_stride(
    height: int,
    breadth: int,
    stride: int,
) -> None:
    """Raise ValueError if the stride does not fit."""
    if stride not in STRIDES:
        raise ValueError(
            f"ConvDRAW expects a stride of 2, 4 or 8; got {stride!r}. Choose a divisor of the "
            "sides of the images."
        )
    if height % stride or breadth % stride:
        raise ValueError(
            f"ConvDRAW expects sides that are multiples of the stride {stride}; got "
            f"{(height, breadth)}. Choose another stride, or pad the images."
        )
