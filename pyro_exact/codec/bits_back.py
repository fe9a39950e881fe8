"""Bits-back coding: code images by a model with latents, over its model and its guide.

To encode an image, the latents are popped from a stack by the guide, and the image and the latents
are pushed by the model. A decoder pops them by the model, and pushes the latents back by the guide,
which restores the stack. In the mean an image costs the negative ELBO.

Reference: Townsend, Bird and Barber (2019), Practical Lossless Compression with Latent Variables
Using Bits Back Coding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro.distributions import Delta, Independent, Normal
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.codec.autoregressive import code_autoregressive
from pyro_exact.codec.entropy import Coder, Recorder, Stack
from pyro_exact.codec.values import code_normal, code_sites
from pyro_exact.distributions.independent_sites import IndependentSites
from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.nn.precision import weight_of


def encode_image(model: GenerativeModel, stack: Stack, x: Tensor) -> None:
    """Push a batch of images onto a stack, (n, *event_shape)."""
    x = _plain(x.to(weight_of(model)))
    latents = _run(model.infer, x, stack, {})

    recorder = Recorder()
    _run(model.generate, x, recorder, latents | {"x": x})
    stack.push(recorder)


def decode_image(model: GenerativeModel, stack: Stack, count: int) -> Tensor:
    """Pop a batch of images from a stack; this undoes `encode_image`."""
    values = _run(model.generate, None, stack, {}, count)
    x = _plain(values.pop("x"))

    recorder = Recorder()
    _run(model.infer, x, recorder, values)
    stack.push(recorder)
    return x


def _run(
    program: Any,
    x: Tensor | None,
    coder: Coder,
    values: Mapping[str, Tensor],
    count: int | None = None,
) -> dict[str, Tensor]:
    """Run a model or a guide, code each sample site, and return the values of all sites.

    Args:
        program: `generate` or `infer`.
        x: The images; `None` to draw them.
        coder: Codes the sites.
        values: Values to encode, by site; the other sites are decoded.
        count: Count of the images, without ``x``.
    """
    size = count if x is None else len(x)
    handler = _CodeSites(coder, values)
    with handler, pyro.plate("data", size, dim=-1):
        program(x)
    return handler.coded


class _CodeSites(Messenger):
    """A handler that codes the value of each sample site, in the order of the program.

    Args:
        coder: Codes the values.
        values: Values to encode, by site; the other sites are decoded.
    """

    def __init__(self, coder: Coder, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.coder, self.values = coder, values
        self.coded: dict[str, Tensor] = {}

    def _pyro_sample(self, message: Any) -> None:
        if site_is_subsample(message):
            return

        # A copy: features that a model has cached for the tensor itself would be computed in
        # another way than those of a decoder.
        given = self.values.get(message["name"])
        copy = None if given is None else _plain(given)
        value = _code_distribution(message["fn"], self.coder, copy, message["name"])

        message["value"] = self.coded[message["name"]] = _plain(value)
        message["done"] = message["stop"] = True


def _code_distribution(d: Any, coder: Coder, value: Tensor | None, name: str) -> Tensor:
    """Code a draw of a distribution, and return it.

    Raises:
        TypeError: If this distribution cannot be coded.
    """
    base = d
    while isinstance(base, Independent):
        base = base.base_dist

    if isinstance(base, Normal):
        return code_normal(base.loc, base.scale, coder, value)

    if isinstance(base, Autoregressive):
        (count,) = base.batch_shape
        return code_autoregressive(base, coder, count, value).to(torch.get_default_dtype())

    if isinstance(base, IndependentSites):
        return _code_independent(base, coder, value)

    kind = "a fixed value" if isinstance(base, Delta) else f"a {type(base).__name__}"
    raise TypeError(
        f"Bits-back coding expects normal latents, and images of sites with levels; got {kind} at "
        f"the site {name}. Such a model has a bound of the likelihood, but no code: a latent after "
        "a flow is no longer independent by elements. Use a normal posterior and prior."
    )


def _plain(x: Tensor) -> Tensor:
    """Return a copy in the order of the dimensions: kernels depend on the layout in memory."""
    return x.clone(memory_format=torch.contiguous_format)


def _code_independent(d: IndependentSites, coder: Coder, value: Tensor | None) -> Tensor:
    """Code independent sites."""
    channels = len(d.likelihood.site_shape)
    batch = len(d.batch_shape)
    theta = d.theta.expand(*d.batch_shape, *d.grid, -1)

    # The channels of a site are the first dimensions of an event, and the last for a likelihood.
    first, last = list(range(batch, batch + channels)), list(range(-channels, 0))
    given = None if value is None else value.to(theta.dtype)
    if given is not None and channels:
        given = given.movedim(first, last)

    coded = code_sites(d.likelihood, theta, coder, given)
    return coded.movedim(last, first) if channels else coded
