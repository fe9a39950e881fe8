"""PixelSNAIL and Image Transformer, worked out in NumPy with loops over pixels."""

import math

import numpy as np
import pytest
import torch

from pyro_exact.autoregressive import ImageTransformer, PixelSNAIL

pytestmark = pytest.mark.usefixtures("double")

HEIGHT, WIDTH = 2, 3
PIXELS = [(row, column) for row in range(HEIGHT) for column in range(WIDTH)]


def weights(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return {name: value.detach().numpy() for name, value in module.named_parameters()}


def elu(x):
    return np.where(x > 0, x, np.exp(x) - 1)


def kernel(w, name):
    """The normalised weights of a layer, (outputs, inputs, rows, columns), and its bias."""
    direction = w[f"{name}.direction"]
    norm = np.sqrt((direction**2).sum((1, 2, 3), keepdims=True))
    return w[f"{name}.magnitude"][:, None, None, None] * direction / norm, w[f"{name}.bias"]


def convolution(x, w, name, row, column, left=None):
    """At one pixel; the last row of the kernel is that of the pixel."""
    weight, bias = kernel(w, name)
    rows, columns = weight.shape[2:]
    left = columns - 1 if left is None else left
    total = bias.copy()
    for i in range(rows):
        for j in range(columns):
            place = row - rows + 1 + i, column - left + j
            if place in x:
                total += weight[:, :, i, j] @ x[place]
    return total


def pointwise(x, w, name):
    weight, bias = kernel(w, name)
    return weight[:, :, 0, 0] @ x + bias


def gate(x, gates):
    value, open_ = np.split(gates, 2)
    return x + value / (1 + np.exp(-open_))


def pixel_residual(x, w, name, context, side=None):
    h = pointwise(elu(x), w, f"{name}.first")
    if side is not None:
        h = h + pointwise(elu(side), w, f"{name}.side")
    gates = pointwise(elu(h), w, f"{name}.second") + w[f"{name}.gate.context.weight"] @ context
    return gate(x, gates)


def conv_residual(x, w, name, context):
    active = {place: elu(value) for place, value in x.items()}
    h = {place: elu(convolution(active, w, f"{name}.first", *place)) for place in PIXELS}
    added = w[f"{name}.gate.context.weight"] @ context
    return {
        place: gate(x[place], convolution(h, w, f"{name}.second", *place) + added)
        for place in PIXELS
    }


def attention(image, features, w, name, context, key_dim):
    coordinates = {(r, c): np.array([r / HEIGHT - 0.5, c / WIDTH - 0.5]) for r, c in PIXELS}
    keys, values, attended = [], [], {}
    for place in PIXELS:
        query = np.concatenate((features[place], coordinates[place]))
        query = pixel_residual(query, w, f"{name}.query", context)
        query = pointwise(query, w, f"{name}.to_query")
        scores = [math.exp(query @ key / math.sqrt(key_dim)) for key in keys]
        total = sum((s * v for s, v in zip(scores, values, strict=True)), np.zeros(2))
        attended[place] = total / (sum(scores) or 1)

        content = np.concatenate((image[place], features[place], coordinates[place]))
        content = pixel_residual(content, w, f"{name}.content", context)
        key, value = np.split(pointwise(content, w, f"{name}.to_content"), [key_dim])
        keys.append(key)
        values.append(value)
    return attended


def test_pixel_snail():
    net = PixelSNAIL(
        (2, HEIGHT, WIDTH), 5, 4, depth=2, resnets=2, key_dim=3, components=1, context_dim=2
    ).eval()
    w, context = weights(net), torch.randn(2)
    x = torch.randint(5, (2, HEIGHT, WIDTH)).double()

    image = {(r, c): x[:, r, c].numpy() / 2 - 1 for r, c in PIXELS}
    marked = {place: np.append(value, 1) for place, value in image.items()}
    features = {}
    for row, column in PIXELS:
        total = np.zeros(4)
        if row > 0:
            total += convolution(marked, w, "first_above", row - 1, column, left=1)
        if column > 0:
            total += convolution(marked, w, "first_left", row, column - 1)
        features[row, column] = total

    for number in range(2):
        block = f"blocks.{number}"
        for resnet in range(2):
            features = conv_residual(features, w, f"{block}.residuals.{resnet}", context.numpy())
        seen = attention(image, features, w, f"{block}.attention", context.numpy(), 3)
        features = {
            place: pixel_residual(
                features[place], w, f"{block}.merge", context.numpy(), seen[place]
            )
            for place in PIXELS
        }

    theta = net(x, context).detach()
    for row, column in PIXELS:
        by_hand = pointwise(elu(features[row, column]), w, "last")
        np.testing.assert_allclose(theta[row, column], by_hand, atol=1e-11)


def test_input_of_the_image_transformer():
    """The transformer itself is worked out in test_attention_by_hand.py."""
    net = ImageTransformer((2, HEIGHT, WIDTH), 3, width=8, depth=1, heads=2, local=4).eval()
    w, x = weights(net), torch.randint(3, (2, HEIGHT, WIDTH))

    sites = [(colour, r, c) for r, c in PIXELS for colour in range(2)]
    inputs = [np.zeros(8)]
    for colour, row, column in sites[:-1]:
        index = 3 * colour + int(x[colour, row, column])
        inputs.append(math.sqrt(8) * w["embed.vectors.weight"][index])
    h = net.transformer(torch.from_numpy(np.stack(inputs))[None]).detach().numpy()[0]

    theta = net(x.double()).detach()
    for site, features in zip(sites, h, strict=True):
        by_hand = w["last.weight"] @ features + w["last.bias"]
        np.testing.assert_allclose(theta[site], by_hand, atol=1e-12)

    # Positions: half of the channels for the row, half for the column of a site, in which the
    # colours are neighbours.
    for (colour, row, column), vector in zip(sites, net.transformer.positions(), strict=True):
        angles = [[z, z / 10_000] for z in (row, 2 * column + colour)]
        by_hand = [f(angle) for axis in angles for f in (math.sin, math.cos) for angle in axis]
        np.testing.assert_allclose(vector, by_hand, atol=1e-12)
