"""The machinery: what is remembered and for how long, composition, and recomputation in the backward pass."""

import copy
import gc
import pickle
import weakref
from contextlib import nullcontext

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from registry import dense, pixels, small_glow, stack
from torch import nn
from torch.testing import assert_close
from torch.utils.weak import WeakTensorKeyDictionary

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.nn import Conditioner, DenseConditioner
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Bijection,
    Compose,
    Conditioned,
    Coupling,
    DiagonalAffine,
    Flatten,
    Halves,
    Permute,
    Squeeze,
)

pytestmark = pytest.mark.usefixtures("double")


class Counting(Conditioner):
    """A conditioner that counts its evaluations, and may drop hidden numbers at random."""

    def __init__(self, context_dim=None, dropout=0.0):
        super().__init__(2, None if context_dim is None else (context_dim,))
        self.net = DenseConditioner(2, 2, 2, (6,), context_dim)
        self.dropout = nn.Dropout(dropout)
        self.calls = 0
        perturb(self)

    def forward(self, x, context=None):
        self.calls += 1
        return self.dropout(self.net(x, context))


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


def counted(context_dim=None, dropout=0.0):
    return Coupling(Halves(4), Affine(), Counting(context_dim, dropout))


def normal(dim):
    return Normal(torch.zeros(dim), torch.ones(())).to_event(1)


# One evaluation a network
# ---------------------------------------------------------------------------------------------


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


def test_one_score_is_one_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    d.log_prob(torch.randn(3, 4))
    assert conditioner.calls == 1


def test_a_sample_and_its_score_are_one_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    d.log_prob(d.rsample())
    assert conditioner.calls == 1


