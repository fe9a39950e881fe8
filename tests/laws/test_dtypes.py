"""One rule for the dtype of what enters: it is cast to that of the weights. Arrays are refused by name.

A stock distribution of torch, such as that of `StandardNormal`, promotes instead, as torch does."""

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms as stock
from registry import DISTRIBUTIONS, MODELS, NETS, TRANSFORMS, flow, stack, vae_posterior
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import (
    AttentionConditioner,
    ConvConditioner,
    DenseConditioner,
    DenseDecoder,
    DenseEncoder,
    FlowPPContextNet,
    GatedConvDecoder,
    GatedConvEncoder,
    MaskedConvNet,
    MaskedDense,
    PriorConditioner,
    ResidualConditioner,
)

NAMES_THE_TENSOR = "[Tt]ensor"  # ours: "as a tensor; got ndarray. Convert it with torch.as_tensor."

NETWORKS = {
    "AttentionConditioner": (lambda: AttentionConditioner(1, 1, 2, (4, 4), 4, 1, 2), [(1, 4, 4)]),
    "MaskedConvNet": (lambda: MaskedConvNet(2, 2, width=4), [(2, 3, 4), (3, 4, 4)]),
    "ConvConditioner": (lambda: ConvConditioner(2, 2, 2, 6, 3), [(2, 4, 4), (3,)]),
    "DenseConditioner": (lambda: DenseConditioner(2, 1, 2, (6,), 3), [(2,), (3,)]),
    "DenseDecoder": (lambda: DenseDecoder(2, (1, 4, 4), 1, (6,)), [(2,)]),
    "DenseEncoder": (lambda: DenseEncoder((1, 4, 4), (6,)), [(1, 4, 4)]),
    "GatedConvDecoder": (lambda: GatedConvDecoder(2, (1, 4, 4), 1, 3), [(2,)]),
    "GatedConvEncoder": (lambda: GatedConvEncoder((1, 4, 4), 6, 3), [(1, 4, 4)]),
    "FlowPPContextNet": (lambda: FlowPPContextNet(1, 4, 1), [(1, 4, 4)]),
    "MaskedDense": (lambda: MaskedDense(3, 2, (6,), 2), [(3,), (2,)]),
    "PriorConditioner": (lambda: PriorConditioner(2, 2), [(2, 4, 4)]),
    "ResidualConditioner": (lambda: ResidualConditioner(2, 2, 2, 4, 1), [(2, 4, 4)]),
}


def twice(values: torch.Tensor) -> torch.Tensor:
    """The same numbers in float64."""
    return values.double()


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_layers_cast_inputs_and_contexts_to_their_weights(name):
    case = TRANSFORMS[name]
    layer = case.make(2 if case.conditional else None).eval()
    x = case.draw((4, *case.shape))
    context = torch.randn(4, 2) if case.conditional else None
    if next(layer.parameters(), None) is None:
        pytest.skip("a layer without weights has no dtype: it keeps that of its input")

    y, ladj = layer.forward_and_ladj(x, context)
    found = layer.forward_and_ladj(twice(x), None if context is None else twice(context))
    assert_close(found, (y, ladj))

    bound = layer if context is None else layer.condition(twice(context))
    assert_close(bound(twice(x)), y)
    assert layer.initialize(twice(x), context).dtype == torch.float32
    with pytest.raises(TypeError, match="as a tensor; got ndarray"):
        bound(x.numpy())


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_distributions_score_float64(name):
    made = DISTRIBUTIONS[name]()
    x = made.sample()
    assert_close(made.log_prob(twice(x)), made.log_prob(x), check_dtype=False)
    with pytest.raises((TypeError, ValueError), match=NAMES_THE_TENSOR):
        made.log_prob(x.numpy())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_models_score_float64(name):
    case = MODELS[name]
    model, x = case.make().eval(), case.data()
    weights = []
    for each in (x, twice(x)):
        torch.manual_seed(1)
        weights.append(model.log_weight(each))
    assert_close(weights[1], weights[0])
    model.initialize(twice(x))
    with pytest.raises(TypeError, match="as a tensor; got ndarray"):
        model.log_weight(x.numpy())


@pytest.mark.parametrize("name", sorted(NETS))
def test_causal_nets_take_float64(name):
    net = NETS[name]().eval()
    shape = net.context_shape
    context = None if shape is None else torch.rand(3, *shape, dtype=torch.float64).round()
    made = Autoregressive(net) if context is None else Autoregressive(net, context)
    x = made.sample((3,) if context is None else ())
    assert made.log_prob(twice(x)).dtype == torch.float32

    theta = net(twice(x), context)
    assert_close(theta, net(x, None if context is None else context.float()))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_cast_inputs_to_their_weights(name):
    make, shapes = NETWORKS[name]
    net = make().eval()
    inputs = [torch.rand(5, *shape) for shape in shapes]
    assert_close(net(*map(twice, inputs)), net(*inputs))
    with pytest.raises(TypeError, match="as a tensor; got ndarray"):
        net(*(each.numpy() for each in inputs))


@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [torch.float32, torch.float64])
def test_flows_have_the_dtype_of_their_weights(weights, values):
    made = flow().to(weights)
    x = torch.randn(5, 3, dtype=values)
    assert made().log_prob(x).dtype == weights
    assert made().rsample((2,)).dtype == weights

    conditional = flow(2).to(weights)
    given = conditional.condition(torch.randn(5, 2, dtype=values))
    assert given.log_prob(x).dtype == weights
    with pytest.raises(TypeError, match="context as a tensor; got ndarray"):
        conditional.condition(torch.randn(5, 2).numpy())


def test_flow_posterior_has_the_dtype_of_its_weights():
    posterior, h = vae_posterior(), torch.randn(4, 6)
    z = posterior(h).sample()
    assert_close(posterior(twice(h)).log_prob(twice(z)), posterior(h).log_prob(z))
    with pytest.raises(TypeError, match="features as a tensor; got ndarray"):
        posterior(h.numpy())


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("base", [torch.float32, torch.float64])
def test_stock_chains_take_float64(ours_first, base):
    layers = [stack(None).inv, stock.AffineTransform(torch.ones(3), 2.0)]
    noise = dist.Normal(torch.zeros(3, dtype=base), 1.0).to_event(1)
    made = dist.TransformedDistribution(noise, layers if ours_first else layers[::-1])
    x = torch.randn(5, 3)
    assert_close(made.log_prob(twice(x)), made.log_prob(x), check_dtype=False)
    assert made.log_prob(made.sample((4,))).isfinite().all()


def test_standard_normal_promotes_as_torch_does():
    x = torch.randn(5, 3)
    assert StandardNormal(3)().log_prob(twice(x)).dtype == torch.float64
    assert Flow(StandardNormal(3), stack(None).inv)().log_prob(twice(x)).dtype == torch.float32
