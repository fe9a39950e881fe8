"""The recurrence of Convolutional DRAW: the steps of encoder and decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from pyro_exact.checks import check_elements
from pyro_exact.models.conv_draw.canvas import Canvas
from pyro_exact.models.conv_draw.layer import DrawLayer, LSTMState, of_maps
from pyro_exact.models.feature_cache import FeatureCache
from pyro_exact.transforms.memory import State, states


class Decoder(NamedTuple):
    """The state of the decoder.

    Attributes:
        layers: State of each layer, from the canvas to the top.
        canvas: The maps r, which hold the parameters of the pixels.
    """

    layers: tuple[LSTMState, ...]
    canvas: Tensor


# Returns the latents of a layer, from their name, the step, the layer and the prior.
Draw = Callable[[str, int, int, Normal], Tensor]


class Recurrence(nn.Module):
    r"""The networks of `ConvDRAW`, and the steps of encoder and decoder.

    Args:
        shape: (C, H, W).
        pixels: Formula from the canvas to the distribution of the pixels.
        steps: Steps of the recurrence.
        latent_channels: Channels of a latent map.
        width: Channels of all states.
        depth: Layers.
        kernel_size: Odd side of the kernels.
        stride: Ratio of the sides of image and states.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        pixels: Canvas,
        steps: int,
        latent_channels: int,
        width: int,
        depth: int,
        kernel_size: int,
        stride: int,
    ) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.image_size = height, breadth
        self.map_size = height // stride, breadth // stride
        self.pixels = pixels
        self.steps = steps
        self.width = width

        # The reading and writing kernels overlap, and are twice as wide as the stride.
        maps = pixels.maps
        sides = (2 * stride, stride, stride // 2)  # kernel, stride, padding
        check_elements("ConvDRAW", width, max(2 * channels, maps), 2 * stride, 2 * stride)
        self.read_image = nn.Conv2d(2 * channels, width, *sides)
        self.read_canvas = nn.Conv2d(maps, width, *sides)
        self.write = nn.ConvTranspose2d(width, maps, *sides)
        self.first_canvas = nn.Parameter(torch.zeros(maps, 1, 1))

        def layer(index: int) -> DrawLayer:
            lowest = index == 0
            highest = index == depth - 1

            seen = width if lowest else 2 * width  # the image, and the encoder below
            above = 0 if highest else width
            given = above + width if lowest else above  # with the canvas
            return DrawLayer(seen, above, given, latent_channels, width, kernel_size)

        self.layers: Sequence[DrawLayer] = nn.ModuleList(  # type: ignore[assignment]
            layer(index) for index in range(depth)
        )
        self._cache: FeatureCache[Decoder] = FeatureCache()

    def draw(self, draw: Draw, batch: Sequence[int] = ()) -> Tensor:
        """Run all steps of the decoder, and return the last canvas, (*batch, maps, H, W).

        Args:
            draw: Returns the latents of a layer in a step.
            batch: Batch shape of the first state.
        """
        decoder = self._first_decoder(batch)
        above = None
        weights = states(tuple(self.parameters()))
        with torch.autocast(self.first_canvas.device.type, enabled=False):
            for step in range(1, self.steps + 1):
                decoder = above = self._step(step, decoder, above, draw, weights)
        return decoder.canvas

    def infer(self, images: Tensor, draw: Callable[[str, Normal], Tensor]) -> None:
        """Run all steps of encoder and decoder.

        Args:
            images: Images scaled to [-1, 1], (*batch, C, H, W).
            draw: Returns the latents of a layer from their name and the posterior.
        """
        decoder = self._first_decoder()
        above = None
        encoders = [self._first_state() for _ in self.layers]
        weights = states(tuple(self.parameters()))

        def from_posterior(
            name: str,
            step: int,
            layer: int,
            prior: Normal,
        ) -> Tensor:
            return draw(name, self.layers[layer].posterior(encoders[layer]))

        with torch.autocast(images.device.type, enabled=False):
            for step in range(1, self.steps + 1):
                encoders[:] = self._encode(images, encoders, decoder)
                decoder = above = self._step(step, decoder, above, from_posterior, weights)

    def _encode(
        self, images: Tensor, encoders: Sequence[LSTMState], decoder: Decoder
    ) -> list[LSTMState]:
        """Return the states of the encoder after a step, from the image upwards."""
        # e_t = x - mean(r_{t-1})
        error = images - self.pixels.means(decoder.canvas)
        seen = of_maps(self.read_image, images, error).relu()

        after: list[LSTMState] = []
        for layer, encoder, state in zip(self.layers, encoders, decoder.layers, strict=True):
            # h^e_t = LSTM_e([x, e_t], h^e_t of the layer below, h^d_{t-1}; h^e_{t-1})
            below = [encoder_below.h for encoder_below in after[-1:]]
            inputs = [seen, *below, state.h]
            after.append(layer.encoder(inputs, encoder))
        return after

    def _step(
        self,
        step: int,
        decoder: Decoder,
        above: Decoder | None,
        draw: Draw,
        weights: State,
    ) -> Decoder:
        """Return the decoder after a step, from the top layer down to the canvas.

        Args:
            step: Number of the step, from 1.
            decoder: The decoder before the step.
            above: The same, or `None` before the first step.
            draw: Returns the latents of a layer.
            weights: State of all weights.
        """
        for index in reversed(range(len(self.layers))):
            # z_t ~ p(z_t | h^d_{t-1}, h^d_t of the layer above), or from the posterior
            upper = [layer.h for layer in decoder.layers[index + 1 : index + 2]]
            prior = self.layers[index].prior(decoder.layers[index], upper)
            z = draw(f"z{step}_{index + 1}", step, index, prior)

            below = self._cache.find(z, above, weights)
            if below is None:
                below = self._decode(index, z, upper, decoder)
                self._cache.write(z, above, weights, below)
            decoder = above = below
        return decoder

    def _decode(
        self,
        index: int,
        z: Tensor,
        upper: list[Tensor],
        decoder: Decoder,
    ) -> Decoder:
        """Return the decoder after the latents of a layer."""
        canvas = decoder.canvas
        inputs = [z, *upper]
        if index == 0:
            inputs.append(of_maps(self.read_canvas, canvas).relu())

        # h^d_t = LSTM_d(z_t, r_{t-1}; h^d_{t-1})
        state = self.layers[index].decoder(inputs, decoder.layers[index])
        layers = (*decoder.layers[:index], state, *decoder.layers[index + 1 :])

        # r_t = r_{t-1} + write(h^d_t)
        if index == 0:
            canvas = canvas + of_maps(self.write, state.h)
        return Decoder(layers, canvas)

    def _first_state(self, batch: Sequence[int] = ()) -> LSTMState:
        zeros = self.first_canvas.new_zeros(*batch, self.width, *self.map_size)
        return LSTMState(zeros, zeros)

    def _first_decoder(self, batch: Sequence[int] = ()) -> Decoder:
        """Return empty states, and the learned first canvas."""
        canvas = self.first_canvas.expand(*batch, -1, *self.image_size)
        layers = tuple(self._first_state(batch) for _ in self.layers)
        return Decoder(layers, canvas)
