"""The memory of a layer: which query is answered without a computation, and for how long."""

import copy
import gc
import pickle
import weakref
from contextlib import nullcontext

import pytest
import torch
from helpers.counting import counted
from pyro.distributions import Normal, TransformedDistribution
from torch import nn
from torch.testing import assert_close
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.transforms import (
    ActNorm,
    Bijection,
    Compose,
    Permute,
)

pytestmark = pytest.mark.usefixtures("double")


def normal(dim):
    return Normal(torch.zeros(dim), torch.ones(())).to_event(1)


def in_a_list(coupling, context):
    return TransformedDistribution(normal(4), [Permute([3, 2, 1, 0]), coupling.inv])


def forwards(coupling, context):
    return TransformedDistribution(normal(4), [coupling])


def in_a_compose(coupling, context):
    return TransformedDistribution(
        normal(4), [Compose([ActNorm(4), coupling, Permute([3, 2, 1, 0])]).inv]
    )


def in_a_nested_compose(coupling, context):
    return TransformedDistribution(
        normal(4), [Compose([Compose([coupling.inv], recompute=True), ActNorm(4).inv])]
    )


def in_a_flow(coupling, context):
    return Flow(StandardNormal(4), coupling.inv)()


def conditioned(coupling, context):
    return Flow(StandardNormal(4), Compose([coupling]).inv).condition(context)


def conditioned_forwards(coupling, context):
    return TransformedDistribution(normal(4), [coupling.condition(context)])


@pytest.fixture(
    params=[
        in_a_list,
        forwards,
        in_a_compose,
        in_a_nested_compose,
        in_a_flow,
        conditioned,
        conditioned_forwards,
    ],
    ids=lambda make: make.__name__,
)
def counted_distribution(request):
    """A coupling and a distribution over batches of three vectors that uses it once."""
    context = torch.randn(3, 2) if request.param.__name__.startswith("conditioned") else None
    coupling = counted(None if context is None else 2)
    d = request.param(coupling, context)
    return coupling.conditioner, d if d.batch_shape else d.expand((3,))


def test_memory_of_one_score_is_one_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    d.log_prob(torch.randn(3, 4))
    assert conditioner.calls == 1


def test_memory_of_a_sample_and_its_score_is_one_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    d.log_prob(d.rsample())
    assert conditioner.calls == 1


