"""Densities of flows under compilation and vmap."""

import pyro
import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import DenseConditioner
from pyro_exact.transforms import (
    Affine,
    Coupling,
    Halves,
)

BUILDERS = {
    "maf": lambda: flows.maf(3, layers=2),
    "iaf": lambda: flows.iaf(3, layers=2),
    "real_nvp": lambda: flows.real_nvp(3, layers=2),
    "spline_coupling": lambda: flows.spline_coupling(3, layers=2),
    "planar": lambda: flows.planar(3, layers=2),
}


@pytest.fixture
def without_validation():
    """Checks of values depend on data, which a compiler cannot trace."""
    pyro.enable_validation(False)
    torch.compiler.reset()


every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def perturb(module, std=0.3):
    for p in module.parameters():
        p.data.add_(std * torch.randn_like(p))
    return module


def normal(dim):
    return Normal(torch.zeros(dim), torch.ones(dim)).to_event(1)


@pytest.mark.usefixtures("without_validation")
@every_builder
def test_flows_have_a_log_prob_that_compiles_into_one_graph(build):
    flow = Flow(StandardNormal(3), perturb(build()).inv)
    x = torch.randn(5, 3)
    compiled = torch.compile(lambda x: flow().log_prob(x), fullgraph=True, backend="eager")
    assert_close(compiled(x), flow().log_prob(x))


@pytest.mark.usefixtures("without_validation")
def test_flows_evaluate_the_network_once_in_a_compiled_score():
    flow = Flow(
        StandardNormal(4), Coupling(Halves(4), Affine(), DenseConditioner(2, 2, 2, (6,))).inv
    )
    operations = []

    def count(graph, _):
        operations.extend(node for node in graph.graph.nodes if "linear" in str(node.target))
        return graph.forward

    torch.compile(lambda x: flow().log_prob(x), fullgraph=True, backend=count)(torch.randn(3, 4))
    assert len(operations) == 2  # the two layers of the network, once


@every_builder
def test_flows_have_a_log_prob_that_vmap_maps_over_a_batch(build):
    d = TransformedDistribution(normal(3), [perturb(build()).inv], validate_args=False)
    x = torch.randn(5, 3)
    assert_close(torch.func.vmap(d.log_prob)(x), d.log_prob(x))