def test_a_sample_without_gradient_is_scored_by_a_new_evaluation(counted_distribution):
    conditioner, d = counted_distribution
    x = d.sample()
    value = d.log_prob(x)
    assert conditioner.calls == 2
    assert all(p.grad is None for p in conditioner.parameters())
    value.sum().backward()
    assert all(p.grad.count_nonzero() for p in conditioner.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradient_a_sample_and_its_score_are_one_evaluation(counted_distribution, mode):
    conditioner, d = counted_distribution
    with mode():
        d.log_prob(d.sample())
    assert conditioner.calls == 1


def test_a_round_trip_is_exact_and_costs_nothing():
    layer = counted()
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    z = layer.inv(x)
    assert layer(z) is x
    assert layer.conditioner.calls == 2


# What memory never answers
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_record_made_without_gradient_does_not_answer_a_query_with_gradient(mode):
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


def test_a_record_answers_only_for_its_own_source():
    layer = counted()
    x, other = torch.randn(2, 3, 4)
    y = layer(x)
    assert_close(layer.log_abs_det_jacobian(other, y), layer.forward_and_ladj(other)[1])
    assert_close(layer.log_abs_det_jacobian(other, layer(other)), layer.forward_and_ladj(other)[1])


def test_an_equal_tensor_is_not_the_output():
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
def test_after_a_change_everything_is_computed_anew(change, grad):
    layer = counted()
    x = torch.randn(3, 4)
    with torch.set_grad_enabled(grad):
        y = layer(x)
        change(layer, x, y, layer.log_abs_det_jacobian(x, y))
        assert_close(layer.log_abs_det_jacobian(x, y), layer.forward_and_ladj(x)[1], rtol=0, atol=0)
        assert_close(layer.inv(y), layer.inverse_and_ladj(y)[0], rtol=0, atol=0)
        assert layer.inv(y) is not x


def test_a_replaced_weight_leaves_its_id_to_no_other_while_it_is_needed():
    layer = counted()
    with torch.no_grad():
        y = layer(torch.randn(3, 4))
    old = weakref.ref(layer.conditioner.net.net[0].bias)
    replace_a_weight(layer, None, None, None)
    assert old() is not None
    del y
    gc.collect()
    assert old() is None


def test_a_frozen_weight_that_thaws_gets_its_gradient():
    layer = counted().requires_grad_(False)
    x = torch.randn(3, 4)
    y = layer(x)
    layer.requires_grad_(True)
    assert layer.log_abs_det_jacobian(x, y).requires_grad


def test_an_output_that_becomes_a_leaf_gets_its_gradient():
    layer = Permute([1, 0])
    y = layer(torch.randn(2)).requires_grad_()
    layer.inv(y)[0].backward()
    assert y.grad.tolist() == [0, 1]


def test_the_mode_of_any_part_counts():
    layer = counted(dropout=0.9)
    layer.conditioner.dropout.eval()
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    layer.conditioner.dropout.train()
    assert not torch.equal(layer.inv(y), x)


def test_a_write_to_the_context_counts():
    context = torch.randn(3, 2)
    layer = counted(context_dim=2).condition(context)
    x = torch.randn(3, 4)
    y = layer(x)
    assert layer.inv(y) is x
    context.add_(1)
    assert_close(layer.log_abs_det_jacobian(x, y), layer.forward_and_ladj(x)[1], rtol=0, atol=0)
    assert not torch.allclose(layer.inv(y), x)


def test_a_buffer_counts():
    layer = Permute([1, 2, 0])
    x = torch.randn(3)
    y = layer(x)
    layer.back.copy_(torch.tensor([0, 1, 2]))
    assert_close(layer.inv(y), y)


# How long memory lasts
# ------------------------------------------------------------------------------------------------


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
def test_records_die_with_their_outputs(make):
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
def test_scoring_and_sampling_leave_nothing_behind():
    layer = Compose([SavesItsOutput(), counted(), Permute([1, 0, 3, 2])])
    d = TransformedDistribution(normal(4), [layer.inv])
    for _ in range(10):
        d.log_prob(d.rsample((3,))).sum().backward()
        d.log_prob(d.sample((3,)))
    assert len(layer._memory) == 0


def test_a_record_lives_as_long_as_its_output():
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
def test_copies_start_with_an_empty_memory(duplicate):
    layer = counted()
    y = layer(torch.randn(3, 4))
    other = duplicate(layer)
    assert (len(layer._memory), len(other._memory)) == (1, 0)
    assert not torch.equal(y, other(torch.randn(3, 4)))
    assert len(layer._memory) == 1
    assert other.inv.bijection is other


def test_the_weak_dictionary_of_torch_behaves_as_the_memory_expects():
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


# What enters a layer
# --------------------------------------------------------------------------------------------------


class Scaled(Bijection):
    """A layer without any check of its own, which would broadcast an event of one element."""

    def __init__(self, context_shape=None):
        super().__init__((3,), context_dim=context_shape)
        self.scale = nn.Parameter(torch.full((3,), 2.0))

    def transform(self, x, context=None):
        return x * self.scale, self.scale.log().sum().expand(x.shape[:-1])

    def invert(self, y, context=None):
        return y / self.scale, -self.scale.log().sum().expand(y.shape[:-1])


@pytest.mark.parametrize(
    "wrap", [lambda layer: layer, lambda layer: layer.inv, lambda layer: Compose([layer])]
)
@pytest.mark.parametrize(
    ("context_shape", "shape", "context", "message"),
    [
        (None, (1,), None, r"Scaled expects 3 dimensions; got 1 in shape \(1,\)"),
        (None, (3,), (2,), "takes no context; got a Tensor. Build it with a context"),
        (
            (2,),
            (3,),
            None,
            r"expects a context of shape \(\*batch, 2\); got none. Call layer.condition",
        ),
        (
            (2,),
            (3,),
            (3,),
            r"expects a context of shape \(\*batch, 2\); got \(3,\). Pass a context of that size",
        ),
        (
            (2,),
            (3,),
            (5, 2),
            r"with the batch shape of its context; got \(\) and \(5,\). Expand the input",
        ),
        ((2,), (4, 3), (5, 2), r"with the batch shape of its context; got \(4,\) and \(5,\)"),
    ],
)
def test_the_pure_methods_say_what_does_not_fit(wrap, context_shape, shape, context, message):
    layer = wrap(Scaled(context_shape))
    for direction in (layer.forward_and_ladj, layer.inverse_and_ladj):
        with pytest.raises(ValueError, match=message):
            direction(torch.randn(shape), None if context is None else torch.randn(context))


def test_a_stack_gives_a_context_to_the_parts_that_take_one():
    layer = Compose([Scaled(), Scaled((2,)), Compose([Scaled()])])
    y, _ = layer.forward_and_ladj(torch.ones(5, 3), torch.randn(2))
    assert_close(y, torch.full((5, 3), 8.0))


# Inverse and Conditioned
# ----------------------------------------------------------------------------------------------


def test_inverse_shares_weights_and_modes():
    layer = Compose([ActNorm(4), counted()])
    layer.parts[1].eval()
    inverse = layer.inv
    assert list(inverse.parameters()) == list(layer.parameters())
    assert (layer.training, layer.parts[1].training) == (True, False)
    assert inverse.training
    context = torch.randn(2)
    conditional = Compose([ActNorm(4), counted(2)])
    conditional.parts[1].eval()
    conditional.condition(context)
    assert (conditional.training, conditional.parts[1].training) == (True, False)


def test_a_bound_layer_initialises_its_layer():
    x = 5 + 2 * torch.randn(50, 3)
    layer = ActNorm(3, context_dim=2)
    y = layer.condition(torch.randn(50, 2)).initialize(x)
    assert_close(y.mean(0), torch.zeros(3))
    assert_close(layer.mean, x.mean(0))


def test_a_context_for_a_plain_layer_is_refused():
    with pytest.raises(ValueError, match="Permute takes no context"):
        Conditioned(Permute([1, 0]), torch.zeros(2))


def test_vmap_and_jacrev():
    layer = perturb(stack(None))
    x = torch.randn(5, 3)
    assert_close(torch.func.vmap(layer)(x), layer(x))
    jacobian = torch.func.jacrev(layer)(x[0])
    assert_close(jacobian.slogdet().logabsdet, layer.forward_and_ladj(x[0])[1])


# Compose
# --------------------------------------------------------------------------------------------------------------


def test_compose_applies_its_parts_in_order():
    parts = [perturb(ActNorm(3)), Permute([2, 0, 1]), perturb(dense(Halves(3), Affine(), None))]
    x = torch.randn(5, 3)
    assert_close(Compose(parts)(x), parts[2](parts[1](parts[0](x))), rtol=0, atol=0)


def test_compose_initialises_each_part_on_the_output_of_the_one_before():
    layer = Compose([ActNorm(3), perturb(dense(Halves(3), Affine(), None)), ActNorm(3)])
    y = layer.initialize(5 + 2 * torch.randn(100, 3))
    assert_close(y.mean(0), torch.zeros(3), rtol=0, atol=1e-12)
    assert_close(y.std(0, correction=0), torch.ones(3))
    assert not y.requires_grad


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: [], "expects at least one part"),
        (lambda: [Squeeze(), ActNorm(4)], "Squeeze with 3 before ActNorm with 1"),
        (lambda: [ActNorm(4), Squeeze()], "equal event dimensions"),
        (lambda: [Flatten((1, 2, 2)), Squeeze()], "Flatten with 1 before Squeeze with 3"),
        (
            lambda: [ActNorm(2, context_dim=1), ActNorm(2, context_dim=3)],
            "expects one context shape",
        ),
    ],
)
def test_compose_refuses_parts_that_do_not_fit(parts, message):
    with pytest.raises(ValueError, match=message):
        Compose(parts())