def test_memory_scores_a_sample_without_gradient_by_a_new_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    x = d.sample()
    value = d.log_prob(x)
    assert conditioner.calls == 2
    assert all(p.grad is None for p in conditioner.parameters())
    value.sum().backward()
    assert all(p.grad.count_nonzero() for p in conditioner.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_memory_without_gradient_serves_a_sample_and_its_score(counted_distribution, mode):
    conditioner, d = counted_distribution
    with mode():
        d.log_prob(d.sample())
    assert conditioner.calls == 1


def test_memory_makes_a_round_trip_exact_and_free():
    layer = counted()
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    z = layer.inv(x)
    assert layer(z) is x
    assert layer.conditioner.calls == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_memory_made_without_gradient_does_not_answer_a_query_with_gradient(mode):
    layer = counted()
    x = torch.randn(3, 4)
    with mode():
        y = layer(x)
        assert not layer.log_abs_det_jacobian(x, y).requires_grad
    assert layer.log_abs_det_jacobian(x, y).requires_grad
    with (
        nullcontext()
        if mode is torch.no_grad
        else pytest.raises(RuntimeError, match=r"(?i)inference")
    ):
        assert layer.inv(y).requires_grad


def test_memory_answers_only_for_its_own_source():
    layer = counted()
    x, other = torch.randn(2, 3, 4)
    y = layer(x)
    assert_close(layer.log_abs_det_jacobian(other, y), layer.forward_and_ladj(other)[1])
    assert_close(layer.log_abs_det_jacobian(other, layer(other)), layer.forward_and_ladj(other)[1])


def test_memory_does_not_answer_for_an_equal_tensor():
    layer = counted()
    x = torch.randn(3, 4)
    y = layer(x)
    layer.inv(y.clone())
    layer.inv(y[:])
    assert layer.conditioner.calls == 3


def fused_adam_step(layer, x, y, ladj):
    take_step(torch.optim.Adam(layer.parameters(), lr=0.1, fused=True), layer)


def foreach_step(layer, x, y, ladj):
    take_step(torch.optim.Adamax(layer.parameters(), lr=0.1, foreach=True), layer)


def sgd_step(layer, x, y, ladj):
    take_step(torch.optim.SGD(layer.parameters(), lr=0.1), layer)


def take_step(optimizer, layer):
    for p in layer.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.zero_grad()


def write_to_a_weight(layer, x, y, ladj):
    with torch.no_grad():
        layer.conditioner.net.net[0].weight.mul_(2)


def load_other_weights(layer, x, y, ladj):
    layer.load_state_dict(counted().state_dict())


def replace_a_weight(layer, x, y, ladj):
    layer.conditioner.net.net[0].bias = nn.Parameter(torch.randn(6))


def put_other_memory_behind_the_weights(layer, x, y, ladj):
    moved = nn.utils.parameters_to_vector(layer.parameters()).detach() + 1
    nn.utils.vector_to_parameters(moved, layer.parameters())


def write_to_the_output(layer, x, y, ladj):
    with torch.no_grad():
        y.add_(1)


def write_to_the_source(layer, x, y, ladj):
    with torch.no_grad():
        x.add_(1)


def write_to_the_ladj(layer, x, y, ladj):
    with torch.no_grad():
        ladj.add_(1)


@pytest.mark.parametrize(
    "change",
    [
        fused_adam_step,
        foreach_step,
        sgd_step,
        write_to_a_weight,
        load_other_weights,
        replace_a_weight,
        put_other_memory_behind_the_weights,
        write_to_the_output,
        write_to_the_source,
        write_to_the_ladj,
    ],
)
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
def test_memory_is_void_after_a_change(change, grad):
    layer = counted()
    x = torch.randn(3, 4)
    with torch.set_grad_enabled(grad):
        y = layer(x)
        change(layer, x, y, layer.log_abs_det_jacobian(x, y))
        assert_close(layer.log_abs_det_jacobian(x, y), layer.forward_and_ladj(x)[1], rtol=0, atol=0)
        assert_close(layer.inv(y), layer.inverse_and_ladj(y)[0], rtol=0, atol=0)
        assert layer.inv(y) is not x


def test_memory_leaves_the_id_of_a_replaced_weight_to_no_other():
    layer = counted()
    with torch.no_grad():
        y = layer(torch.randn(3, 4))
    old = weakref.ref(layer.conditioner.net.net[0].bias)
    replace_a_weight(layer, None, None, None)
    assert old() is not None
    del y
    gc.collect()
    assert old() is None


def test_memory_gives_a_frozen_weight_that_thaws_its_gradient():
    layer = counted().requires_grad_(False)
    x = torch.randn(3, 4)
    y = layer(x)
    layer.requires_grad_(True)
    assert layer.log_abs_det_jacobian(x, y).requires_grad


def test_memory_gives_an_output_that_becomes_a_leaf_its_gradient():
    layer = Permute([1, 0])
    y = layer(torch.randn(2)).requires_grad_()
    layer.inv(y)[0].backward()
    assert y.grad.tolist() == [0, 1]


def test_memory_depends_on_the_mode_of_any_part():
    layer = counted(dropout=0.9)
    layer.conditioner.dropout.eval()
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    layer.conditioner.dropout.train()
    assert not torch.equal(layer.inv(y), x)


def test_memory_is_void_after_a_write_to_the_context():
    context = torch.randn(3, 2)
    layer = counted(context_dim=2).condition(context)
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    context.add_(1)
    assert_close(layer.log_abs_det_jacobian(x, y), layer.forward_and_ladj(x)[1], rtol=0, atol=0)
    assert not torch.allclose(layer.inv(y), x)


def test_memory_depends_on_buffers():
    layer = Permute([1, 2, 0])
    x = torch.randn(3)
    y = layer(x)
    layer.back.copy_(torch.tensor([0, 1, 2]))
    assert_close(layer.inv(y), y)


class SavesItsOutput(Bijection):
    """A layer whose log-determinant is computed from its output, so that the graph of the one holds the other."""

    def __init__(self):
        super().__init__((4,))
        self.log_scale = nn.Parameter(torch.randn(4))

    def transform(self, x, context=None):
        y = (self.log_scale.exp() * x).sinh()
        return y, (self.log_scale + 0.5 * (1 + y**2).log()).sum(-1)

    def invert(self, y, context=None):
        return y.asinh() * (-self.log_scale).exp(), -(self.log_scale + 0.5 * (1 + y**2).log()).sum(
            -1
        )


@pytest.fixture
def no_garbage_collection():
    """Only reference counts free memory: a cycle would show as a leak."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "make", [SavesItsOutput, counted, lambda: Compose([SavesItsOutput()], recompute=True)]
)
def test_memory_dies_with_the_outputs(make):
    layer = make()
    for _ in range(100):
        x = torch.randn(3, 4)
        y = layer(x)
        assert len(layer._memory) == 1
        loss = (
            layer.log_abs_det_jacobian(x, y).sum()
            + layer(layer(y)).exp().sum()
            + layer.inv(x).square().sum()
        )
        loss.backward()
        del x, y, loss
        assert len(layer._memory) == 0


@pytest.mark.usefixtures("no_garbage_collection")
def test_memory_leaves_nothing_behind():
    layer = Compose([SavesItsOutput(), counted(), Permute([1, 0, 3, 2])])
    d = TransformedDistribution(normal(4), [layer.inv])
    for _ in range(10):
        d.log_prob(d.rsample((3,))).sum().backward()
        d.log_prob(d.sample((3,)))
    assert len(layer._memory) == 0


def test_memory_lives_as_long_as_the_output():
    layer = counted()
    x = torch.randn(3, 4)
    first = layer(x)
    second = layer(first)
    del first
    assert len(layer._memory) == 2  # the source of the second keeps the first
    assert layer.inv(layer.inv(second)) is x
    del second
    assert len(layer._memory) == 0


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
def test_memory_is_empty_in_copies(duplicate):
    layer = counted()
    y = layer(torch.randn(3, 4))
    other = duplicate(layer)
    assert (len(layer._memory), len(other._memory)) == (1, 0)
    assert not torch.equal(y, other(torch.randn(3, 4)))
    assert len(layer._memory) == 1
    assert other.inv.bijection is other


def test_memory_relies_on_the_weak_dictionary_of_torch():
    memory = WeakTensorKeyDictionary()
    a, twin = torch.zeros(2), torch.zeros(2)
    memory[a] = "a"
    assert memory.get(a) == "a"
    assert memory.get(twin) is None
    assert memory.get(a[:]) is None
    a.add_(1)
    assert memory.get(a) == "a"
    assert len(memory) == 1
    del a
    assert len(memory) == 0
