"""Multi-Scale PixelRNN as in the paper: its loss is a bound of two likelihoods."""

import pytest
import torch
from helpers.causal_nets import every
from registry import net
from torch.testing import assert_close

from pyro_exact.autoregressive import (
    Autoregressive,
    DiagonalBiLSTM,
    MultiScalePixelRNN,
    RowLSTM,
)
from pyro_exact.models import RepredictingMultiScale

pytestmark = pytest.mark.usefixtures("double")


@torch.no_grad()
def test_repredicting_multi_scale_loss_is_a_bound_of_its_likelihood_and_of_the_exact_one():
    mine = net("MultiScalePixelRNN")
    model = RepredictingMultiScale(mine)
    x = torch.randint(2, (20, 1, 4, 4)).double()
    bound = model.log_weight(x)

    # log p(x) = log sum_s p(s) p(x | s), over all small images
    small = every(mine.base)
    large = Autoregressive(mine.large, mine.map_of(small, None))
    joint = Autoregressive(mine.base).log_prob(small) + large.log_prob(x[:, None])
    likelihood = joint.logsumexp(-1)
    assert (bound < likelihood).all()

    # The exact density leaves factors of at most 1 out.
    assert (bound < Autoregressive(mine).log_prob(x)).all()

    # The bound is the term of the small image of the data.
    index = (small == x[:, None, :, ::2, ::2]).flatten(2).all(-1)
    assert_close(bound, joint[index])


@torch.no_grad()
def test_repredicting_multi_scale_likelihood_has_mass_one():
    torch.manual_seed(0)
    mine = MultiScalePixelRNN(
        RowLSTM((1, 1, 2), 2, width=4, depth=1, head_width=8),
        DiagonalBiLSTM((1, 2, 4), 2, width=4, depth=1, head_width=8, context_shape=(2, 2, 4)),
    )
    for weight in mine.parameters():
        weight.add_(0.5 * torch.randn_like(weight))

    x, small = every(mine), every(mine.base)
    mass = torch.zeros(())
    for s in small:
        given = Autoregressive(mine.large, mine.map_of(s[None], None)[0])
        p = Autoregressive(mine.base).log_prob(s).exp()
        mass = mass + p * given.log_prob(x).exp().sum()
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-12)


def test_repredicting_multi_scale_draws_images_that_need_not_keep_the_small_one():
    model = RepredictingMultiScale(net("MultiScalePixelRNN"))
    x = model.sample(40)
    assert x.shape == (40, 1, 4, 4)
    assert len(x.unique(dim=0)) > 10


def test_repredicting_multi_scale_refuses_a_context():
    with pytest.raises(ValueError, match=r"without a context; got a context of shape \(2,\)"):
        RepredictingMultiScale(net("MultiScalePixelRNN colours conditional"))