def test_compose_checks_every_part_before_it_computes():
    with pytest.raises(
        ValueError, match=r"ActNorm expects 3 channels; got 4 in shape \(5, 4, 2, 2\)"
    ):
        Compose([Squeeze(), ActNorm(3, event_dim=3)])(torch.zeros(5, 1, 4, 4))


# Recomputation
# --------------------------------------------------------------------------------------------------------


def gradients(layer, x, context=None):
    """Output and gradients of a random function of value and log-determinant, from fixed random numbers."""
    x = x.clone().requires_grad_()
    context = context if context is None else context.clone().requires_grad_()
    torch.manual_seed(7)
    y, ladj = layer.forward_and_ladj(x, context)
    torch.manual_seed(8)
    loss = (y * torch.randn_like(y)).sum() + (ladj * torch.randn_like(ladj)).sum()
    inputs = [x, *layer.parameters(), *([] if context is None else [context])]
    return y.detach(), ladj.detach(), torch.autograd.grad(loss, inputs)


def with_and_without(make):
    plain, recomputing = make(False), make(True)
    recomputing.load_state_dict(plain.state_dict())
    return plain, recomputing


@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)], ids=["vector", "glow"])
def test_recomputed_gradients_equal_stored_ones(shape, context_dim):
    if shape == (3,):
        layers = with_and_without(lambda recompute: perturb(stack(context_dim, recompute)))
    else:
        layers = with_and_without(
            lambda recompute: perturb(small_glow(context_dim, steps=3, recompute=recompute), 0.1)
        )
    x = pixels((5, *shape))
    context = torch.randn(5, context_dim) if context_dim else None
    stored, recomputed = (gradients(layer, x, context) for layer in layers)
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)
    assert all(gradient.count_nonzero() for gradient in recomputed[2])


