"""Flows whose weights are random variables."""

import pyro
import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_

from pyro_exact import flows

BUILDERS = {
    "maf": lambda: flows.maf(3, layers=2),
    "iaf": lambda: flows.iaf(3, layers=2),
    "real_nvp": lambda: flows.real_nvp(3, layers=2),
    "spline_coupling": lambda: flows.spline_coupling(3, layers=2),
    "planar": lambda: flows.planar(3, layers=2),
}

every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def normal(dim):
    return Normal(torch.zeros(dim), torch.ones(dim)).to_event(1)


def with_random_weights(layer):
    to_pyro_module_(layer)
    for module in layer.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            prior = Normal(value.detach(), 0.1).expand(value.shape).to_event(value.dim())
            setattr(module, name, PyroSample(prior))
    return layer


class Bayesian(PyroModule):
    """A density whose weights have priors."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x):
        d = TransformedDistribution(normal(3), [self.flow.inv])
        log_prob = d.log_prob(x)  # draws the weights, once for all data
        with pyro.plate("data", len(x)):
            pyro.factor("x", log_prob)


@every_builder
def test_flows_with_random_weights_are_fitted_by_svi(build):
    model = Bayesian(with_random_weights(build()))
    x = 2 + 0.5 * torch.randn(50, 3)
    guide = AutoDiagonalNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_flows_with_random_weights_forget_them_after_the_call():
    model = Bayesian(with_random_weights(flows.maf(3, layers=1)))
    with pytest.raises(
        ValueError, match=r"its weights are random variables; got a call outside. Score there, with"
    ):
        model.flow(torch.randn(4, 3))


def test_flows_with_random_weights_never_answer_from_memory():
    model = Bayesian(with_random_weights(flows.maf(3, layers=1)))
    y = None

    class Draws(PyroModule):
        def __init__(self, flow):
            super().__init__()
            self.flow = flow

        def forward(self, x):
            return self.flow(x), self.flow.inv(x)

    draws, x = Draws(model.flow), torch.randn(4, 3)
    y, _ = draws(x)
    _, back = draws(y)
    assert not torch.allclose(back, x)  # the weights have been drawn anew
