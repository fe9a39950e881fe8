"""Data-dependent initialisation of the flow of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.distributions.flow import Flow
from pyro_exact.distributions.mixture import Mixture
from pyro_exact.models.clusters import clusters
from pyro_exact.nn.finite import check_output
from pyro_exact.nn.precision import cast, weight_of
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.inverse import Inverse
from pyro_exact.transforms.parts import context_for


@torch.no_grad()
def initialize_flow(flow: Flow, x: Tensor, owner: str, context: Tensor | None = None) -> None:
    """Set the parameters of a flow that depend on data.

    Each layer is initialised in the direction of the layer. A layer with such parameters must
    therefore go from data to noise, as in the flows of `pyro_exact.flows`.

    Args:
        flow: The flow, which must go from noise to data.
        x: A batch of data.
        owner: Name of the owner of the flow, for errors.
        context: The context of each datum, for a conditional flow.

    Raises:
        ValueError: If a layer with such parameters goes from noise to data, or if the noise of the
            data is not finite.
    """
    weight = weight_of(flow)
    if context is not None:
        context = cast(context, weight)

    noise = _initialize(flow.bijection.inv, cast(x, weight), context, owner)
    check_output(f"{owner}.initialize", "the noise", noise, flow)
    if isinstance(flow.base, Mixture):
        initialize_mixture(flow.base, noise, owner)


@torch.no_grad()
def initialize_mixture(mixture: Mixture, x: Tensor, owner: str) -> None:
    """Set the parameters of each component using the rows of a cluster, and the weights.

    Args:
        mixture: The mixture, which needs no context.
        x: A batch of data.
        owner: Name of the owner of the mixture, for errors.
    """
    label = clusters(x.flatten(1), len(mixture.flows))
    counts = label.bincount(minlength=len(mixture.flows))
    mixture.logits.copy_((counts + 1.0).log())

    parts = [part for part in mixture.flows if isinstance(part, Flow)]
    for index, part in enumerate(parts):
        rows = x[label == index]
        enough = len(rows) > x[0].numel()  # a covariance needs more rows than elements
        initialize_flow(part, rows if enough else x, owner)


def _initialize(layer: Bijection, x: Tensor, context: Tensor | None, owner: str) -> Tensor:
    """Set a layer from data, also behind inverses within a composition, and return the output."""
    if isinstance(layer, Compose):
        for part in layer.parts:
            x = _initialize(part, x, context_for(part, context), owner)
        return x
    if isinstance(layer, Conditioned):
        return _initialize(layer.bijection, x, layer.context.to(x.dtype), owner)
    if not isinstance(layer, Inverse):
        return layer.data_init(x, context)

    original = layer.bijection
    if isinstance(original, Inverse):
        return _initialize(original.bijection, x, context, owner)
    if isinstance(original, Compose):
        # The inverse of a composition consists of the inverses of the parts, from last to first.
        for part in reversed(original.parts):
            x = _initialize(part.inv, x, context_for(part, context), owner)
        return x
    if isinstance(original, Conditioned):
        return _initialize(original.bijection.inv, x, original.context.to(x.dtype), owner)

    output = layer.transform(x, context)[0]
    if _depends_on_data(original, output, context):
        raise ValueError(
            f"{owner}.initialize expects layers that go from data to noise; got "
            f"{type(original).__name__} from noise to data, which cannot be initialised from "
            "data. Reverse it: use flow.inv instead of flow, or flow instead of flow.inv."
        )
    return output


def _depends_on_data(bijection: Bijection, x: Tensor, context: Tensor | None) -> bool:
    """Return whether initialising a layer would change a weight. This check changes no weight."""
    weights = [*bijection.parameters(), *bijection.buffers()]
    before = [weight.detach().clone() for weight in weights]
    try:
        bijection.data_init(x, context)
        return any(not torch.equal(old, new) for old, new in zip(before, weights, strict=True))
    finally:
        for old, new in zip(before, weights, strict=True):
            new.copy_(old)
