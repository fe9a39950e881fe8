"""The IAF-VAE: a ladder of latent maps, whose guide goes up from the image and then down along with the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_exact.checks import LARGEST_COUNT, check_number, check_size
from pyro_exact.distributions.independent_sites import IndependentSites, check_values
from pyro_exact.distributions.inverse_autoregressive import InverseAutoregressive
from pyro_exact.distributions.normal import exponential_normal
from pyro_exact.flows.arguments import image_shape
from pyro_exact.likelihoods.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyro_exact.models.generative_model import GenerativeModel, checked_count
from pyro_exact.nn.dense import scaled
from pyro_exact.nn.map_convolution import AutoregressiveMap, CentredConv2d, DoublingConv2d
from pyro_exact.nn.precision import least_std
from pyro_exact.nn.rescaled import initialize_once
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.elu import elu
from pyro_exact.transforms import memory
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.memory import State, states

LOGISTIC = 0.5 * math.log(
    3 / math.pi**2
)  # of a logistic, the log of its scale less that of its standard deviation


class BottomUp(NamedTuple):
    """What the way up says of the latents of a layer: means and log-scales, and a context of the flow."""

    posterior: Tensor
    context: Tensor


class TopDown(NamedTuple):
    """What the way down says of the latents of a layer, and the features that go past them."""

    h: Tensor
    prior: Tensor
    posterior: Tensor
    context: Tensor
    features: Tensor


class StochasticLayer(nn.Module):
    r"""Latent maps between two residual ways, one up from the image and one down to it.

    .. math::
        p(z \mid h) = N(\mu, \sigma^2), \qquad q(z \mid h, x) = N(\hat\mu + \tilde\mu, \hat\sigma^2
        \tilde\sigma^2) \text{ and an IAF step}

    where :math:`\mu, \sigma, \hat\mu, \hat\sigma` are functions of the way down, :math:`\tilde\mu,
    \tilde\sigma` of the way up, and the context of the step is the sum of one of each.

    Args:
        latents: Number of latent maps.
        width: Channels of both ways.
        stride: 2 for a layer whose maps are half as large as those below it.
        flow: Whether the posterior has the step.
        top: Whether there is no layer above, so that the way up ends here.

    Shape:
        - h below: (\*batch, stride H, stride W, width); h above: (\*batch, H, W, width); z:
          (\*batch, latents, H, W).
    """

    def __init__(
        self, latents: int, width: int, stride: int = 1, flow: bool = True, top: bool = False
    ) -> None:
        super().__init__()
        self.stride = stride
        second = CentredConv2d if stride == 1 else DoublingConv2d
        self.up_posterior = CentredConv2d(width, 2 * latents, stride=stride, gain=0.1)
        self.up_first = None if top else CentredConv2d(width, width, stride=stride)
        self.up_second = None if top else CentredConv2d(width, width, gain=0.1)
        self.down_statistics = CentredConv2d(width, 4 * latents, gain=0.1)
        self.down_first = CentredConv2d(width, width)
        self.down_second = second(latents + width, width, gain=0.1)
        self.up_context = CentredConv2d(width, width, stride=stride) if flow else nn.Identity()
        self.down_context = CentredConv2d(width, width) if flow else nn.Identity()
        self.formula = Affine(shift_first=True)
        self.flow = AutoregressiveMap(latents, self.formula.num_params, width) if flow else None

    def up(self, h: Tensor) -> tuple[Tensor, BottomUp]:
        """Return the way up above the layer, if it goes on, and what it says here."""
        active = elu(h)
        if self.up_first is not None and self.up_second is not None:
            h = h[..., :: self.stride, :: self.stride, :] + self.up_second(
                elu(self.up_first(active))
            )
        return h, BottomUp(self.up_posterior(active), self.up_context(active))

    def look(self, h: Tensor) -> TopDown:
        """Return what the way down says here."""
        active = elu(h)
        prior, posterior = self.down_statistics(active).chunk(2, dim=-1)
        return TopDown(h, prior, posterior, self.down_context(active), self.down_first(active))

    def down(self, seen: TopDown, z: Tensor) -> Tensor:
        """Return the way down below the layer."""
        latents = z.movedim(-3, -1)
        batch = torch.broadcast_shapes(latents.shape[:-1], seen.features.shape[:-1])
        both = torch.cat([part.expand(*batch, -1) for part in (latents, seen.features)], dim=-1)
        h = seen.h
        if self.stride > 1:
            h = h.repeat_interleave(self.stride, dim=-3).repeat_interleave(self.stride, dim=-2)
        below: Tensor = h + self.down_second(elu(both))
        return below

    def prior(self, seen: TopDown, temperature: float = 1.0) -> TorchDistribution:
        """Return p(z | h); the temperature scales its width."""
        normal = _normal(seen.prior)
        least = least_std(normal.scale.dtype)  # a normal of no width has no density
        return Normal(normal.loc, (temperature * normal.scale).clamp_min(least)).to_event(3)

    def posterior(self, seen: TopDown, said: BottomUp) -> TorchDistribution:
        """Return q(z | h, x)."""
        normal = _normal(seen.posterior + said.posterior)
        if self.flow is None:
            return normal.to_event(3)
        conditioner = partial(self.flow, context=seen.context + said.context)
        return InverseAutoregressive(normal.loc, normal.scale, conditioner, self.formula).to_event(
            3
        )


class Memory:
    """What was seen below latents on the last way down, remembered by them for as long as they live.

    The model goes down the way that its guide went: it is given the same tensors, and need not
    compute it again. A record is not found once anything has changed that it depends on; see
    `pyro_exact.transforms.memory.Memory`.
    """

    def __init__(self) -> None:
        self._records = WeakTensorKeyDictionary()

    def find(self, z: Tensor, above: Tensor | None, weights: State) -> TopDown | None:
        """Return what was seen below latents z of one layer, if those above them were the same too."""
        if torch.is_grad_enabled() and z.is_leaf:
            return None  # it may be given again once a backward pass has freed what was computed from it
        known_above, stamp, seen = self._records.get(z, (None, None, None))
        return seen if known_above is above and stamp == self._stamp(z, weights) else None

    def write(self, z: Tensor, above: Tensor | None, weights: State, seen: TopDown) -> None:
        """Remember what was seen below z; with the latents of the top a new way begins."""
        if above is None:
            self._records = WeakTensorKeyDictionary()
        self._records[z] = above, self._stamp(z, weights), seen

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()

    def _stamp(self, z: Tensor, weights: State) -> tuple[Any, ...]:
        return memory.Memory.steps, torch.is_grad_enabled(), weights, states((z,))


class ResNetVAE(GenerativeModel):
    r"""A VAE of images with layers of latent maps, from :math:`z_1` next to the image to :math:`z_L` at the top.

    .. math::
        p(x, z) = p(x \mid z) \prod_l p(z_l \mid z_{>l}), \qquad q(z \mid x) = \prod_l q(z_l \mid
        z_{>l}, x)

    Inference is bidirectional: the guide goes up from the image through all layers, and then down
    along the way that the model goes, with the same networks; its posteriors combine what both say.
    Each pixel is a logistic cut at the levels, with a mean from the network and a learned scale for
    each channel.

    Args:
        shape: (C, H, W).
        levels: Number of pixel levels.
        layers: From the image to the top, which is the last one; a first convolution has halved the
            image before them.
        width: Channels of their two ways.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1.
        - z_l: (N, latents, H / 2^s, W / 2^s) with s - 1 halvings among the layers up to l.

    Raises:
        ValueError: If the halvings do not divide the sides; on values that are no levels, or on
            another shape.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 5.2 and appendix C, and official code
        (`IAFLayer`, `CVAE1`). There one scale serves all channels of the image.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        layers: Sequence[StochasticLayer],
        width: int,
    ) -> None:
        super().__init__()
        halvings = 2
        for layer in layers:
            halvings *= layer.stride
        levels = check_size("ResNetVAE", "levels", levels, least=2)
        channels, height, side = image_shape("ResNetVAE", shape, levels)
        if not layers or height % halvings or side % halvings:
            raise ValueError(
                f"ResNetVAE expects a layer or more, and height and width that {halvings} divides; got {len(layers)} "
                f"layers and shape {tuple(shape)}. Pad the images, or halve them less often."
            )
        self.shape, self.levels, self.grid = (
            tuple(shape),
            levels,
            (height // halvings, side // halvings),
        )
        self.likelihood = DiscretizedLogisticMixture(channels, levels, components=1)
        self.first = CentredConv2d(channels, width, 5, stride=2)
        self.layers = nn.ModuleList(layers)
        self.top = nn.Parameter(torch.zeros(width))
        self.last = DoublingConv2d(width, channels, 5, gain=0.1)
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self._memory = Memory()

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return torch.Size(self.shape)

    def check(self, x: Tensor) -> None:
        super().check(x)
        check_values(x, self.likelihood)

    def generate(self, x: Tensor | None = None) -> Tensor:
        means = self.means_of(
            *self.top_down(lambda name, layer, seen: pyro.sample(name, layer.prior(seen)))
        )
        sample: Tensor = pyro.sample("x", self.likelihood_of(means), obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        said = self.bottom_up(x)
        self.top_down(
            lambda name, layer, seen: pyro.sample(name, layer.posterior(seen, said[name]))
        )

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        means = initialize_once(self, x, kind=WeightNormed)
        with torch.no_grad():
            error = self._pixels(x) - means
            self.log_scale.copy_(error.flatten(0, -2).std(0).log() + LOGISTIC)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of the pixels for one draw of the latents from q(z | x)."""
        said = self.bottom_up(x)
        drawn = self.top_down(
            lambda name, layer, seen: layer.posterior(seen, said[name]).rsample(), x.shape[:1]
        )
        return self.means_of(*drawn)

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` images; ``temperature`` scales the width of every p(z_l | z_{>l})."""
        n = checked_count(self, n)
        scale = (
            1.0
            if temperature is None
            else check_number("ResNetVAE", "temperature", temperature, least=0)
        )
        drawn = self.top_down(lambda name, layer, seen: layer.prior(seen, scale).sample(), (n,))
        x: Tensor = self.likelihood_of(self.means_of(*drawn)).sample()
        return x

    def bottom_up(self, x: Tensor) -> dict[str, BottomUp]:
        """Return what the way up says of each layer."""
        h, said = self.first(self._pixels(x)), {}
        for name, layer in self._named():
            h, said[name] = layer.up(h)
        return said

    def top_down(
        self, draw: Callable[[str, StochasticLayer, TopDown], Tensor], batch: Sequence[int] = ()
    ) -> tuple[TopDown, Tensor]:
        """Go down the layers with latents that ``draw`` gives; return what the lowest one sees, and its latents."""
        layers, above, weights = self._named()[::-1], None, states(tuple(self.parameters()))
        seen = layers[0][1].look(self.top.expand(*batch, *self.grid, -1))
        for (name, layer), (_, lower) in pairwise(layers):
            z = draw(name, layer, seen)
            known = self._memory.find(z, above, weights)
            if known is None:
                known = lower.look(layer.down(seen, z))
                self._memory.write(z, above, weights, known)
            seen, above = known, z
        return seen, draw(*layers[-1], seen)

    def means_of(self, seen: TopDown, z: Tensor) -> Tensor:
        """Return the means of the pixels, (*batch, H, W, C), from what `top_down` returns."""
        _, layer = self._named()[0]
        h = elu(layer.down(seen, z))
        with torch.autocast(
            h.device.type, enabled=False
        ):  # half a level is more than bf16 can tell apart
            means: Tensor = self.last(h.to(self.top.dtype))
        return means

    def likelihood_of(self, means: Tensor) -> IndependentSites:
        """Return p(x | z)."""
        logit, slopes = (
            means.new_zeros(*means.shape[:-1], self.likelihood.sizes[i]) for i in (0, 3)
        )
        theta = torch.cat((logit, means, self.log_scale.expand_as(means), slopes), dim=-1)
        return IndependentSites(theta, self.likelihood, grid_dim=2)

    def _pixels(self, x: Tensor) -> Tensor:
        return scaled(x, self.shape, self.levels).to(self.top.dtype).movedim(-3, -1)

    def _named(self) -> list[tuple[str, StochasticLayer]]:
        layers: Any = self.layers
        return [(f"z{i}", layer) for i, layer in enumerate(layers, start=1)]


def iaf_vae(
    shape: tuple[int, int, int],
    levels: int,
    latents: int = 32,
    width: int = 160,
    depth: int = 1,
    blocks: int = 20,
    flow: bool = True,
) -> ResNetVAE:
    r"""Build a `ResNetVAE` whose posteriors have an inverse autoregressive step.

    Args:
        shape: (C, H, W), with sides that 2^depth divides.
        levels: Number of pixel levels.
        latents: Number of maps of each layer.
        width: Channels of all hidden layers, at least as many.
        depth: Number of sizes of the maps, each half of the one before; the first is half of the
            image.
        blocks: Number of layers of each size.
        flow: Whether there is the step; without it the posteriors are normals.

    Raises:
        ValueError: If the sides do not fit, or a number is out of range.

    Reference:
        As `ResNetVAE`; the defaults are the model of 3.11 bits/dim on CIFAR-10.

    Example:
        >>> model = iaf_vae((3, 8, 8), levels=256, latents=2, width=8, depth=2, blocks=1)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """
    latents, depth = (
        check_size("iaf_vae", "latents", latents),
        check_size("iaf_vae", "depth", depth, most=24),
    )
    width = check_size("iaf_vae", "width", width, least=latents)
    blocks = check_size("iaf_vae", "blocks", blocks, most=LARGEST_COUNT)
    strides = [2 if i and not j else 1 for i in range(depth) for j in range(blocks)]
    *below, top = [partial(StochasticLayer, latents, width, stride, flow) for stride in strides]
    return ResNetVAE(shape, levels, [*(layer() for layer in below), top(top=True)], width)


def _normal(statistics: Tensor) -> Normal:
    """Return normals of the numbers of maps, from their means and log-scales in the channels."""
    return exponential_normal(*statistics.movedim(-1, -3).chunk(2, dim=-3))
