"""Where samples lie: the constraints that bounded layers declare, and what stock Pyro makes of them."""

import pyro
import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch.distributions import biject_to
from torch.testing import assert_close

from pyro_exact.transforms import Compose, FixedAffine, Logit, SigmoidToCell

CASES = {
    "Logit": (Logit(1, 0, event_dim=0).inv, 0.0, 1.0),
    "Logit of pixels": (Logit(256, 0.05, event_dim=1).inv, -256 / 18, 256 + 256 / 18),
    "SigmoidToCell": (SigmoidToCell(1), 0.0, 1.0),
    "SigmoidToCell given": (SigmoidToCell(1, (1,)).condition(torch.tensor([3.0])), 3.0, 4.0),
    "Compose": (Compose([FixedAffine(2.0, event_dim=1), Logit(4, 0, event_dim=1).inv]), 0.0, 4.0),
}


def distribution(layer):
    shape = (1,) * layer.domain.event_dim
    return TransformedDistribution(Normal(torch.zeros(shape), 1.0).to_event(len(shape)), [layer])


@pytest.mark.parametrize(("layer", "low", "high"), CASES.values(), ids=list(CASES))
def test_support_is_the_interval(layer, low, high):
    d = distribution(layer)
    inside, outside = (
        torch.full(d.event_shape, (low + high) / 2),
        torch.full(d.event_shape, high + 0.01),
    )
    assert d.support.check(inside)
    assert not d.support.check(outside)
    assert not d.support.check(2 * low - outside)
    assert d.log_prob(inside).isfinite()
    with pytest.raises(ValueError, match="within the support"):
        d.log_prob(outside)

    far = layer(torch.full(d.event_shape, 100.0))  # the end itself, to rounding
    assert d.support.check(far)
    assert d.support.check(biject_to(d.support)(torch.randn(1000, *d.event_shape))).all()


def test_support_of_a_logit_agrees_with_stock_torch():
    stock = TransformedDistribution(
        Normal(0.0, 1.0), [torch.distributions.transforms.SigmoidTransform()]
    )
    ours, x = distribution(Logit(1, 0, event_dim=0).inv), torch.linspace(0.1, 0.9, 9)
    assert_close(ours.log_prob(x), stock.log_prob(x))
    assert ours.support.lower_bound == stock.support.lower_bound
    assert ours.support.upper_bound == stock.support.upper_bound


def model():
    share = pyro.sample("share", distribution(Logit(1, 0, event_dim=0).inv))
    pyro.sample("heads", pyro.distributions.Binomial(20, share), obs=torch.tensor(17.0))


def test_bounded_site_is_learned_by_an_auto_guide():
    pyro.set_rng_seed(0)
    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(30):
        svi.step()
    assert 0.7 < guide.median()["share"] < 0.9  # 17 of 20 heads, and a prior around one half


def test_bounded_site_is_sampled_by_nuts():
    pyro.set_rng_seed(0)
    mcmc = MCMC(NUTS(model), num_samples=20, warmup_steps=20, disable_progbar=True)
    mcmc.run()
    assert 0.7 < mcmc.get_samples()["share"].mean() < 0.9