def test_recomputation_adds_up_the_gradients_of_a_shared_part():
    def make(recompute):
        shared = perturb(dense(Halves(4), Affine(), 2))
        return Compose(
            [shared, Permute([2, 3, 0, 1]), shared, ActNorm(4, context_dim=2), shared], recompute
        )

    x, context = torch.randn(5, 4), torch.randn(5, 2)
    stored, recomputed = (gradients(layer, x, context) for layer in with_and_without(make))
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)


def test_nested_recomputation():
    def make(recompute):
        inner = [
            perturb(Compose([counted(2), Permute([2, 3, 0, 1]), counted(2)], recompute))
            for _ in range(2)
        ]
        return Compose([*inner, perturb(ActNorm(4))], recompute)

    x, context = torch.randn(5, 4), torch.randn(5, 2)
    stored, recomputed = (gradients(layer, x, context) for layer in with_and_without(make))
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)


def dropping(recompute):
    parts = [
        counted(2, dropout=0.5),
        Permute([2, 3, 0, 1]),
        counted(2, dropout=0.5),
        counted(2, dropout=0.5),
    ]
    return Compose(parts, recompute)


def test_recomputation_repeats_the_random_numbers_of_the_forward_pass():
    x, context = torch.randn(5, 4), torch.randn(5, 2)
    stored, recomputed = (gradients(layer, x, context) for layer in with_and_without(dropping))
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)
    other = gradients(dropping(True).eval(), x, context)
    assert not torch.allclose(other[0], stored[0])


def test_recomputation_leaves_the_random_numbers_of_the_program_alone():
    layer = dropping(True)
    y, _ = layer.forward_and_ladj(torch.randn(5, 4), torch.randn(5, 2))
    before = torch.get_rng_state()
    y.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_recomputation_on_a_gpu_with_random_numbers_and_autocast():
    torch.set_default_dtype(torch.float32)
    plain, recomputing = (layer.cuda() for layer in with_and_without(dropping))
    x, context = torch.randn(5, 4).cuda(), torch.randn(5, 2).cuda()
    before = None
    with torch.autocast("cuda", torch.bfloat16):
        stored = gradients(plain, x, context)
        before = torch.cuda.get_rng_state()
        recomputed = gradients(recomputing, x, context)
    assert_close(recomputed, stored, rtol=1e-2, atol=1e-2)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_recomputation_under_autocast_reaches_every_weight():
    torch.set_default_dtype(torch.float32)
    plain, recomputing = with_and_without(
        lambda recompute: Compose([counted(), Permute([2, 3, 0, 1]), counted()], recompute)
    )
    x = torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        recomputing.forward_and_ladj(
            x
        )  # must not leave casts of the weights without gradient behind
        stored, recomputed = gradients(plain, x), gradients(recomputing, x)
    # The rebuilt input may differ in its last bit and be rounded to another bfloat16: one part in
    # 256.
    assert_close(recomputed, stored, rtol=2**-8, atol=2**-8)


