"""TarFlow: how it starts, what it needs, and the round trip of a trained flow."""

import math

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import tarflow
from pyro_exact.transforms import TokenAutoregressive


def layers(flow):
    return [part for part in flow.parts if isinstance(part, TokenAutoregressive)]


def test_tarflow_starts_as_patches_of_scaled_pixels():
    flow = tarflow((1, 4, 4), patch=2, layers=3, depth=1, width=8, heads=2)
    x = 256 * torch.rand(5, 1, 4, 4)
    y, ladj = flow.forward_and_ladj(x)
    patches = torch.nn.functional.unfold(x / 128 - 1, 2, stride=2).mT
    assert_close(y, patches.flatten(1))
    assert_close(ladj, torch.full((5,), -16 * math.log(128)))


def test_tarflow_exchanges_the_direction_of_the_tokens():
    flow = tarflow(5, layers=4, depth=1, width=8, heads=2)
    assert [layer.reverse for layer in layers(flow)] == [False, True, False, True]


@pytest.mark.parametrize("solver", ["steps", "passes"])
def test_round_trip_of_a_trained_tarflow(solver, double):
    flow = tarflow(3, layers=2, depth=1, width=8, heads=2, context_dim=2, solver=solver)
    context = torch.nn.functional.one_hot(torch.arange(64) % 2).double()
    angle = 2 * torch.pi * torch.rand(64)
    x = torch.stack((angle.cos(), angle.sin(), context[:, 0]), dim=-1)
    x = x + 0.1 * torch.randn(64, 3)

    density = Flow(StandardNormal(3), flow.inv)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = -density.condition(context).log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5

    with torch.no_grad():
        y, ladj = flow.forward_and_ladj(x, context)
        back, back_ladj = flow.inverse_and_ladj(y, context)
    assert_close(back, x, rtol=1e-10, atol=1e-10)
    assert_close(back_ladj, -ladj, rtol=1e-10, atol=1e-10)
    taken = {layer.passes for layer in layers(flow)}
    assert taken == {None} if solver == "steps" else taken <= {1, 2, 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tarflow((3, 6, 6), patch=4), "patches that divide the sides"),
        (lambda: tarflow((6, 6)), "a vector or .C, H, W. of an image"),
        (lambda: tarflow(4, width=10, heads=4), "multiple of heads"),
        (lambda: tarflow(4, levels=17), "no levels for vectors"),
        (lambda: tarflow(4, layers=0), "layers from 1"),
        (lambda: tarflow(4, context_dim=0), "context_dim"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
