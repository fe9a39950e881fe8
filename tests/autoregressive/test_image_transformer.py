"""Image Transformer: the order of the sites, who sees whom, sizes of the official settings, and bad input."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, ImageTransformer
from pyro_exact.autoregressive.image_transformer.site_order import site_order
from pyro_exact.likelihoods import CategoricalLikelihood

pytestmark = pytest.mark.usefixtures("double")


def mixture(components):
    return {"name": "discretized_logistic_mixture", "components": components}


def transformer(shape=(2, 4, 4), levels=3, depth=1, **settings):
    net = ImageTransformer(shape, levels, width=8, depth=depth, heads=2, **settings).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def seen(net):
    """Return True where a site changes the parameters of a site, in the order of the sites, (sites, sites)."""
    order = net.orders[0]
    x = torch.randint(net.levels, net.event_shape).double()
    before = net(x).flatten(0, -2)[order]

    columns = []
    for site in order:
        values = net.to_sites(x).clone()
        values[site] = (values[site] + 1) % net.levels
        after = net(net.from_sites(values)).flatten(0, -2)[order]
        columns.append((after != before).any(-1))
    return torch.stack(columns, dim=-1)


@pytest.mark.parametrize(
    "settings",
    [
        {"local": 5},
        {"local": 8},
        {"local": 32},
        {"block_shape": (2, 2)},
        {"block_shape": (1, 4), "positions": "learned"},
        {"local": 4, "likelihood": mixture(1)},
    ],
)
def test_receptive_field_is_the_rule_of_the_blocks(settings):
    net = transformer(**settings)
    block = torch.arange(net.sites) // net.transformer.local
    position = torch.arange(net.sites)
    inputs = (position <= position[:, None]) & (block >= block[:, None] - 1)
    # The input of a position is the site before it.
    rule = torch.nn.functional.pad(inputs[:, 1:], (0, 1))
    assert torch.equal(seen(net), rule)


def test_blocks_are_rectangles_row_by_row():
    pixels = [0, 1, 4, 5, 2, 3, 6, 7]
    assert site_order(1, 2, 4, (2, 2)).tolist() == pixels
    assert site_order(2, 2, 4, (2, 2)).tolist() == [
        pixel + 8 * colour for pixel in pixels for colour in range(2)
    ]
    assert site_order(3, 2, 2, (2, 2)).view(4, 3)[0].tolist() == [0, 4, 8]


@pytest.mark.parametrize("block_shape", [(2, 2), (4, 1), (1, 2), (4, 4)])
def test_order_is_a_permutation(block_shape):
    assert site_order(3, 4, 4, block_shape).sort().values.tolist() == list(range(48))


def test_rectangles_are_the_blocks_of_attention():
    assert transformer(block_shape=(2, 2)).transformer.local == 2 * 2 * 2


def test_rectangles_leave_a_site_the_features_of_its_place():
    kinds = [transformer(block_shape=shape) for shape in ((2, 2), (4, 4))]
    tables = []
    for net in kinds:
        by_site = torch.empty(net.sites, 8)
        tables.append(by_site.index_copy(0, net.order, net.transformer.positions()))
    assert_close(*tables)


def test_first_site_is_constant():
    net = transformer()
    first = net(torch.randint(3, (5, 2, 4, 4)).double())[:, 0, 0, 0]
    assert_close(first, first[:1].expand_as(first))


def test_initialize_sets_the_marginal_distribution():
    net = ImageTransformer((1, 4, 4), 3, width=8, depth=1, heads=2)
    x = torch.randint(3, (50, 1, 4, 4)).double()
    net.initialize(x)
    frequencies = torch.stack([(x == level).double().mean() for level in range(3)])
    assert_close(net.last.bias.softmax(-1), frequencies, atol=1e-2, rtol=0)


def test_context_changes_every_site():
    net = transformer(context_dim=2)
    x = torch.randint(3, (2, 4, 4)).double()
    changed = net(x, torch.tensor([1.0, 0.0])) != net(x, torch.tensor([0.0, 1.0]))
    assert changed.any(-1).all()


def test_float32_and_float64_agree():
    net = transformer(local=8)
    x = torch.randint(3, (5, 2, 4, 4)).double()
    assert_close(net.float()(x.float()), net.double()(x).float(), rtol=1e-3, atol=1e-4)


def dense(inputs, outputs, bias=True):
    return inputs * outputs + outputs * bias


def blocks(depth, width, inner, hidden):
    """Weights of blocks: four projections without biases, two dense layers, and two norms."""
    attention = 3 * dense(width, inner, bias=False) + dense(inner, width, bias=False)
    return depth * (attention + dense(width, hidden) + dense(hidden, width) + 4 * width)


def test_official_settings_have_the_official_sizes():
    with torch.device("meta"):
        categorical = ImageTransformer((3, 32, 32), dense_width=2048, local=256)
        whole_pixels = ImageTransformer(
            (3, 32, 32),
            width=256,
            heads=8,
            head_dim=64,
            dense_width=512,
            local=256,
            positions="learned",
            likelihood=mixture(10),
        )
    expected = blocks(12, 512, 512, 2048) + 768 * 512 + dense(512, 256)
    assert sum(p.numel() for p in categorical.parameters()) == expected

    tables = 2 * 32 * 256
    expected = blocks(12, 256, 512, 512) + dense(3, 256) + dense(256, 100) + tables
    assert sum(p.numel() for p in whole_pixels.parameters()) == expected


def test_sample_takes_one_step_a_site():
    net = transformer((1, 4, 4), 2, local=8)
    d = Autoregressive(net)
    x = d.sample((3,))
    assert d.log_prob(x).shape == (3,)
    assert d.passes == net.sites


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_shape": (3, 2)}, r"blocks that divide the image; got blocks \(3, 2\)"),
        ({"local": 33}, "blocks of at most the 32 positions"),
        ({"heads": 3}, "multiple of heads"),
        ({"shape": (16,)}, "3 sizes in shape"),
        ({"levels": 1}, "levels from 2"),
        ({"context_dim": 0}, "context_dim from 1"),
        ({"likelihood": mixture(0)}, "components from 1"),
        ({"likelihood": CategoricalLikelihood(4)}, "levels=3 .* integers from 0 to 3"),
        ({"likelihood": "gaussian"}, "expects the levels of the likelihood"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    arguments = {"shape": (2, 4, 4), "levels": 3, "width": 8, "depth": 1, "heads": 2, **settings}
    with pytest.raises(ValueError, match=message):
        ImageTransformer(**arguments)


def test_context_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"context of shape \(\*batch, 2\); got \(3,\)"):
        transformer(context_dim=2)(torch.zeros(2, 4, 4), torch.zeros(3))
