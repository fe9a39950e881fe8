"""The public boundary of a layer: precision, weights that are random variables, compilers, memory and its limits."""

import pyro
import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDiagonalNormal
from pyro.nn import PyroModule, PyroSample
from pyro.nn.module import to_pyro_module_
from registry import TRANSFORMS
from torch import nn
from torch.distributions.transforms import AffineTransform, SigmoidTransform
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import DenseConditioner, MaskedDense
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Coupling,
    FixedAffine,
    Halves,
    Logit,
    MaskedAutoregressive,
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


# Precision
# ------------------------------------------------------------------------------------------------------------


@every_builder
def test_a_table_in_float64_is_cast_to_the_dtype_of_the_weights(build):
    flow = perturb(build())
    x = torch.randn(5, 3, dtype=torch.float64)
    y, ladj = flow.forward_and_ladj(x)
    assert (y.dtype, ladj.dtype) == (torch.float32, torch.float32)
    assert_close((y, ladj), flow.forward_and_ladj(x.float()), rtol=0, atol=0)
    assert_close(flow(x), y, rtol=0, atol=0)
    assert_close(flow.inv(x), flow.inverse_and_ladj(x.float())[0], rtol=0, atol=0)


@every_builder
def test_a_table_in_float32_is_cast_to_float64_weights(build):
    flow = perturb(build()).double()
    x = torch.randn(5, 3)
    assert flow(x).dtype == torch.float64
    assert_close(flow.forward_and_ladj(x), flow.forward_and_ladj(x.double()), rtol=0, atol=0)


def test_a_context_is_cast_as_the_input_is():
    flow = perturb(flows.maf(3, layers=2, context_dim=2))
    x, context = torch.randn(5, 3), torch.randn(5, 2, dtype=torch.float64)
    expected = flow.condition(context.float()).forward_and_ladj(x)
    assert_close(flow.condition(context).forward_and_ladj(x), expected, rtol=0, atol=0)
    assert_close(flow.forward_and_ladj(x, context), expected, rtol=0, atol=0)


