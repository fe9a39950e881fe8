"""Flows of planar, radial and Sylvester layers."""

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch.testing import assert_close

from pyro_exact import flows

pytestmark = pytest.mark.usefixtures("double")

both = pytest.mark.parametrize("context_dim", [None, 2], ids=["plain", "context"])

BUILDERS = {
    "planar": flows.planar,
    "radial": flows.radial,
    "sylvester": lambda dim, length, c=None: flows.sylvester(dim, length, 2, context_dim=c),
    "sylvester householder": lambda dim, length, c=None: flows.sylvester(
        dim, length, dim, "householder", c
    ),
    "sylvester triangular": lambda dim, length, c=None: flows.sylvester(
        dim, length, dim, "triangular", c
    ),
}


@both
@pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))
def test_flows_start_random_and_near_the_identity(build, context_dim):
    flow = build(10, 4, context_dim)
    assert flow.context_shape == (None if context_dim is None else (context_dim,))
    context = None if context_dim is None else torch.randn(30, context_dim)
    x = torch.randn(30, 10)
    y, ladj = flow.forward_and_ladj(x, context)
    assert 1e-3 < (y - x).norm(dim=-1).mean() < x.norm(dim=-1).mean()
    assert ladj.std() > 1e-4
    assert_close(flow.inverse_and_ladj(y, context), (x, -ladj), rtol=1e-8, atol=1e-8)


def test_flows_learn_a_density_by_their_inverses():
    """Pyro's planar flow cannot even score these points."""
    x = torch.randn(200, 2) * torch.tensor([0.3, 1.5]) + torch.tensor([1.0, -1.0])
    flow = flows.planar(2, 4)
    d = TransformedDistribution(Normal(torch.zeros(2), torch.ones(2)).to_event(1), [flow])
    optimizer = torch.optim.Adam(flow.parameters(), 0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = -d.log_prob(x).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
