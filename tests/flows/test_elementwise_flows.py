"""Flows of elementwise formulas: mass, stock distributions, initialisation."""

import pytest
import torch
from pyro.distributions import (
    ConditionalTransformedDistribution,
    Normal,
    TransformedDistribution,
)
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.transforms import (
    Affine,
    MixtureCDF,
)

pytestmark = pytest.mark.usefixtures("double")

both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])


def perturb(module, std=0.5):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def on_line(dim, context_dim=None):
    """Flows on vectors, from data to noise."""
    return {
        "maf": flows.maf(dim, 2, (6,), context_dim),
        "maf mixture": flows.maf(dim, 2, (6,), context_dim, MixtureCDF(4)),
        "iaf": flows.iaf(dim, 2, (6,), context_dim).inv,
        "real_nvp": flows.real_nvp(dim, 3, (6,), context_dim),
        "spline_coupling": flows.spline_coupling(
            dim, 3, bound=3.0, hidden_dims=(6,), context_dim=context_dim
        ),
        "couplings": flows.couplings(dim, MixtureCDF(4), 2, (6,), context_dim),
        "nice": flows.nice(dim, 3, (6,), context_dim),
    }


@both
@pytest.mark.parametrize("name", on_line(1))
def test_flows_on_the_line_integrate_to_one(name, context_dim):
    flow = Flow(StandardNormal(1), perturb(on_line(1, context_dim)[name], 0.3).inv)
    d = flow() if context_dim is None else flow.condition(torch.randn(context_dim))
    with torch.no_grad():
        # Images of an even grid of noise: they are dense where the density is high.
        x = d.transforms[0](torch.linspace(-9, 9, 240_001).unsqueeze(-1)).sort(dim=0).values
        mass = torch.trapezoid(d.log_prob(x).exp(), x.squeeze(-1))
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-5)


@both
@pytest.mark.parametrize("name", on_line(2))
def test_flows_on_the_plane_integrate_to_one(name, context_dim):
    flow = Flow(StandardNormal(2), perturb(on_line(2, context_dim)[name], 0.15).inv)
    d = flow() if context_dim is None else flow.condition(torch.randn(context_dim))
    line = torch.linspace(-9, 9, 361)
    with torch.no_grad():
        density = d.log_prob(torch.cartesian_prod(line, line)).exp().view(361, 361)
        mass = torch.trapezoid(torch.trapezoid(density, line), line)
    assert_close(mass, torch.tensor(1.0), rtol=0, atol=1e-3)


@both
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("name", on_line(1))
def test_flows_serve_stock_distributions(name, dim, context_dim):
    flow = perturb(on_line(dim, context_dim)[name], 0.2)
    base = Normal(torch.zeros(dim), 1.0).to_event(1)
    if context_dim is None:
        d = TransformedDistribution(base, [flow.inv])
    else:
        d = ConditionalTransformedDistribution(base, [flow.inv]).condition(
            torch.randn(4, context_dim)
        )
    x = d.rsample((5,))
    assert x.shape == ((5, dim) if context_dim is None else (5, 4, dim))
    d.log_prob(x.detach()).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in flow.parameters())


@pytest.mark.parametrize("name", ["iaf", "maf", "nice", "real_nvp", "spline_coupling"])
def test_flows_start_as_the_identity(name):
    x = torch.randn(5, 3)
    y, ladj = on_line(3)[name].forward_and_ladj(x)
    assert_close((y, ladj), (x, torch.zeros(5)))


@pytest.mark.parametrize(
    "build",
    [
        lambda formula: flows.maf(2, 3, elementwise=formula),
        lambda formula: flows.iaf(2, 3, elementwise=formula),
        lambda formula: flows.couplings(2, formula, 3),
    ],
    ids=["maf", "iaf", "couplings"],
)
def test_flows_learn_a_formula_for_each_layer(build):
    given = Affine("learned")
    flow = perturb(build(given))
    multiples = [module.multiple for module in flow.modules() if isinstance(module, Affine)]
    assert len({*map(id, multiples), id(given.multiple)}) == 4
    assert len({multiple.item() for multiple in multiples}) == 3


@pytest.mark.parametrize("name", ["maf", "real_nvp", "spline_coupling", "couplings", "nice"])
def test_flows_are_initialised_from_data(name):
    x = 5 + 3 * torch.randn(1000, 2)
    flow = on_line(2)[name]
    assert_close(flow.initialize(x), flow.forward_and_ladj(x)[0])
    y = flow.forward_and_ladj(x)[0]
    assert y.mean(0).abs().max() < 0.1
    assert (y.std(0) - 1).abs().max() < 0.2
