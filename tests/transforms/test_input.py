"""Inputs of a layer: casts, empty batches, contexts that broadcast."""

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, SigmoidTransform
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.transforms import (
    ActNorm,
    Compose,
    FixedAffine,
    Logit,
)


def perturb(module, std=0.3):
    for p in module.parameters():
        p.data.add_(std * torch.randn_like(p))
    return module


def test_bijection_casts_a_context_as_its_input():
    flow = perturb(flows.maf(3, layers=2, context_dim=2))
    x, context = torch.randn(5, 3), torch.randn(5, 2, dtype=torch.float64)
    expected = flow.condition(context.float()).forward_and_ladj(x)
    assert_close(flow.condition(context).forward_and_ladj(x), expected, rtol=0, atol=0)
    assert_close(flow.forward_and_ladj(x, context), expected, rtol=0, atol=0)


def test_bijection_computes_bfloat16_input_in_float32_under_autocast():
    flow = perturb(flows.iaf(3, layers=2))
    x = torch.randn(5, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, ladj = flow.forward_and_ladj(x)
    assert_close((y, ladj), flow.forward_and_ladj(x.float()), rtol=0, atol=0)


def test_bijection_refuses_an_event_without_elements_but_takes_an_empty_batch():
    layer = ActNorm(2, event_dim=3)
    assert layer(torch.zeros(0, 2, 4, 4)).shape == (0, 2, 4, 4)
    with pytest.raises(
        ValueError, match=r"at least one element in each dimension; got \(5, 2, 0, 4\). Leave empty"
    ):
        layer(torch.zeros(5, 2, 0, 4))


@pytest.mark.parametrize("y", [3.0, [1.0, 2.0, 3.0], None])
def test_jacobian_refuses_what_is_no_tensor(y):
    with pytest.raises(TypeError, match="ActNorm expects y as a tensor; got"):
        ActNorm(3).log_abs_det_jacobian(torch.zeros(3), y)


def test_bijection_cdf_is_that_of_the_stock_transform():
    x = torch.linspace(-3, 3, 7)
    for scale in (2.0, -2.0):
        ours = TransformedDistribution(Normal(0.0, 1.0), [FixedAffine(scale, 1.0, event_dim=0)])
        stock = TransformedDistribution(Normal(0.0, 1.0), [AffineTransform(1.0, scale)])
        assert_close(ours.cdf(x), stock.cdf(x))
        assert_close(ours.icdf(x.sigmoid()), stock.icdf(x.sigmoid()))

    ours = TransformedDistribution(Normal(0.0, 1.0), [Compose([Logit(1, 0, event_dim=0).inv])])
    stock = TransformedDistribution(Normal(0.0, 1.0), [SigmoidTransform()])
    assert_close(ours.cdf(x.sigmoid()), stock.cdf(x.sigmoid()))


def test_bijection_of_vectors_says_that_it_has_no_cdf():
    with pytest.raises(
        NotImplementedError,
        match="ActNorm is no map of single elements that rises or falls everywhere",
    ):
        _ = ActNorm(2).sign


@pytest.mark.parametrize("method", ["forward_and_ladj", "inverse_and_ladj"])
@pytest.mark.parametrize(
    "inside", [lambda layer: layer.inv, lambda layer: Compose([layer])], ids=["Inverse", "Compose"]
)
def test_bijection_container_broadcasts_the_context_of_its_part(inside, method):
    layer = inside(perturb(ActNorm(3, context_dim=2)).condition(torch.randn(4, 2)))
    x = torch.randn(3)
    y, ladj = getattr(layer, method)(x)
    expected, expected_ladj = getattr(layer, method)(x.expand(4, 3))
    assert_close((y, ladj), (expected, expected_ladj))
