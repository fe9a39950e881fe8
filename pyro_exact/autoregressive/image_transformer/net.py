"""Image Transformer: local self-attention over the elements, or the pixels, of an image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.image_transformer.embedding import LevelEmbedding, PixelEmbedding
from pyro_exact.autoregressive.image_transformer.site_order import site_order
from pyro_exact.autoregressive.pixel_net import of_levels
from pyro_exact.checks import check_elements, check_size, check_sizes
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.step_state import StepState
from pyro_exact.nn.transformer import CausalTransformer, TransformerState
from pyro_exact.nn.transformer.block import Activation, Norm
from pyro_exact.nn.transformer.positions import Kind


class ImageTransformerCache(NamedTuple):
    """Tensors used by the steps of an `ImageTransformer`.

    Attributes:
        batch_shape: Batch shape of the images.
        transformer: The state of the transformer.
    """

    batch_shape: tuple[int, ...]
    transformer: TransformerState


class ImageTransformer(CausalNet):
    r"""A causal transformer over the sites of an image, with local attention.

    .. math:: \theta_{o_k} = W\, \mathrm{transformer}(0, e(x_{o_1}), \dots, e(x_{o_{k-1}}))_k

    By default a site is an element of a pixel, with an embedding :math:`e` for each level of each
    colour and a logit for each level. When the likelihood is that of a pixel with all channels, for
    example a mixture of discretised logistics, a site is a pixel, with a linear embedding.

    In every layer a site sees the sites of the same block and of the block before. By default
    the sites come pixel by pixel and a block is a sequence of ``local`` sites in this order. With
    ``block_shape`` a block is a rectangle of pixels, and the rectangles come row by row.

    The steps keep the keys and values of two blocks, so that a sample costs the arithmetic of a
    single pass.

    Args:
        shape: (C, H, W).
        levels: Levels of a pixel; two make bits.
        width: Channels of the transformer.
        depth: Blocks of the transformer, used one after another.
        heads: Attention heads.
        head_dim: Channels of each head, by default width / heads.
        dense_width: Channels within the networks of the positions, by default 4 width.
        local: Sites of a block of attention, at most the sites of the image; `None` for dense
            attention, or for the size of ``block_shape``.
        block_shape: Height and width of a rectangle of pixels, which divide the image.
        norm: Type of normalisation: ``"post"`` as in the paper, or ``"pre"``, with another norm
            before the last layer.
        activation: Type of activation: ``"relu"`` as in the paper, or ``"gelu"``.
        positions: Type of embedding used for rows and columns: ``"sinusoidal"`` or ``"learned"``.
        dropout: Share of elements that are dropped in training.
        context_dim: Size of a context vector, for example a one-hot class or a latent vector, which
            enters every block.
        likelihood: Distribution of a site, an element or a whole pixel, as an object or by name;
            the default is Bernoulli for two levels, otherwise categorical.

    Shape:
        - x: (\*batch, C, H, W), integers 0, ..., levels - 1; context: (\*batch, context_dim).
        - theta: (\*batch, C, H, W, likelihood.num_params), or (\*batch, H, W,
          likelihood.num_params).

    Raises:
        ValueError: If the shape is not that of images, the heads do not divide the width, a block
            is larger than the image, the rectangles do not divide the image, or the likelihood has
            other levels.

    Reference:
        Parmar, Vaswani, Uszkoreit, Kaiser, Shazeer, Ku and Tran (2018), Image Transformer, and
        official code (`imagetransformer_cifar10_base` and `imagetransformer_cifar10_base_dmol`).

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive, ImageTransformer
        >>> net = ImageTransformer((1, 8, 8), 2, width=8, depth=1, heads=2, local=16)
        >>> d = Autoregressive(net.eval())
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    order: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        levels: int = 256,
        width: int = 512,
        depth: int = 12,
        heads: int = 4,
        head_dim: int | None = None,
        dense_width: int | None = None,
        local: int | None = None,
        block_shape: Sequence[int] | None = None,
        norm: Norm = "post",
        activation: Activation = "relu",
        positions: Kind = "sinusoidal",
        dropout: float = 0.0,
        context_dim: int | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        name = type(self).__name__
        channels, height, image_width = check_sizes(name, "shape", shape, length=3)
        levels = check_size(name, "levels", levels, least=2)
        width = check_size(name, "width", width)
        check_elements(name, width, max(width, channels * levels))
        if context_dim is not None:
            context_dim = check_size(name, "context_dim", context_dim)

        likelihood = _likelihood(channels, levels, likelihood)
        super().__init__((channels, height, image_width), likelihood, context_dim)
        self.levels = levels
        self.colours = channels // prod(likelihood.site_shape)  # colours that come in sequence

        rectangle = _rectangle(height, image_width, block_shape)
        order = site_order(self.colours, height, image_width, rectangle)
        self.register_buffer("order", order, persistent=False)
        if local is None and block_shape is not None:
            local = prod(rectangle) * self.colours

        embedding = PixelEmbedding if likelihood.site_shape else LevelEmbedding
        self.embed = embedding(channels, levels, width)
        self.transformer = CausalTransformer(
            (height, image_width * self.colours),
            width,
            depth,
            heads,
            head_dim,
            dense_width,
            local,
            norm,
            activation,
            positions,
            bias=False,
            dropout=dropout,
            context_dim=context_dim,
            order=self._position_order(),
        )
        # With norms within the residual branches, the sum of all of them has no norm yet.
        self.last_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.last = nn.Linear(width, likelihood.num_params)

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        x = self.check_input(x)
        batch = x.shape[:-3]
        context = self.flatten_context(context, batch)
        values = self.to_sites(x)
        values = values.reshape(-1, self.sites, *self.likelihood.site_shape)
        in_order = values.index_select(1, self.order)

        # The input of each position is the value of the site before it.
        colours = self._colours()
        before = self.embed(in_order[:, :-1], colours[:-1])
        before = F.pad(before, (0, 0, 1, 0))
        h = self.transformer(before, context)

        theta = self.last(self.last_norm(h))
        by_site = torch.empty_like(theta).index_copy(1, self.order, theta)
        return by_site.reshape(*batch, *self.grid, self.likelihood.num_params)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set the last bias to the marginal distribution of the sites of a batch."""
        sites = self.check_data(x).flatten(0, 1)
        marginal = self.likelihood.marginal(sites)
        self.last.bias.copy_(marginal.flatten())

    @torch.no_grad()
    def init_state(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> StepState:
        batch = torch.Size(batch_shape)
        context = self.flatten_context(context, batch)
        state = self.transformer.start(batch.numel(), context)
        return StepState(member, 0, ImageTransformerCache(tuple(batch), state))

    @torch.no_grad()
    def step(self, state: StepState, previous: Tensor | None = None) -> tuple[Tensor, StepState]:
        batch, inner = state.cache
        rows = torch.Size(batch).numel()

        if previous is None:
            before = self.last.weight.new_zeros(rows, self.transformer.width)
        else:
            value = previous.reshape(rows, 1, *self.likelihood.site_shape)
            colour = (inner.position - 1) % self.colours
            before = self.embed(value, colour).squeeze(1)

        h, inner = self.transformer.step(inner, before)
        theta = self.last(self.last_norm(h))
        theta = theta.reshape(*batch, 1, self.likelihood.num_params)
        return theta, state.next(ImageTransformerCache(batch, inner))

    def phase(self, index: int) -> Hashable | None:
        return "later" if index else None

    def _colours(self) -> Tensor:
        """Return the colour of the site at each position, (sites)."""
        position = torch.arange(self.sites, device=self.order.device)
        return position % self.colours

    def _position_order(self) -> Tensor:
        """Return the order of the positions in a grid of rows, with the colours as neighbours."""
        pixels = self.sites // self.colours
        colour = self.order // pixels
        pixel = self.order % pixels
        return pixel * self.colours + colour

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, levels={self.levels}"


def _likelihood(channels: int, levels: int, likelihood: AnyLikelihood | None) -> Likelihood:
    """Return the likelihood of an element or a pixel, or raise an error if it has other levels."""
    if likelihood is None:
        return of_levels(levels)

    likelihood = make_likelihood(likelihood, channels, levels)
    if isinstance(likelihood, Likelihood) and likelihood.levels != levels:
        raise ValueError(
            f"ImageTransformer expects the levels of the likelihood; got levels={levels} and a "
            f"{type(likelihood).__name__} of {likelihood.values}. Pass the same levels to both."
        )
    return likelihood


def _rectangle(height: int, width: int, block_shape: Sequence[int] | None) -> tuple[int, int]:
    """Return the shape of the rectangles of an image."""
    if block_shape is None:
        return height, width
    rows, columns = check_sizes("ImageTransformer", "block_shape", block_shape, length=2)
    if height % rows or width % columns:
        raise ValueError(
            f"ImageTransformer expects blocks that divide the image; got blocks {(rows, columns)} "
            f"and images {(height, width)}. Choose divisors of the sides, or pad the images."
        )
    return rows, columns
