"""TarFlow: masked autoregressive layers over patches, whose networks are causal transformers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pyro_exact.checks import check_shape, check_size
from pyro_exact.flows.arguments import check_context_dim, check_elementwise, check_layers
from pyro_exact.nn.transformer import TransformerConditioner
from pyro_exact.transforms.act_norm import ActNorm
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.compose import Compose
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.fixed_affine import FixedAffine
from pyro_exact.transforms.flatten import Flatten
from pyro_exact.transforms.token_autoregressive import Solver, TokenAutoregressive
from pyro_exact.transforms.tokens import Tokens


def tarflow(
    shape: int | Sequence[int],
    patch: int = 1,
    layers: int = 8,
    depth: int = 8,
    width: int = 256,
    heads: int = 4,
    levels: int | None = None,
    context_dim: int | None = None,
    elementwise: Elementwise | None = None,
    solver: Solver = "auto",
) -> Bijection:
    r"""Build TarFlow: from an image in pixel levels, or a vector, to a vector of noise.

    The image is scaled to [-1, 1] and cut into patches, the tokens. Each layer shifts and scales a
    token using the tokens before it, via a causal transformer; every second layer takes the tokens
    in reverse order. Scoring takes a single pass through each network. Sampling takes a step for
    each token and layer, or a few passes; see `TokenAutoregressive`.

    When the event is a vector, each element is a token, after an `ActNorm`, for which
    ``initialize`` should be called. This is a masked autoregressive flow for tables, using a
    transformer.

    Args:
        shape: (C, H, W), or the size of a vector.
        patch: Side of a patch or, for a vector, size of a token.
        layers: Layers of the flow.
        depth: Blocks of each transformer.
        width: Channels of each transformer.
        heads: Attention heads; the official code uses 64 channels for each.
        levels: Pixel levels of an image (256 when not given); images must be dequantised to [0,
            levels).
        context_dim: Size of an optional context vector, for example a class as a one-hot vector,
            used by every block of every transformer.
        elementwise: The formula, copied for each layer (default ``Affine(shift_first=True)``), as
            in the official code but with a bounded log-scale.
        solver: The method of the inverse; see `TokenAutoregressive`.

    Raises:
        ValueError: If the patches do not divide the shape, the heads do not divide the width, or
            levels are given for a vector.

    Reference:
        Zhai, Zhang, Nakkiran, Berthelot, Gu, Zheng, Chen, Bautista, Jaitly and Susskind (2024),
        Normalizing Flows are Capable Generative Models, and official code.

    Example:
        >>> flow = tarflow((1, 8, 8), patch=2, layers=2, depth=1, width=8, heads=2)
        >>> flow(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 64])
    """
    tokens = Tokens(check_shape("tarflow", "shape", shape), patch)
    layers = check_layers("tarflow", layers)
    context_dim = check_context_dim("tarflow", context_dim)
    formula: Elementwise = Affine(shift_first=True)
    if elementwise is not None:
        formula = check_elementwise("tarflow", elementwise)

    def layer(reverse: bool) -> TokenAutoregressive:
        net = TransformerConditioner(
            tokens.tokens,
            tokens.token_dim,
            formula.num_params,
            width,
            depth,
            heads,
            context_dim,
        )
        # A formula may learn, so each layer has its own.
        return TokenAutoregressive(deepcopy(formula), net, reverse, solver)

    parts: list[Bijection] = [tokens, *(layer(i % 2 == 1) for i in range(layers))]
    flatten = Flatten((tokens.tokens, tokens.token_dim))
    return Compose([_normalisation(tokens.shape, levels), *parts, flatten])


def _normalisation(shape: tuple[int, ...], levels: int | None) -> Bijection:
    """Return the layer that scales images to [-1, 1], or normalises vectors."""
    if len(shape) == 3:
        levels = check_size("tarflow", "levels", 256 if levels is None else levels)
        return FixedAffine(2 / levels, -1.0)

    if levels is not None:
        raise ValueError(
            f"tarflow expects no levels for vectors; got levels={levels} and shape {shape}. Leave "
            f"them out."
        )
    return ActNorm(shape[0])
