"""Recomputation in the backward pass: exact gradients in little memory."""

import pytest
import torch
from helpers.counting import counted, perturb
from registry import dense, pixels, small_glow, stack
from torch.testing import assert_close

from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Halves,
    Permute,
)

pytestmark = pytest.mark.usefixtures("double")


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
def test_recompute_gradients_equal_stored_ones(shape, context_dim):
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


def test_recompute_adds_up_the_gradients_of_a_shared_part():
    def make(recompute):
        shared = perturb(dense(Halves(4), Affine(), 2))
        return Compose(
            [shared, Permute([2, 3, 0, 1]), shared, ActNorm(4, context_dim=2), shared], recompute
        )

    x, context = torch.randn(5, 4), torch.randn(5, 2)
    stored, recomputed = (gradients(layer, x, context) for layer in with_and_without(make))
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)


def test_recompute_can_be_nested():
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


def test_recompute_repeats_the_random_numbers_of_the_forward_pass():
    x, context = torch.randn(5, 4), torch.randn(5, 2)
    stored, recomputed = (gradients(layer, x, context) for layer in with_and_without(dropping))
    assert_close(recomputed, stored, rtol=1e-8, atol=1e-8)
    other = gradients(dropping(True).eval(), x, context)
    assert not torch.allclose(other[0], stored[0])


def test_recompute_leaves_the_random_numbers_of_the_program_alone():
    layer = dropping(True)
    y, _ = layer.forward_and_ladj(torch.randn(5, 4), torch.randn(5, 2))
    before = torch.get_rng_state()
    y.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_recompute_on_a_gpu_with_random_numbers_and_autocast():
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


def test_recompute_under_autocast_reaches_every_weight():
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


def test_recompute_leaves_a_compiled_graph_to_store_what_it_likes():
    plain, recomputing = with_and_without(lambda recompute: perturb(stack(2, recompute)))
    recomputing.forward_and_ladj = torch.compile(
        recomputing.forward_and_ladj, fullgraph=True, backend="eager"
    )
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    stored, compiled = gradients(plain, x, context), gradients(recomputing, x, context)
    assert_close(compiled, stored, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("use", ["value", "ladj"])
def test_recompute_with_only_one_of_the_outputs_used(use):
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


def test_recompute_with_frozen_weights():
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


def test_recompute_of_an_empty_batch():
    layer = perturb(stack(2, recompute=True))
    y, ladj = layer.forward_and_ladj(torch.randn(0, 3), torch.randn(0, 2))
    (y.sum() + ladj.sum()).backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


def test_recompute_refuses_second_derivatives():
    layer = perturb(stack(None, recompute=True))
    x = torch.randn(3, requires_grad=True)
    y, _ = layer.forward_and_ladj(x)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(y.sum(), x, create_graph=True)


def test_recompute_refuses_weights_that_change_before_backward():
    layer = perturb(stack(None, recompute=True))
    y, _ = layer.forward_and_ladj(torch.randn(4, 3))
    with torch.no_grad():
        next(layer.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="got changed weights"):
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


def test_recompute_memory_does_not_grow_with_depth():
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


def test_recompute_refuses_a_bound_context_inside():
    bound = ActNorm(2, context_dim=1).condition(torch.zeros(1))
    with pytest.raises(ValueError, match="whose gradient would be lost"):
        Compose([Compose([bound]), Permute([1, 0])], recompute=True)
