"""The laws of every distribution of the registry."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
)
from registry import DISTRIBUTIONS, LIKELIHOODS, flow
from torch.testing import assert_close

from pyro_exact import distributions, likelihoods
from pyro_exact.autoregressive import Autoregressive, DeepNADE
from pyro_exact.distributions import (
    IndependentSites,
    Subset,
    UniformDequantizer,
)
from pyro_exact.likelihoods import BernoulliLikelihood

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=DISTRIBUTIONS.values(), ids=list(DISTRIBUTIONS))
def d(request):
    return request.param()


def test_distributions_of_the_package_are_registered():
    registered = {name.split()[0] for name in DISTRIBUTIONS}
    assert registered == {*distributions.__all__, "Autoregressive"}


def test_likelihoods_of_the_package_are_registered():
    assert {name.split()[0] for name in LIKELIHOODS} == {
        name for name in likelihoods.__all__ if isinstance(getattr(likelihoods, name), type)
    } - {"Likelihood"}


@pytest.mark.parametrize("sample_shape", [(), (5,), (2, 5)], ids=str)
def test_distributions_have_shapes(d, sample_shape):
    x = d.sample(sample_shape)
    assert x.shape == (*sample_shape, *d.batch_shape, *d.event_shape)
    log_prob = d.log_prob(x)
    assert log_prob.shape == (*sample_shape, *d.batch_shape)
    assert log_prob.isfinite().all()


def test_distributions_expand_and_draw_every_row_by_itself(d):
    wide = d.expand((4, *d.batch_shape))
    x = wide.sample()
    assert (wide.batch_shape, wide.event_shape) == ((4, *d.batch_shape), d.event_shape)
    assert x.shape == (4, *d.batch_shape, *d.event_shape)
    assert_close(wide.log_prob(x), d.log_prob(x))
    assert not torch.allclose(x[0], x[1])


def test_distributions_do_not_expand_a_batch_that_would_change(d):
    batch = (2, 1, *d.batch_shape)
    wide = d.expand(batch)
    assert wide.expand((4, *batch)).batch_shape == (4, *batch)
    assert wide.expand((2, 3, *d.batch_shape)).batch_shape == (2, 3, *d.batch_shape)
    for wrong in [(4, 1, *d.batch_shape), d.batch_shape]:
        with pytest.raises((ValueError, RuntimeError)):
            wide.expand(wrong)


SPOILT = {
    "array": lambda x: x.numpy(),
    "list": lambda x: x.tolist(),
    "None": lambda x: None,
    "complex": lambda x: x.to(torch.complex64),
    "no columns": lambda x: x[..., :0],
    "more columns": lambda x: torch.cat((x, x), dim=-1),
}


def test_distributions_refuse_a_value_that_is_no_tensor_of_events(d):
    if isinstance(d, (Independent, LowRankMultivariateNormal, MixtureSameFamily)):
        return  # a stock distribution
    for spoil in SPOILT.values():
        with pytest.raises((TypeError, ValueError)):
            d.log_prob(spoil(d.sample((2,))))


def test_distributions_have_a_repr(d):
    assert type(d).__name__ in repr(d)


def test_distributions_draw_the_rows_of_a_batch_by_themselves():
    d = flow(2).condition(torch.ones(2, 2))
    assert not torch.allclose(*d.sample())


def test_distributions_have_reproducible_samples(d):
    torch.manual_seed(5)
    first = d.sample((3,))
    torch.manual_seed(5)
    assert torch.equal(d.sample((3,)), first)


def test_distributions_serve_as_pyro_sites(d):
    def model(x=None):
        with pyro.plate_stack("rows", d.batch_shape):
            return pyro.sample("x", d, obs=x)

    x = model()
    assert x.shape == d.batch_shape + d.event_shape
    trace = poutine.trace(model).get_trace(x)
    assert_close(trace.log_prob_sum(), d.log_prob(x).sum())


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (
            lambda: Autoregressive(DeepNADE(3, hidden_dims=(2, 2))),
            "Autoregressive(DeepNADE, batch_shape=(), event_shape=(3,))",
        ),
        (
            lambda: DeepNADE(2, hidden_dims=(2, 2)).condition_on(torch.zeros(2, 2), torch.eye(2)),
            "Completion(DeepNADE, batch_shape=(2,), event_shape=(2,))",
        ),
        (lambda: Subset((1, 2), batch=(4,)), "Subset(batch_shape=(4,), event_shape=(1, 2))"),
        (
            lambda: IndependentSites(torch.zeros(5, 2, 1), BernoulliLikelihood(), grid_dim=1),
            "IndependentSites(BernoulliLikelihood, batch_shape=(5,), event_shape=(2,))",
        ),
        (
            lambda: UniformDequantizer(torch.zeros(5, 1, 2, 2)),
            "UniformDequantizer(batch_shape=(5,), event_shape=(1, 2, 2))",
        ),
    ],
    ids=["Autoregressive", "Completion", "Subset", "IndependentSites", "UniformDequantizer"],
)
def test_distributions_show_their_shapes(make, shown):
    assert repr(make()) == shown