def test_a_bfloat16_input_is_transformed_in_float32_under_autocast():
    flow = perturb(flows.iaf(3, layers=2))
    x = torch.randn(5, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, ladj = flow.forward_and_ladj(x)
    assert_close((y, ladj), flow.forward_and_ladj(x.float()), rtol=0, atol=0)


@every_builder
def test_weights_in_half_precision_are_refused(build):
    flow = build().bfloat16()
    with pytest.raises(
        TypeError,
        match=r"expects weights in float32 or float64; got torch.bfloat16. Keep them there",
    ):
        flow(torch.randn(5, 3).bfloat16())


def test_an_event_without_elements_is_refused_and_an_empty_batch_is_not():
    layer = ActNorm(2, event_dim=3)
    assert layer(torch.zeros(0, 2, 4, 4)).shape == (0, 2, 4, 4)
    with pytest.raises(
        ValueError, match=r"at least one element in each dimension; got \(5, 2, 0, 4\). Leave empty"
    ):
        layer(torch.zeros(5, 2, 0, 4))


@pytest.mark.parametrize("y", [3.0, [1.0, 2.0, 3.0], None])
def test_the_jacobian_of_what_is_no_tensor_is_refused(y):
    with pytest.raises(TypeError, match="ActNorm expects y as a tensor; got"):
        ActNorm(3).log_abs_det_jacobian(torch.zeros(3), y)


# Weights that are random variables
# ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", TRANSFORMS)
def test_every_layer_becomes_a_pyro_module(case):
    layer = TRANSFORMS[case].make(None)
    kind = type(layer)
    to_pyro_module_(layer)
    assert isinstance(layer, PyroModule)
    assert isinstance(layer, kind)


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
def test_a_flow_with_random_weights_is_fitted_by_svi(build):
    model = Bayesian(with_random_weights(build()))
    x = 2 + 0.5 * torch.randn(50, 3)
    guide = AutoDiagonalNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_random_weights_are_not_read_after_the_call_in_which_they_were_drawn():
    model = Bayesian(with_random_weights(flows.maf(3, layers=1)))
    with pytest.raises(
        ValueError, match=r"its weights are random variables; got a call outside. Score there, with"
    ):
        model.flow(torch.randn(4, 3))


def test_random_weights_are_never_answered_from_memory():
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


# Compilers
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_validation")
@every_builder
def test_the_log_prob_of_a_flow_compiles_into_one_graph(build):
    flow = Flow(StandardNormal(3), perturb(build()).inv)
    x = torch.randn(5, 3)
    compiled = torch.compile(lambda x: flow().log_prob(x), fullgraph=True, backend="eager")
    assert_close(compiled(x), flow().log_prob(x))


@pytest.mark.usefixtures("without_validation")
def test_a_compiled_score_evaluates_the_network_once():
    flow = Flow(
        StandardNormal(4), Coupling(Halves(4), Affine(), DenseConditioner(2, 2, 2, (6,))).inv
    )
    operations = []

    def count(graph, _):
        operations.extend(node for node in graph.graph.nodes if "linear" in str(node.target))
        return graph.forward

    torch.compile(lambda x: flow().log_prob(x), fullgraph=True, backend=count)(torch.randn(3, 4))
    assert len(operations) == 2  # the two layers of the network, once


# Memory
# ---------------------------------------------------------------------------------------------------------------


class Dropping(DenseConditioner):
    """A conditioner that drops half of its outputs, and counts its evaluations."""

    calls = 0

    def forward(self, x, context=None):
        self.calls += 1
        return nn.functional.dropout(super().forward(x, context), 0.5, self.training)


def test_a_broadcast_context_is_one_evaluation():
    layer = perturb(Coupling(Halves(2), Affine(), Dropping(1, 1, 2, (6,), context_dim=2)))
    flow = Flow(StandardNormal(2), layer.inv)
    log_prob = flow.condition(torch.randn(4, 1, 2)).log_prob(torch.randn(5, 2))
    assert log_prob.shape == (4, 5)
    assert layer.conditioner.calls == 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_sample_changed_through_numpy_is_scored_as_it_is(mode):
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    with mode():
        x = d.sample((4,))
        x.numpy()[:] = 0
        assert_close(d.log_prob(x), d.log_prob(torch.zeros(4, 3)))


def test_a_sample_zeroed_in_inference_mode_is_scored_as_it_is():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    with torch.inference_mode():
        x = d.sample((4,))
        x.zero_()
        assert_close(d.log_prob(x), d.log_prob(torch.zeros(4, 3)))


def test_a_sample_with_gradient_changed_through_numpy_is_scored_as_it_is():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    for write in (lambda x: x.detach().numpy().fill(0.5), lambda x: x.data.fill_(0.5)):
        x = d.rsample((4,))
        write(x)
        assert_close(d.log_prob(x), d.log_prob(torch.full((4, 3), 0.5)))


def test_a_sample_can_be_detached_in_place():
    d = TransformedDistribution(normal(3), [perturb(flows.maf(3, layers=1)).inv])
    x = d.rsample((4,)).detach_()
    assert not x.requires_grad
    assert_close(d.log_prob(x), d.log_prob(x.clone()))


@every_builder
def test_log_prob_is_mapped_over_a_batch_by_vmap(build):
    d = TransformedDistribution(normal(3), [perturb(build()).inv], validate_args=False)
    x = torch.randn(5, 3)
    assert_close(torch.func.vmap(d.log_prob)(x), d.log_prob(x))


# Distribution functions
# -----------------------------------------------------------------------------------------------


def test_a_cdf_is_that_of_the_stock_transform():
    x = torch.linspace(-3, 3, 7)
    for scale in (2.0, -2.0):
        ours = TransformedDistribution(Normal(0.0, 1.0), [FixedAffine(scale, 1.0, event_dim=0)])
        stock = TransformedDistribution(Normal(0.0, 1.0), [AffineTransform(1.0, scale)])
        assert_close(ours.cdf(x), stock.cdf(x))
        assert_close(ours.icdf(x.sigmoid()), stock.icdf(x.sigmoid()))

    ours = TransformedDistribution(Normal(0.0, 1.0), [Compose([Logit(1, 0, event_dim=0).inv])])
    stock = TransformedDistribution(Normal(0.0, 1.0), [SigmoidTransform()])
    assert_close(ours.cdf(x.sigmoid()), stock.cdf(x.sigmoid()))


def test_a_layer_of_vectors_says_that_it_has_no_cdf():
    with pytest.raises(
        NotImplementedError,
        match="ActNorm is no map of single elements that rises or falls everywhere",
    ):
        _ = ActNorm(2).sign


# Recomputation
# --------------------------------------------------------------------------------------------------------


def dropping_coupling(swap=False):
    return Coupling(Halves(4, swap), Affine(), Dropping(2, 2, 2, (6,)))


def gradients(layer, x):
    torch.manual_seed(0)
    y, ladj = layer.forward_and_ladj(x)
    return torch.autograd.grad((y.square().sum(-1) + ladj).sum(), [x, *layer.parameters()])


def test_recomputed_couplings_drop_the_same_units():
    parts = [perturb(dropping_coupling(swap)) for swap in (False, True)]
    x = torch.randn(5, 4, requires_grad=True)
    assert_close(gradients(Compose(parts, recompute=True), x), gradients(Compose(parts), x))


class WithDropout(MaskedDense):
    """Its steps drop nothing."""

    def __init__(self):
        super().__init__(4, 2, (8,), dropout=0.5)


@pytest.mark.parametrize(
    "part",
    [
        lambda: MaskedAutoregressive(Affine(), WithDropout()),
        lambda: Compose([coupling_with_module_dropout(), coupling_with_module_dropout()]),
    ],
    ids=["autoregressive", "nested"],
)
def test_recomputation_refuses_parts_that_would_drop_other_units(part):
    layer = Compose([part(), ActNorm(4)], recompute=True)
    with pytest.raises(
        ValueError, match=r"drop the same units in both directions.* with dropout in training mode"
    ):
        layer(torch.randn(5, 4))
    layer.eval()(torch.randn(5, 4))


def coupling_with_module_dropout():
    class Conditioner(DenseConditioner):
        def __init__(self):
            super().__init__(2, 2, 2, (6,))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x, context=None):
            return self.dropout(super().forward(x, context))

    return Coupling(Halves(4), Affine(), Conditioner())


@pytest.mark.parametrize("method", ["forward_and_ladj", "inverse_and_ladj"])
@pytest.mark.parametrize(
    "inside", [lambda layer: layer.inv, lambda layer: Compose([layer])], ids=["Inverse", "Compose"]
)
def test_a_container_broadcasts_the_context_of_its_part(inside, method):
    layer = inside(perturb(ActNorm(3, context_dim=2)).condition(torch.randn(4, 2)))
    x = torch.randn(3)
    y, ladj = getattr(layer, method)(x)
    expected, expected_ladj = getattr(layer, method)(x.expand(4, 3))
    assert_close((y, ladj), (expected, expected_ladj))
