"""A transformer and a layer of TarFlow, worked out in NumPy with loops over positions and heads."""

import math

import numpy as np
import pytest
import torch

from pyro_exact.nn import CausalTransformer, TransformerConditioner
from pyro_exact.transforms import Affine, TokenAutoregressive

pytestmark = pytest.mark.usefixtures("double")


def weights(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def layer_norm(x, w, name):
    centred = x - x.mean()
    return (
        w[f"{name}.weight"] * centred / math.sqrt(centred @ centred / len(x) + 1e-5)
        + w[f"{name}.bias"]
    )


def linear(x, w, name):
    return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0.0)


def gelu(x):
    return np.array([0.5 * each * (1 + math.erf(each / math.sqrt(2))) for each in x])


def attention(x, w, name, heads, block):
    """Of all positions, each of which looks at its own block and the one before it."""
    parts = [linear(each, w, f"{name}.project").reshape(3, heads, -1) for each in x]
    outputs = []
    for t, (query, _, _) in enumerate(parts):
        first = max(0, (t // block - 1) * block)
        merged = []
        for head in range(heads):
            seen = [(parts[s][1, head], parts[s][2, head]) for s in range(first, t + 1)]
            scores = [math.exp(query[head] @ key / math.sqrt(len(query[head]))) for key, _ in seen]
            total = sum(s * value for s, (_, value) in zip(scores, seen, strict=True))
            merged.append(total / sum(scores))
        outputs.append(linear(np.concatenate(merged), w, f"{name}.merge"))
    return outputs


def transformer(x, w, prefix, depth, heads, block, post, context):
    h = [each + w[f"{prefix}positions.axes.0"][t] for t, each in enumerate(x)]
    for number in range(depth):
        name = f"{prefix}blocks.{number}"
        if context is not None:
            h = [each + linear(context, w, f"{name}.context") for each in h]

        def norm(x, which, name=name):
            return layer_norm(x, w, f"{name}.{which}")

        inner = h if post else [norm(each, "attention_norm") for each in h]
        added = attention(inner, w, f"{name}.attention", heads, block)
        h = [each + branch for each, branch in zip(h, added, strict=True)]
        h = [norm(each, "attention_norm") for each in h] if post else h

        inner = h if post else [norm(each, "dense_norm") for each in h]
        activated = [linear(each, w, f"{name}.first") for each in inner]
        activated = [np.maximum(each, 0) if post else gelu(each) for each in activated]
        added = [linear(each, w, f"{name}.last") for each in activated]
        h = [each + branch for each, branch in zip(h, added, strict=True)]
        h = [norm(each, "dense_norm") for each in h] if post else h
    return np.stack(h)


@pytest.mark.parametrize("post", [False, True])
def test_transformer(post):
    settings = {"norm": "post", "activation": "relu", "bias": False} if post else {}
    net = CausalTransformer(7, 4, depth=2, heads=2, local=3, context_dim=2, **settings)
    w, x, context = weights(net), torch.randn(7, 4), torch.randn(2)
    by_hand = transformer(x.numpy(), w, "", 2, 2, 3, post, context.numpy())
    np.testing.assert_allclose(net(x[None], context[None])[0].detach(), by_hand, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context", [None, torch.tensor([0.3, -1.2], dtype=torch.float64)])
def test_layer_of_tarflow(reverse, context):
    context_dim = None if context is None else 2
    net = TransformerConditioner(3, 2, 2, width=4, depth=1, heads=2, context_dim=context_dim)
    w, x = weights(net), torch.randn(3, 2)
    layer = TokenAutoregressive(Affine(bound=3.0, shift_first=True), net, reverse)

    tokens = x.numpy()[::-1] if reverse else x.numpy()
    before = [np.zeros(4), *(linear(token, w, "embed") for token in tokens[:-1])]
    known = None if context is None else context.numpy()
    h = transformer(before, w, "transformer.", 1, 2, 3, False, known)

    y, ladj = [], 0.0
    for t, (token, features) in enumerate(zip(tokens, h, strict=True)):
        shift, raw = linear(features, w, "last").reshape(2, 2)
        if t == 0 and context is None:
            shift = raw = np.zeros(2)
        log_scale = 3 * np.tanh(raw / 3)
        y.append((token + shift) * np.exp(log_scale))
        ladj += log_scale.sum()
    y = np.stack(y[::-1] if reverse else y)

    found = layer.forward_and_ladj(x, context)
    np.testing.assert_allclose(found[0].detach(), y, atol=1e-12)
    np.testing.assert_allclose(found[1].detach(), ladj, atol=1e-12)