def test_a_compiled_graph_stores_what_it_likes():
    plain, recomputing = with_and_without(lambda recompute: perturb(stack(2, recompute)))
    recomputing.forward_and_ladj = torch.compile(
        recomputing.forward_and_ladj, fullgraph=True, backend="eager"
    )
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    stored, compiled = gradients(plain, x, context), gradients(recomputing, x, context)
    assert_close(compiled, stored, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("use", ["value", "ladj"])
def test_recomputation_with_only_one_of_the_outputs_used(use):
    plain, recomputing = with_and_without(lambda recompute: perturb(stack(None, recompute)))
    x = torch.randn(5, 3)
    found = []
    for layer in (plain, recomputing):
        y, ladj = layer.forward_and_ladj(x)
        (y if use == "value" else ladj).sum().backward()
        found.append(
            [torch.zeros_like(p) if p.grad is None else p.grad for p in layer.parameters()]
        )
    assert_close(*found, rtol=1e-8, atol=1e-8)


def test_recomputation_with_frozen_weights():
    layers = with_and_without(lambda recompute: perturb(stack(None, recompute)))
    x = torch.randn(5, 3)
    found = []
    for layer in layers:
        layer.parts[0].requires_grad_(False)
        y, ladj = layer.forward_and_ladj(x)
        (y.sum() + ladj.sum()).backward()
        found.append([p.grad for p in layer.parts[3].parameters()])
        assert all(p.grad is None for p in layer.parts[0].parameters())
    assert_close(*found, rtol=1e-8, atol=1e-8)


def test_recomputation_of_an_empty_batch():
    layer = perturb(stack(2, recompute=True))
    y, ladj = layer.forward_and_ladj(torch.randn(0, 3), torch.randn(0, 2))
    (y.sum() + ladj.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


def test_second_derivatives_are_refused():
    layer = perturb(stack(None, recompute=True))
    x = torch.randn(3, requires_grad=True)
    y, _ = layer.forward_and_ladj(x)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_weights_that_change_before_backward_are_refused():
    layer = perturb(stack(None, recompute=True))
    y, _ = layer.forward_and_ladj(torch.randn(4, 3))
    with torch.no_grad():
        next(layer.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="some have changed since"):
        y.sum().backward()


def saved_bytes(layer, x):
    """The memory of the distinct tensors that the graph of one score keeps, but for the weights."""
    kept = {}
    weights = {p.untyped_storage().data_ptr() for p in layer.parameters()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage  # held, so that no other tensor gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y, ladj = layer.forward_and_ladj(x)
    return sum(storage.nbytes() for storage in kept.values()), (y, ladj)


def test_memory_does_not_grow_with_depth():
    def step():
        return Compose(
            [ActNorm(4), perturb(dense(Halves(4), Affine(), None)), Permute([3, 2, 1, 0])]
        )

    x = torch.randn(100, 4, requires_grad=True)
    stored = [saved_bytes(Compose([step() for _ in range(n)]), x)[0] for n in (2, 8)]
    recomputed = [
        saved_bytes(Compose([step() for _ in range(n)], recompute=True), x)[0] for n in (2, 8)
    ]
    assert stored[1] > 3 * stored[0]
    assert recomputed[1] == recomputed[0] < stored[0]


def test_a_bound_context_inside_a_recomputing_compose_is_refused():
    bound = ActNorm(2, context_dim=1).condition(torch.zeros(1))
    with pytest.raises(ValueError, match="whose gradient would be lost"):
        Compose([Compose([bound]), Permute([1, 0])], recompute=True)


def test_two_dimensional_prior_and_flatten_fit_together():
    layer = Compose([DiagonalAffine((1, 2, 2)), Flatten((1, 2, 2))])
    assert (layer.domain.event_dim, layer.codomain.event_dim) == (3, 1)
    assert layer.inverse_shape((7, 4)) == (7, 1, 2, 2)
