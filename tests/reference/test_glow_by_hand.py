"""Glow once more, in plain numpy loops after the official code, with nothing of the library but its numbers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from pyro_exact.flows import glow

pytestmark = pytest.mark.usefixtures("double")


def conv2d(x, weights):
    """`conv2d` of the official code: an extra channel that is 1 on the padding, and (y + b) exp(3 logs)."""
    weight = weights["weight"]
    size = weight.shape[-1]
    pad = size // 2
    c, h, w = x.shape
    padded = np.zeros((c + 1, h + 2 * pad, w + 2 * pad))
    padded[c] = 1
    padded[:, pad : pad + h, pad : pad + w] = np.concatenate((x, np.zeros((1, h, w))))
    if "edge_weight" in weights:
        weight = np.concatenate((weight, weights["edge_weight"]), axis=1)
    y = np.empty((len(weight), h, w))
    for o in range(len(weight)):
        for i in range(h):
            for j in range(w):
                patch = padded[: weight.shape[1], i : i + size, j : j + size]
                y[o, i, j] = (weight[o] * patch).sum() + weights["bias"][o]
    return y * np.exp(3 * weights["log_scale"])[:, None, None]


def network(x, weights):
    h = np.maximum(conv2d(x, sub(weights, "first")), 0)
    h = np.maximum(conv2d(h, sub(weights, "second")), 0)
    return conv2d(h, sub(weights, "last"))


def sub(weights, prefix):
    return {
        name.removeprefix(prefix + "."): w
        for name, w in weights.items()
        if name.startswith(prefix + ".")
    }


def squeeze(x):
    c, h, w = x.shape
    y = np.empty((4 * c, h // 2, w // 2))
    for i in range(2):
        for j in range(2):
            y[2 * i + j :: 4] = x[:, i::2, j::2]
    return y


def step(x, weights):
    """`revnet2d_step`: actnorm, invertible 1x1 convolution, affine coupling with sigmoid(h + 2)."""
    c, h, w = x.shape
    shift, log_scale, matrix = (
        weights[f"parts.{n}"] for n in ("0.theta.shift", "0.theta.log_scale", "1.theta.weight")
    )
    x = x * np.exp(log_scale) + shift  # a layer that has seen no data: m = 0, d = 1
    logdet = h * w * log_scale.sum()
    x = np.einsum("ij,jhw->ihw", matrix, x)
    logdet += h * w * np.log(abs(np.linalg.det(matrix)))
    first, second = x[: c // 2], x[c // 2 :]
    theta = network(first, sub(weights, "parts.2.conditioner"))
    scale = 1 / (1 + np.exp(-(theta[1::2] + 2)))
    return np.concatenate((first, (second + theta[0::2]) * scale)), logdet + np.log(scale).sum()


def log_normal(x, mean=0.0, log_std=0.0):
    return (-0.5 * np.log(2 * np.pi) - log_std - 0.5 * ((x - mean) / np.exp(log_std)) ** 2).sum()


def log_density(x, weights, levels, scales, depth):
    """log p(x): the noise is scored scale by scale, each under its own prior, as the official code does."""
    x = x / levels - 0.5
    total = -x.size * np.log(levels)
    at = 2  # where the steps stand: behind scaling and squeeze, and at later scales behind squeeze alone
    for scale in range(scales):
        x = squeeze(x)
        steps, rest = (sub(weights, f"parts.{n}") for n in (at, at + 1))
        for k in range(depth):
            x, logdet = step(x, sub(steps, f"parts.{k}"))
            total += logdet
        if scale < scales - 1:
            x, out = x[: len(x) // 2], x[len(x) // 2 :]
            theta = conv2d(x, sub(rest, "prior.conv"))
            log_std = 3 * np.tanh(theta[1::2] / 3)
            total += log_normal(out, theta[0::2] * np.exp(log_std), log_std)
            weights, at = sub(rest, "rest"), 1
    return total + log_normal(x, rest["theta.mean"], rest["theta.log_scale"])


@pytest.mark.parametrize(
    ("shape", "scales", "depth"),
    [((1, 2, 2), 1, 1), ((1, 2, 2), 1, 2), ((1, 4, 4), 2, 1), ((3, 8, 4), 2, 2)],
    ids=str,
)
def test_glow_agrees_with_the_official_formulas(shape, scales, depth):
    flow = glow(shape, levels=8, scales=scales, steps=depth, width=3, scale="sigmoid")
    for parameter in flow.parameters():
        with torch.no_grad():
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = 8 * torch.rand(shape)
    z, ladj = flow.forward_and_ladj(x)
    found = ladj + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    weights = {name: p.detach().numpy() for name, p in flow.named_parameters()}
    assert_allclose(found.item(), log_density(x.numpy(), weights, 8, scales, depth), rtol=1e-10)


# A flow whose weights are all zero but for the rotations is x / levels - 1/2, rotated, with every free half multiplied
# by sigmoid(2) in each step. On four pixels, squeezed to 4 channels, the log-determinant is
# -4 log 8 + 2 depth log sigmoid(2).
def test_a_new_official_glow_contracts_only_by_its_sigmoid():
    for depth in (1, 3):
        flow = glow((1, 2, 2), levels=8, scales=1, steps=depth, width=3, scale="sigmoid")
        ladj = flow.forward_and_ladj(8 * torch.rand(1, 2, 2))[1].item()
        assert_allclose(ladj, -4 * np.log(8) + 2 * depth * np.log(1 / (1 + np.exp(-2))), rtol=1e-12)


def test_a_new_glow_on_a_single_step_is_a_rotation_of_its_pixels():
    flow = glow((1, 2, 2), levels=8, scales=1, steps=1, width=3)
    x = 8 * torch.rand(5, 1, 2, 2)
    z = flow(x)
    assert_allclose(z.norm(dim=1).detach(), (x / 8 - 0.5).flatten(1).norm(dim=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 3}, r"multiples of 2\^scales = 8; got .* shape \(1, 4, 4\)"),
        ({"scales": 0}, "glow expects scales from 1 to 20; got 0"),
        ({"steps": 0}, "glow expects steps from 1 to 10000; got 0"),
    ],
)
def test_glow_refuses_impossible_sizes(options, message):
    with pytest.raises(ValueError, match=message):
        glow((1, 4, 4), **{"scales": 1, "steps": 1, "width": 2, **options})


# The official model for CIFAR-10 but for its width: each conv has a bias and a log-scale, each 3x3 an edge channel.
def test_glow_for_cifar_has_as_many_weights_as_its_shapes_say():
    flow = glow((3, 32, 32), steps=32, scales=3, width=8)
    total = 0
    for channels in (12, 24, 48):
        half, width = channels // 2, 8
        first, second, last = 9 * (half + 1) * width, width**2, 9 * (width + 1) * channels
        total += 32 * (
            2 * channels + channels**2 + first + second + last + 4 * width + 2 * channels
        )
        total += 9 * (half + 1) * channels + 2 * channels if channels < 48 else 2 * 48 * 4 * 4
    assert sum(p.numel() for p in flow.parameters()) == total
