"""PixelCNN and Gated PixelCNN: what each number of an image depends on, and what they refuse."""

import pytest
import torch
from helpers.pixel_nets import dependence, randomised
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN, PixelCNN
from pyro_exact.likelihoods import DiscretizedLogisticMixture
from pyro_exact.models import Density

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 3, 4)], ids=str)
def test_gated_pixel_cnn_sees_every_element_before_and_no_other(shape, train):
    found = dependence(
        lambda: GatedPixelCNN(shape, 4, width=6, depth=3, head_width=24), train=train
    )
    assert torch.equal(found, torch.ones_like(found).tril(-1))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_pixel_cnn_sees_colours_before_and_no_other(train):
    found = dependence(lambda: PixelCNN((3, 3, 4), 4, width=6, depth=2, head_width=24), train=train)
    assert torch.equal(found, torch.ones_like(found).tril(-1))


def test_pixel_cnn_blind_spot_is_a_wedge_on_the_right():
    height, width = 6, 9
    found = dependence(lambda: PixelCNN((1, height, width), 2, width=6, depth=6, head_width=12))
    row, column = (
        places.flatten()
        for places in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    up, right = row[:, None] - row, column - column[:, None]
    seen = ((up == 0) & (right < 0)) | (
        (up > 0) & (right <= 2 + up)
    )  # 3 columns at first, then one for each row
    assert torch.equal(found, seen)


@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
def test_pixel_cnn_steps_in_float32_are_close_to_whole_passes(kind):
    net = kind((1, 9, 9), 256).float()
    x = torch.randint(256, (2, 1, 9, 9)).float()
    theta, state, previous = net(x).flatten(1, -2), net.init_state((2,)), None
    for site in range(net.sites):
        logits, state = net.step(state, previous)
        assert_close(logits.squeeze(1), theta[:, site], rtol=1e-4, atol=1e-4)
        previous = x.flatten(1)[:, [site]]


@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
@pytest.mark.parametrize("levels", [2, 5])
def test_pixel_cnn_initialize_gives_each_colour_its_marginal_distribution(kind, levels):
    net = kind((3, 4, 4), levels, width=6, head_width=6)
    x = (torch.rand(200, 3, 4, 4) * torch.tensor([2.0, levels, 1.0])[:, None, None]).floor()
    net.initialize(x)
    torch.nn.init.zeros_(net.last.weight)
    expected = (x[..., None] == torch.arange(levels)).double().mean((0, 2, 3))
    values = torch.arange(levels).double()
    theta = net(x)[0, :, 0, 0]
    p = torch.stack(
        [net.likelihood.log_prob(theta, value.expand(3)).exp() for value in values], dim=-1
    )
    assert_close(p, expected, rtol=0, atol=1e-3)


def test_gated_pixel_cnn_context_map_acts_where_it_is():
    net = randomised(
        GatedPixelCNN((1, 4, 4), 2, width=4, depth=1, head_width=4, context_shape=(1, 4, 4)), 0
    )
    x, context = torch.randint(2, (1, 1, 4, 4)).double(), torch.zeros(1, 1, 4, 4)
    moved = context.clone()
    moved[..., 2, 1] = 1
    changed = (net(x, moved) != net(x, context)).squeeze()
    assert not changed[:2].any()
    assert not changed[2, 0]
    assert changed[2, 1]


def test_gated_pixel_cnn_is_conditioned_on_classes_by_a_vector():
    net = randomised(
        GatedPixelCNN((1, 3, 3), 2, width=4, depth=1, head_width=4, context_shape=3), 0
    )
    model = Density(Autoregressive(net, torch.zeros(3))).eval()
    assert model.classes == 3
    x, label = torch.randint(2, (5, 1, 3, 3)), torch.tensor([0, 2, 1, 2, 0])
    given = model.condition(label)
    assert not given.training
    assert_close(given.log_weight(x), Autoregressive(net, torch.eye(3)[label]).log_prob(x))
    assert given.sample(4).shape == (4, 5, 1, 3, 3)
    with pytest.raises(ValueError, match=r"integer classes from 0 to 2; got 3, and 1 of 1 labels"):
        model.condition(torch.tensor([3]))
    with pytest.raises(ValueError, match="Density expects no labels"):
        Density(Autoregressive(PixelCNN((1, 3, 3), 2))).condition(label)


@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda kind: kind((8, 8)), r"expects a shape \(C, H, W\); got \(8, 8\)"),
        (lambda kind: kind((1, 0, 8)), r"expects each of shape from 1 to \d+; got 0"),
        (lambda kind: kind((1, 8, 8), levels=1), r"expects levels from 2 to \d+; got 1"),
        (lambda kind: kind((3, 8, 8), width=2), "at least 3 channels, one for each colour; got 2"),
        (
            lambda kind: kind((1, 8, 8), 2)(torch.zeros(5, 1, 8, 9)),
            r"expects x of shape \(\*batch, 1, 8, 8\); got \(5, 1, 8, 9\)",
        ),
        (
            lambda kind: Autoregressive(kind((1, 2, 2), 4)).log_prob(torch.full((3, 1, 2, 2), 7)),
            "expects integers from 0 to 3; got 7, and 12 of 12",
        ),
        (
            lambda kind: Autoregressive(kind((1, 2, 2), 4)).log_prob(torch.full((3, 1, 2, 2), 0.5)),
            r"expects integers from 0 to 3; got 0\.5",
        ),
        (
            lambda kind: Autoregressive(kind((1, 2, 2), 4)).sample(
                observed=torch.zeros(1, 2, 2), mask=torch.ones(3, 3, dtype=torch.bool)
            ),
            r"expects mask with a batch shape that broadcasts with the batch shape of observed, \(1, 2, 2\); got \(3, 3\)",
        ),
    ],
)
def test_pixel_cnn_refuses_impossible_settings(kind, run, message):
    with pytest.raises(ValueError, match=message):
        run(kind)


@pytest.mark.parametrize("kind", [PixelCNN, GatedPixelCNN])
def test_pixel_cnn_forward_takes_integers(kind):
    made = kind((1, 4, 4), 4, width=8).double()
    x = torch.randint(4, (2, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(made(x), made(x.double()))


def test_pixel_cnn_has_a_layer_and_a_context_of_the_size_of_the_image():
    with pytest.raises(ValueError, match=r"PixelCNN expects depth from 1 to \d+; got 0"):
        PixelCNN((1, 4, 4), depth=0)
    with pytest.raises(ValueError, match=r"depth from 0 to \d+; got -1"):
        GatedPixelCNN((1, 4, 4), depth=-1)
    with pytest.raises(
        ValueError,
        match=r"a context vector, or a map of shape \(channels, 4, 4\); got .* \(2, 3, 3\)",
    ):
        GatedPixelCNN((1, 4, 4), context_shape=(2, 3, 3))
    with pytest.raises(
        ValueError, match=r"the levels of the likelihood; got levels=256 and .* 0, \.\.\., 3"
    ):
        GatedPixelCNN((3, 4, 4), likelihood=DiscretizedLogisticMixture(3, 4, 2))
    with pytest.raises(ValueError, match="an odd kernel_size; got 4"):
        GatedPixelCNN((1, 4, 4), kernel_size=4)
