"""PixelSNAIL: who sees whom through convolutions and attention, the released size, and bad input."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, PixelSNAIL
from pyro_exact.autoregressive.pixel_snail.attention import background, last_pixels
from pyro_exact.likelihoods import BernoulliLikelihood, CategoricalLikelihood

pytestmark = pytest.mark.usefixtures("double")


def snail(shape=(1, 4, 6), levels=3, depth=1, **settings):
    settings = {"width": 6, "resnets": 1, "key_dim": 2, "components": 1, **settings}
    net = PixelSNAIL(shape, levels, depth=depth, **settings).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def seen(net):
    """Return True where a pixel changes the parameters of a pixel, (pixels, pixels)."""
    x = torch.randint(net.levels, net.event_shape).double()
    before = net(x).flatten(0, -2)

    columns = []
    for pixel in range(net.sites):
        values = net.to_sites(x).clone()
        values[pixel] = (values[pixel] + 1) % net.levels
        after = net(net.from_sites(values)).flatten(0, -2)
        columns.append((after != before).any(-1))
    return torch.stack(columns, dim=-1)


def without_attention(net):
    for block in net.blocks:
        torch.nn.init.zeros_(block.merge.side.magnitude)
    return net


def test_pixels_see_all_pixels_before():
    assert torch.equal(seen(snail()), torch.ones(24, 24, dtype=torch.bool).tril(-1))


def test_pixels_to_the_upper_right_are_seen_through_attention_alone():
    net = snail(resnets=2)
    row, column = torch.arange(24) // 6, torch.arange(24) % 6
    upper_right = (row < row[:, None]) & (column >= column[:, None] + 2)
    assert seen(net)[upper_right].all()
    assert not seen(without_attention(net))[upper_right].any()


def test_convolutions_alone_see_what_their_kernels_reach():
    """The first layer sees a pixel to the left and three above, each 2x2 kernel one row and one column more."""
    row, column = torch.arange(24) // 6, torch.arange(24) % 6
    up, left = row[:, None] - row, column[:, None] - column

    reach = 2  # kernels of one gated residual layer
    rule = torch.zeros(24, 24, dtype=torch.bool)
    for more_up in range(reach + 1):
        for more_left in range(reach + 1):
            first_up, first_left = up - more_up, left - more_left
            rule |= (first_left == 1) & ((first_up == 0) | (first_up == 1))
            rule |= (first_up == 1) & (first_left.abs() <= 1)
    inside = (row[:, None] >= row) & rule
    assert torch.equal(seen(without_attention(snail())), inside)


@pytest.mark.parametrize("shape", [(4, 6), (2, 2), (6, 4)])
def test_squares_are_seen_once_all_of_their_pixels_come_before(shape):
    height, width = shape
    last = last_pixels(height, width, 2)
    by_hand = [
        max(r * width + c for r in (2 * i, 2 * i + 1) for c in (2 * j, 2 * j + 1))
        for i in range(height // 2)
        for j in range(width // 2)
    ]
    assert last.tolist() == by_hand


def test_pooled_attention_sees_whole_squares():
    net = snail(pool=2)
    attention = net.blocks[0].attention
    image, features = torch.randn(1, 4, 6, 1), torch.randn(1, 4, 6, 6)
    jacobian = torch.autograd.functional.jacobian(
        lambda image: attention(image, features, None).flatten(0, 2), image
    )
    found = (jacobian != 0).any(1).flatten(1)

    # A pixel of a square is seen only if all of the square is before: maxima hide some others.
    square = torch.arange(24) // 12 * 3 + torch.arange(24) % 6 // 2
    allowed = attention.last_pixel[square] < torch.arange(24)[:, None]
    assert not (found & ~allowed).any()
    seen_squares = torch.stack([found[:, square == s].any(1) for s in range(6)], dim=1)
    assert torch.equal(seen_squares, attention.last_pixel < torch.arange(24)[:, None])


@pytest.mark.parametrize("pool", [1, 2])
def test_first_pixels_have_no_keys_and_stay_finite(pool):
    net = snail(pool=pool)
    attention = net.blocks[0].attention
    image = torch.randn(2, 4, 6, 1, requires_grad=True)
    features = torch.randn(2, 4, 6, 6, requires_grad=True)
    y = attention(image, features, None).flatten(1, 2)
    assert attention.first_seeing == (1 if pool == 1 else 8)
    assert not y[:, : attention.first_seeing].any()

    gradients = torch.autograd.grad(y.square().sum(), [image, features, *attention.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_image_smaller_than_a_square_and_a_row_has_no_attention():
    net = snail((1, 2, 2), pool=2)
    assert net.blocks[0].attention.first_seeing == 4
    assert net(torch.zeros(1, 2, 2)).isfinite().all()


def test_background_is_that_of_the_release():
    coordinates = background(4, 2)
    assert coordinates[:, 0, 0].tolist() == [-0.5, -0.25, 0, 0.25]
    assert coordinates[0, :, 1].tolist() == [-0.5, 0]


def test_initialize_normalises_the_output():
    net = PixelSNAIL(
        (2, 4, 4), 5, width=6, depth=1, resnets=1, key_dim=2, components=1, dropout=0.0
    )
    x = torch.randint(5, (40, 2, 4, 4)).double()
    net.initialize(x)
    theta = net(x).flatten(0, -2)
    assert_close(theta.mean(0), torch.zeros(theta.shape[-1]))
    assert_close(theta.std(0, correction=0), torch.ones(theta.shape[-1]))


def test_context_changes_every_pixel():
    net = snail(context_dim=2)
    x = torch.randint(3, (1, 4, 6)).double()
    changed = net(x, torch.tensor([1.0, 0.0])) != net(x, torch.tensor([0.0, 1.0]))
    assert changed.any(-1).all()


def test_bits_have_a_bernoulli_likelihood():
    assert isinstance(snail(levels=2).likelihood, BernoulliLikelihood)


def layer(inputs, outputs, kernel=1):
    """Weights of a layer with weight normalisation: directions, magnitudes and biases."""
    return kernel * inputs * outputs + 2 * outputs


def residual(width, kernel=1, side=None):
    extra = 0 if side is None else layer(side, width)
    return layer(width, width, kernel) + layer(width, 2 * width, kernel) + extra


def test_default_settings_have_the_released_size():
    width, content, query = 256, 3 + 256 + 2, 256 + 2
    block = 4 * residual(width, kernel=4)
    block += residual(content) + layer(content, 16 + 128)
    block += residual(query) + layer(query, 16)
    block += residual(width, side=128)
    first = layer(4, width, kernel=3) + layer(4, width, kernel=2)
    released = first + 12 * block + layer(width, 100)

    with torch.device("meta"):
        net = PixelSNAIL((3, 32, 32))
    assert sum(p.numel() for p in net.parameters()) == released
    assert round(released / 1e6) == 46


def test_sample_takes_one_step_a_pixel():
    net = snail((3, 2, 3))
    d = Autoregressive(net)
    x = d.sample((3,))
    assert d.log_prob(x).shape == (3,)
    assert d.passes == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": 4}, "squares that divide the image; got pool=4"),
        ({"shape": (16,)}, "3 sizes in shape"),
        ({"levels": 1}, "levels from 2"),
        ({"depth": 0}, "depth from 1"),
        ({"dropout": 1.0}, "dropout as a fraction"),
        ({"likelihood": CategoricalLikelihood(4)}, "whole pixels of 1 channels and 3 levels"),
        (
            {"shape": (2, 4, 6), "likelihood": CategoricalLikelihood(3)},
            "whole pixels of 2 channels",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    arguments = {"shape": (1, 4, 6), "levels": 3, "width": 6, "depth": 1, **settings}
    with pytest.raises(ValueError, match=message):
        PixelSNAIL(**arguments)


def test_context_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"context of shape \(\*batch, 2\); got \(3,\)"):
        snail(context_dim=2)(torch.zeros(1, 4, 6), torch.zeros(3))
