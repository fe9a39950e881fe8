"""Multiscale PixelCNN: groups, scales, the distribution of the small image, and bad input."""

import pytest
import torch
from helpers.causal_nets import every, log_p_of_every, log_p_of_sites
from helpers.pixel_nets import randomised
from registry import net
from torch.testing import assert_close

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    Autoregressive,
    CausalNet,
    GatedPixelCNN,
    MultiscalePixelCNN,
    multiscale_pixel_cnn,
)
from pyro_exact.autoregressive.multiscale_pixel_cnn.cells import interleave, pixels_at
from pyro_exact.likelihoods import DiscretizedLogisticMixture, GaussianLikelihood
from pyro_exact.testing import check_causal_net

pytestmark = pytest.mark.usefixtures("double")

TINY = {"width": 4, "depth": 1, "head_width": 12}
TINY_BASE = {"base_width": 4, "base_depth": 1, "base_head_width": 4}


def two_scales(shared=False):
    base = NADE((1, 1, 2), 3)
    return randomised(MultiscalePixelCNN((1, 4, 8), base, **TINY, shared=shared), 0)


def steps_of(each):
    return [each.orders[0][each.group(index)] for index in range(each.num_steps)]


def test_multiscale_pixel_cnn_takes_the_steps_of_the_base_and_three_passes_for_each_scale():
    for side, steps in [(8, 16 + 3), (32, 16 + 9), (64, 16 + 12)]:
        scales = (side // 4).bit_length() - 1
        tiny = multiscale_pixel_cnn((1, side, side), 2, scales, **TINY, **TINY_BASE)
        assert tiny.num_steps == steps
        assert [len(sites) for sites in steps_of(tiny)[16:19]] == [16] * 3

    d = Autoregressive(two_scales())
    d.sample((2,))
    assert d.passes == 2 + 6


def test_multiscale_pixel_cnn_runs_a_network_once_for_all_colours_of_a_group():
    mine = randomised(MultiscalePixelCNN((3, 2, 2), MADE((3, 1, 1), (9,)), **TINY), 0)
    assert mine.num_steps == 3 + 3 * 3
    calls = []
    for each in mine.group_nets:
        each.first.register_forward_hook(lambda *_: calls.append(1))
    Autoregressive(mine).sample()
    assert len(calls) == 3


@pytest.mark.parametrize(
    "name", ["MultiscalePixelCNN", "MultiscalePixelCNN colours conditional", "two scales"]
)
def test_multiscale_pixel_cnn_groups_see_all_earlier_groups_and_not_themselves(name):
    mine = two_scales() if name == "two scales" else net(name)
    context = None if mine.context_shape is None else torch.randn(8, *mine.context_shape)
    x = torch.randint(2, (8, *mine.event_shape)).double()
    theta = mine(x, context).flatten(1, -2)

    seen = 0
    for sites in steps_of(mine):
        seen += len(sites)
        moved = mine.to_sites(x).clone()
        moved[:, sites] = 1 - moved[:, sites]
        after = mine(mine.from_sites(moved), context).flatten(1, -2)
        earlier, later = mine.orders[0][:seen], mine.orders[0][seen:]
        assert torch.equal(after[:, earlier], theta[:, earlier])
        assert (after[:, later] != theta[:, later]).any(0).all()


def test_multiscale_pixel_cnn_whole_passes_settle_a_group_each():
    class Whole(MultiscalePixelCNN):
        incremental = False
        step = CausalNet.step

    whole = Whole((1, 4, 8), NADE((1, 1, 2), 3), **TINY)
    whole.load_state_dict(two_scales().state_dict())
    samples = []
    for each in (whole, two_scales()):
        torch.manual_seed(1)
        d = Autoregressive(each)
        samples.append(d.sample((50,)))
        assert d.passes <= each.num_steps + 1  # the last pass finds no change
    assert torch.equal(*samples)


@torch.no_grad()
def test_multiscale_pixel_cnn_small_image_has_the_distribution_of_the_base():
    mine = net("MultiscalePixelCNN")
    p = log_p_of_every(Autoregressive(mine)).exp()
    assert_close(p.sum(), torch.ones(()), rtol=0, atol=1e-12)

    bits = every(mine)[..., ::2, ::2].flatten(1).long()
    small = (bits * 2 ** torch.arange(4)).sum(-1)
    marginal = torch.zeros(16).index_add(0, small, p)
    assert_close(marginal, log_p_of_every(Autoregressive(mine.base)).exp())


def test_multiscale_pixel_cnn_losses_of_scales_add_to_log_prob():
    """Two scales are one scale over a network of one scale."""
    both = two_scales()
    lower = MultiscalePixelCNN((1, 2, 4), both.base, **TINY)
    nested = MultiscalePixelCNN((1, 4, 8), lower, **TINY)
    for mine, nets in [(lower, both.group_nets[:3]), (nested, both.group_nets[3:])]:
        mine.group_nets.load_state_dict(nets.state_dict())

    x = torch.randint(2, (5, 1, 4, 8)).double()
    expected = Autoregressive(both).log_prob(x)
    assert_close(Autoregressive(nested).log_prob(x), expected)

    small = x[..., ::2, ::2]
    of_sites = log_p_of_sites(both, both(x), x)
    known = torch.zeros(4, 8, dtype=torch.bool)
    known[::2, ::2] = True
    assert_close(Autoregressive(lower).log_prob(small), of_sites[..., known].sum((1, 2)))

    samples = []
    for mine in (both, nested):
        torch.manual_seed(0)
        samples.append(Autoregressive(mine).sample((20,)))
    assert torch.equal(*samples)


def test_multiscale_pixel_cnn_of_shared_networks_obeys_the_laws():
    shared, own = two_scales(shared=True), two_scales()
    assert len(shared.group_nets) == 3
    assert len(own.group_nets) == 6
    check_causal_net(shared)

    # The scale is an input.
    x = torch.randint(2, (1, 4, 8)).double()
    before = shared(x)
    with torch.no_grad():
        shared.group_nets[0].scale_bias[1] += 1
    changed = (shared(x) != before).flatten(0, -2).any(-1)
    first = shared.group(2 + 3)
    assert torch.equal(changed.nonzero().flatten(), shared.orders[0][first].sort().values)


def test_multiscale_pixel_cnn_predicts_real_images():
    base = GatedPixelCNN((2, 2, 2), None, 4, 1, head_width=4, likelihood=GaussianLikelihood(2))
    check_causal_net(MultiscalePixelCNN((2, 4, 4), base, **TINY), std=0.1)


def test_multiscale_pixel_cnn_draws_high_resolutions_of_a_small_image():
    d = Autoregressive(net("MultiscalePixelCNN"))
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[::2, ::2] = True
    small = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    observed = torch.full((4, 4), torch.nan)
    observed[::2, ::2] = small
    x = d.sample((50,), observed=observed[None], mask=mask[None])
    assert torch.equal(x[..., ::2, ::2], small.expand(50, 1, 2, 2))
    assert len(x.unique(dim=0)) > 10


def test_cells_are_those_of_the_image():
    image = torch.arange(2 * 4 * 6.0).view(1, 2, 4, 6)
    parts = [pixels_at(image, place) for place in range(4)]
    assert torch.equal(interleave([part[..., None] for part in parts])[..., 0], image)
    cell = [part[0, 0, 0, 0].item() for part in parts]
    assert cell == [0, 1, 6, 7]


@pytest.mark.parametrize("components", [None, 2])
def test_multiscale_pixel_cnn_starts_at_the_marginal_distribution(components):
    mine = multiscale_pixel_cnn((2, 4, 4), 3, 1, components=components, **TINY, **TINY_BASE)
    for each in mine.group_nets:
        torch.nn.init.zeros_(each.last.weight)
    x = torch.randint(3, (40, 2, 4, 4))
    mine.initialize(x)
    pixels = x.double().movedim(1, -1).flatten(0, -2)
    expected = mine.likelihood.marginal(pixels)
    theta = mine(x)[..., 1, 1, :]  # (N, C or nothing, params)
    assert_close(theta, expected.expand_as(theta))


def test_multiscale_pixel_cnn_builder_makes_whole_pixels():
    mine = multiscale_pixel_cnn((3, 4, 4), 8, 1, components=2, context_dim=2, **TINY, **TINY_BASE)
    assert mine.grid == (4, 4)
    assert isinstance(mine.likelihood, DiscretizedLogisticMixture)
    assert mine.context_shape == (2,)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: multiscale_pixel_cnn((1, 28, 28), 2),
            r"divides, 8 for scales=3; got \(28, 28\)\. Use at most 2 scales",
        ),
        (
            lambda: multiscale_pixel_cnn((1, 27, 28), 2),
            r"got \(27, 28\)\. Pad the images to even sides, for example \(28, 28\)",
        ),
        (lambda: multiscale_pixel_cnn((1, 8, 8), 2, scales=0), r"expects scales from 1 to 24"),
        (lambda: multiscale_pixel_cnn((1, 8, 8), 1), r"expects levels from 2"),
        (
            lambda: MultiscalePixelCNN((1, 6, 6), NADE((1, 2, 2), 2)),
            r"\(1, 4, 4\), \(1, 8, 8\), \(1, 16, 16\), \.\.\.; got \(1, 6, 6\) and a base of",
        ),
        (lambda: MultiscalePixelCNN((1, 2, 2), NADE((1, 2, 2), 2)), "doubled once or more"),
        (lambda: MultiscalePixelCNN((1, 4, 8), NADE((1, 2, 2), 2)), "doubled once or more"),
        (lambda: MultiscalePixelCNN((1, 1, 1), NADE((1, 2, 2), 2)), "doubled once or more"),
        (lambda: MultiscalePixelCNN((3, 4, 4), NADE((1, 2, 2), 2)), r"\(1, 4, 4\).*; got \(3, 4"),
        (lambda: MultiscalePixelCNN((1, 4, 4), NADE(4, 2)), r"base of images \(C, h, w\); got"),
        (lambda: MultiscalePixelCNN((4, 4), NADE((1, 2, 2), 2)), "3 sizes in shape"),
        (
            lambda: MultiscalePixelCNN(
                (1, 4, 4), GatedPixelCNN((1, 2, 2), 2, 2, 0, context_shape=(1, 2, 2))
            ),
            r"context is a vector; got a context of shape \(1, 2, 2\)",
        ),
        (lambda: MultiscalePixelCNN((1, 4, 4), NADE((1, 2, 2), 2), kernel_size=2), "odd"),
        (lambda: MultiscalePixelCNN((1, 4, 4), NADE((1, 2, 2), 2), width=0), "expects width"),
        (
            lambda: MultiscalePixelCNN((1, 4, 4), NADE((1, 2, 2), 2), 4)(torch.zeros(1, 4, 5)),
            r"shape \(\*batch, 1, 4, 4\); got \(1, 4, 5\)",
        ),
    ],
)
def test_multiscale_pixel_cnn_refuses_what_does_not_fit(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_multiscale_pixel_cnn_refuses_a_base_that_is_no_network():
    with pytest.raises(TypeError, match=r"base that is a CausalNet.*; got int"):
        MultiscalePixelCNN((1, 4, 4), 4)
