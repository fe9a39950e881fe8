"""The coder of each kind of model: how a block of images becomes bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.checks import check_size
from pyro_exact.codec.autoregressive import code_autoregressive
from pyro_exact.codec.bits_back import decode_image, encode_image
from pyro_exact.codec.entropy import Coder, QueueDecoder, QueueEncoder, Stack, Words, uniform_code
from pyro_exact.codec.local_bits_back import LocalBitsBack
from pyro_exact.codec.values import code_sites
from pyro_exact.distributions.discrete_flow import DiscreteFlow
from pyro_exact.models.density import Density
from pyro_exact.models.dequantized import Dequantized
from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.models.order_agnostic import OrderAgnostic
from pyro_exact.nn.precision import weight_of

# Words from which the first latents of a block are drawn. Only the words that are used are written.
INITIAL_WORDS = 2**17
SPARE_WORDS = 2


class Method(ABC):
    """The base class of methods: encodes a block of images, and decodes it.

    Args:
        model: The model, in evaluation mode.

    Attributes:
        block_size: Images of a block, by default.
        initial_bits: Bits that blocks contained before their first image, for bits-back.
    """

    block_size: int
    initial_bits: int = 0

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    @abstractmethod
    def encode(
        self,
        images: Tensor,
        labels: Tensor | None,
        bits: Tensor | None = None,
    ) -> Words:
        """Return the code of a block.

        Args:
            images: (n, *event_shape).
            labels: The classes, (n), for a class-conditional model.
            bits: Optional; the bits of each pixel are written, (n, sites).
        """

    @abstractmethod
    def decode(self, words: Words, count: int) -> Tensor:
        """Return the images of a block, (n, *event_shape)."""

    def empty_bits(self, count: int) -> Tensor:
        """Return zeros for the bits of each site, (count, sites)."""
        raise ValueError(
            f"A map of bits expects a model that codes pixel by pixel; got "
            f"{type(self.model).__name__}, whose pixels share latents. Leave the map out."
        )

    def code_labels(self, coder: Coder, labels: Tensor | None, count: int) -> GenerativeModel:
        """Code the class of each image, and return the model given the classes."""
        if self.model.classes is None:
            return self.model

        code = uniform_code(self.model.classes, count)
        given = None if labels is None else labels.int().cpu().numpy()
        coded = torch.from_numpy(coder.code(code, given)).long()
        return self.model.condition(coded.to(weight_of(self.model).device))


class Steps(Method):
    """Codes the elements of images one after the other, by an autoregressive network."""

    block_size = 64

    def encode(
        self,
        images: Tensor,
        labels: Tensor | None,
        bits: Tensor | None = None,
    ) -> Words:
        encoder = QueueEncoder()
        model = self.code_labels(encoder, labels, len(images))
        code_autoregressive(_autoregressive(model), encoder, len(images), images, bits)
        return encoder.words()

    def empty_bits(self, count: int) -> Tensor:
        return torch.zeros(count, _autoregressive(self.model).net.sites, dtype=torch.float64)

    def decode(self, words: Words, count: int) -> Tensor:
        decoder = QueueDecoder(words)
        model = self.code_labels(decoder, None, count)
        return code_autoregressive(_autoregressive(model), decoder, count, None)


class Latents(Method):
    """Codes the latents of an integer flow, from the last scale to the first."""

    block_size = 64

    def encode(
        self,
        images: Tensor,
        labels: Tensor | None,
        bits: Tensor | None = None,
    ) -> Words:
        flow = _discrete_flow(self.model)
        encoder = QueueEncoder()
        x = images.to(weight_of(flow)).contiguous()
        for z, theta in flow.latents(x):
            code_sites(flow.likelihood, theta, encoder, z)
        return encoder.words()

    def decode(self, words: Words, count: int) -> Tensor:
        flow = _discrete_flow(self.model)
        decoder = QueueDecoder(words)

        def draw(theta: Tensor) -> Tensor:
            return code_sites(flow.likelihood, theta, decoder, None)

        return flow.images(draw, count)


class BitsBack(Method):
    """Codes a chain of images by a model with latents. All images of a block share a stack."""

    block_size = 1000

    def encode(
        self,
        images: Tensor,
        labels: Tensor | None,
        bits: Tensor | None = None,
    ) -> Words:
        stack = Stack(_initial_words())
        for position, image in enumerate(images):
            encode_image(self.model, stack, image[None])
            stack.scramble(position)
        return self._used(stack)

    def decode(self, words: Words, count: int) -> Tensor:
        stack = Stack(words)
        decoded = []
        for position in reversed(range(count)):
            stack.scramble(position, back=True)
            decoded.append(decode_image(self.model, stack, 1))
        return torch.cat(decoded[::-1])

    def _used(self, stack: Stack) -> Words:
        """Return the words that a decoder needs."""
        unused = max(0, stack.fewest - SPARE_WORDS)
        if unused == 0:
            raise ValueError(
                f"Bits-back coding expects at most {INITIAL_WORDS} initial words; got an image "
                "that needs more. Use a model with fewer latents."
            )
        self.initial_bits += 32 * (INITIAL_WORDS - unused)
        return stack.words()[unused:]


class LocalFlow(BitsBack):
    """Codes a chain of images by a flow of real values."""

    def __init__(self, model: Dequantized) -> None:
        super().__init__(model)
        self.code = LocalBitsBack(model)

    def encode(
        self,
        images: Tensor,
        labels: Tensor | None,
        bits: Tensor | None = None,
    ) -> Words:
        stack = Stack(_initial_words())
        for position, image in enumerate(images):
            self.code.encode(stack, image.cpu())
            stack.scramble(position)
        return self._used(stack)

    def decode(self, words: Words, count: int) -> Tensor:
        stack = Stack(words)
        decoded = []
        for position in reversed(range(count)):
            stack.scramble(position, back=True)
            decoded.append(self.code.decode(stack))
        return torch.stack(decoded[::-1])


def method_of(model: GenerativeModel) -> Method:
    """Return the method for a model."""
    if isinstance(model, GenerativeModel) and model.context_dim is not None:
        raise TypeError(
            f"Compression expects a model of images alone, or of classes; got a "
            f"{type(model).__name__} that needs a context of {model.context_dim} real elements. "
            "Use another model."
        )
    if isinstance(model, OrderAgnostic):
        return Steps(model)
    if isinstance(model, Density) and isinstance(model.distribution, Autoregressive):
        return Steps(model)
    if isinstance(model, Density) and isinstance(model.distribution, DiscreteFlow):
        return Latents(model)
    if isinstance(model, Dequantized):
        return LocalFlow(model)
    if isinstance(model, GenerativeModel) and not model.exact:
        return BitsBack(model)

    raise TypeError(
        f"Compression expects an autoregressive network, a VAE, or an integer flow; got "
        f"{type(model).__name__}. The density of real values is no code: use one of these."
    )


def checked_block_size(method: Method, block_size: int | None) -> int:
    """Return the images of a block."""
    if block_size is None:
        return method.block_size
    return check_size("compress", "block_size", block_size)


def _autoregressive(model: GenerativeModel) -> Autoregressive:
    """Return the distribution of an autoregressive model."""
    if isinstance(model, OrderAgnostic):
        return Autoregressive(model.net)
    if isinstance(model, Density) and isinstance(model.distribution, Autoregressive):
        distribution: Autoregressive = model._distribution()
        return distribution
    raise TypeError(f"Steps expects an autoregressive model; got {type(model).__name__}.")


def _discrete_flow(model: GenerativeModel) -> DiscreteFlow:
    """Return the integer flow of a model."""
    if isinstance(model, Density) and isinstance(model.distribution, DiscreteFlow):
        return model.distribution
    raise TypeError(f"Latents expects an integer flow; got {type(model).__name__}.")


def _initial_words() -> Words:
    """Return random words, the same for each block."""
    random = np.random.Generator(np.random.PCG64(0))
    return random.integers(1, 2**32, INITIAL_WORDS, dtype=np.uint32)
