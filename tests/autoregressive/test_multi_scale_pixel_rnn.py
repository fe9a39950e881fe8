"""Multi-Scale PixelRNN: the small image, pixels that are known, any networks, and bad input."""

import pytest
import torch
from helpers.causal_nets import every, log_p_of_every
from helpers.pixel_nets import randomised
from registry import net
from torch import nn
from torch.testing import assert_close

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    Autoregressive,
    CausalNet,
    GatedPixelCNN,
    MultiScalePixelRNN,
    RowLSTM,
    multi_scale_pixel_rnn,
)
from pyro_exact.autoregressive.multi_scale_pixel_rnn.upsampler import Upsampler
from pyro_exact.likelihoods import BernoulliLikelihood, DiscretizedLogisticMixture
from pyro_exact.testing import check_causal_net

pytestmark = pytest.mark.usefixtures("double")

TINY = {"width": 3, "depth": 1, "head_width": 4}


class Halves(CausalNet):
    """Bits of an image in two groups, the upper and the lower half, given a map."""

    def __init__(self, shape):
        super().__init__(shape, BernoulliLikelihood(), shape)
        self.first = nn.Parameter(torch.randn(()))
        self.second = nn.Parameter(torch.randn(()))

    @property
    def orders(self):
        return torch.arange(self.sites)[None]

    @property
    def num_steps(self):
        return 2

    def group(self, index):
        half = self.sites // 2
        return slice(index * half, (index + 1) * half)

    def forward(self, x, context=None, member=0):
        x = self.check_input(x)
        upper = x[..., : x.shape[-2] // 2, :]
        shift = self.second * upper.sum((-3, -2, -1))[..., None, None, None]
        lower = torch.arange(x.shape[-2])[:, None] >= x.shape[-2] // 2
        return (self.first * context + shift * lower).unsqueeze(-1)


def of_groups(factor=2):
    return MultiScalePixelRNN(MADE((1, 2, 1), (5,)), Halves((1, 2 * factor, factor)))


@pytest.mark.parametrize("factor", [2, 3])
def test_multi_scale_pixel_rnn_takes_a_large_network_whose_steps_predict_groups(factor):
    mine = of_groups(factor)
    check_causal_net(mine)
    sizes = [len(range(mine.sites)[mine.group(index)]) for index in range(mine.num_steps)]
    assert sizes == [1, 1, factor**2 - 1, factor**2 - 1]


def test_multi_scale_pixel_rnn_predicts_each_pixel_once():
    """The small image first, then all other pixels row by row."""
    mine = MultiScalePixelRNN(NADE((1, 2, 2), 3), large())
    small = [0, 2, 8, 10]
    rest = [site for site in range(16) if site not in small]
    assert mine.orders[0].tolist() == small + rest
    assert mine.num_steps == 16


@torch.no_grad()
def test_multi_scale_pixel_rnn_small_image_has_the_distribution_of_the_base():
    mine = net("MultiScalePixelRNN")
    p = log_p_of_every(Autoregressive(mine)).exp()
    assert_close(p.sum(), torch.ones(()), rtol=0, atol=1e-12)
    bits = every(mine)[..., ::2, ::2].flatten(1).long()
    small = (bits * 2 ** torch.arange(4)).sum(-1)
    marginal = torch.zeros(16).index_add(0, small, p)
    assert_close(marginal, log_p_of_every(Autoregressive(mine.base)).exp())


def test_multi_scale_pixel_rnn_is_the_product_of_both_networks_without_known_pixels():
    mine = net("MultiScalePixelRNN")
    x = torch.randint(2, (5, 1, 4, 4)).double()
    small = x[..., ::2, ::2]
    theta = mine.large(x, mine.upsampler(2 * small - 1))
    of_pixels = mine.likelihood.log_prob(theta, x)
    known = mine.smallest_mask()
    expected = Autoregressive(mine.base).log_prob(small) + of_pixels[..., ~known].sum((1, 2))
    assert_close(Autoregressive(mine).log_prob(x), expected)


def test_multi_scale_pixel_rnn_pixels_see_the_whole_small_image():
    mine = net("MultiScalePixelRNN")
    x = torch.randint(2, (8, 1, 4, 4)).double()
    moved = x.clone()
    moved[..., 2, 2] = 1 - moved[..., 2, 2]
    changed = (mine(moved) != mine(x)).any(0).flatten()
    known = mine.smallest_mask().flatten()
    assert changed[~known].all()
    assert not changed[known].any()  # it is the last of the small image


def test_multi_scale_pixel_rnn_draws_large_images_of_a_small_one():
    mine = net("MultiScalePixelRNN")
    mask = mine.smallest_mask().expand(1, 4, 4)
    small = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    observed = torch.zeros(1, 4, 4)
    observed[..., ::2, ::2] = small
    x = Autoregressive(mine).sample((50,), observed=observed, mask=mask)
    assert torch.equal(x[..., ::2, ::2], small.expand(50, 1, 2, 2))
    assert len(x.unique(dim=0)) > 10


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_upsampler_gives_maps_of_the_size_of_the_image(factor):
    enlarge = randomised(Upsampler(1, factor, 2), 0)
    small = torch.randn(1, 1, 3, 2)
    assert enlarge(small).shape == (1, 2, 3 * factor, 2 * factor)


@pytest.mark.parametrize("layers", ["diagonal_bilstm", "row_lstm"])
def test_multi_scale_pixel_rnn_builder_makes_both_networks(layers):
    sizes = {"width": 3, "depth": 1, "head_width": 4, "base_width": 3, "base_depth": 1}
    mine = multi_scale_pixel_rnn((1, 6, 3), 4, 3, layers, base_head_width=4, **sizes)
    assert mine.base.event_shape == (1, 2, 1)
    assert type(mine.base) is type(mine.large)
    x = torch.randint(4, (7, 1, 6, 3))
    mine.initialize(x)
    d = Autoregressive(mine)
    assert d.log_prob(d.sample((2,))).shape == (2,)


def large(shape=(1, 4, 4), levels=2, context=(3, 4, 4), **settings):
    return RowLSTM(shape, levels, **TINY, context_shape=context, **settings)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: MultiScalePixelRNN(NADE((1, 3, 3), 2), large()),
            r"\(1, 6, 6\), \(1, 9, 9\), \(1, 12, 12\), \.\.\.; got \(1, 4, 4\) and a base of",
        ),
        (lambda: MultiScalePixelRNN(NADE((1, 4, 4), 2), large()), "multiplied by the same integer"),
        (lambda: MultiScalePixelRNN(NADE((1, 2, 4), 2), large()), "multiplied by the same integer"),
        (lambda: MultiScalePixelRNN(NADE((1, 2, 2), 2), NADE((1, 4, 4), 2)), "Set context_shape"),
        (
            lambda: MultiScalePixelRNN(NADE((1, 2, 2), 2), large(context=3)),
            r"of shape \(1, 4, 4\) and a context of shape \(3,\)\. Set context_shape",
        ),
        (
            lambda: MultiScalePixelRNN(NADE((1, 2, 2), 2), large(levels=4)),
            "got BernoulliLikelihood of 2 levels and CategoricalLikelihood of 4 levels",
        ),
        (
            lambda: MultiScalePixelRNN(
                NADE((1, 2, 2), 2),
                GatedPixelCNN(
                    (1, 4, 4),
                    2,
                    2,
                    0,
                    context_shape=(1, 4, 4),
                    likelihood=DiscretizedLogisticMixture(1, 2, 1),
                ),
            ),
            "expects the same likelihood",
        ),
        (lambda: multi_scale_pixel_rnn((1, 6, 6), 2, 4), r"factor divides, 4; got \(6, 6\)"),
        (lambda: multi_scale_pixel_rnn((1, 6, 6), 2, 1), "expects factor from 2"),
        (lambda: multi_scale_pixel_rnn((1, 8, 8), 2, 4, "lstm"), "expects layers 'diagonal"),
        (lambda: RowLSTM((1, 4, 4), 2, **TINY, context_shape=(3, 4, 5)), "Resize the map"),
    ],
)
def test_multi_scale_pixel_rnn_refuses_what_does_not_fit(run, message):
    with pytest.raises(ValueError, match=message):
        run()


def test_multi_scale_pixel_rnn_refuses_what_is_no_network():
    with pytest.raises(TypeError, match=r"large network that is a CausalNet.*; got str"):
        MultiScalePixelRNN(NADE((1, 2, 2), 2), "large")
    with pytest.raises(TypeError, match=r"base that is a CausalNet.*; got int"):
        MultiScalePixelRNN(2, large())
