"""Masked dense layers: their masks, and gradients to every order."""

from functools import partial

import pytest
import torch
from helpers.causal_nets import by_steps
from registry import NETS, net
from torch.testing import assert_close

from pyro_exact.autoregressive import MADE
from pyro_exact.ops.masked_product import BLOCKS

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=NETS)
def each(request):
    return net(request.param)


@pytest.fixture(params=[10**6, 0], ids=["whole", "in blocks"])
def small(request, monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", request.param)


@pytest.mark.usefixtures("small")
def test_masked_layers_learn_under_autocast():
    made = net("MADE").float()
    x = torch.randint(2, (20, 10)).float()
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = made(x).float().square().mean()
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(made.parameters()))])
        )
    exact, rounded = gradients
    assert 0 < (rounded - exact).norm() < 0.02 * exact.norm()


def of_two_seeds(masks):
    """A network, and one of other masks that is yet to get its state."""
    given, other = (MADE(6, (40, 40), masks=masks, seed=seed) for seed in (1, 7))
    for p in given.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return given, other


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("masks", [1, 2])
def test_masked_layers_take_masks_that_inference_loaded(masks):
    given, made = of_two_seeds(masks)
    x = torch.randint(2, (5, 6)).double()
    expected = given(x)
    with torch.inference_mode():
        made.load_state_dict(given.state_dict())
        born = MADE(6, (40, 40), masks=masks, seed=7)
        born(x)
        born.load_state_dict(given.state_dict())
        for one in (made, born):
            assert_close(one(x), expected)
            assert_close(by_steps(one, x, None, 0), expected)
    made(x).sum().backward()  # what inference derived serves a gradient
    assert made.dense.layers[0].weight.grad is not None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("masks", [1, 2])
def test_masked_layers_take_the_masks_of_their_buffers(masks):
    given, other = of_two_seeds(masks)
    x = torch.randint(2, (5, 6)).double()
    expected = given(x)
    assert not torch.equal(other(x), expected)
    assert_close(torch.func.functional_call(other, given.state_dict(), (x,)), expected)
    with torch.no_grad():
        for mine, its in zip(other.state_dict().values(), given.state_dict().values(), strict=True):
            mine.copy_(its)
    for member in range(masks):
        assert_close(other(x, member=member), given(x, member=member))
        assert_close(by_steps(other, x, None, member), given(x, member=member))


def test_masked_layers_have_second_derivatives(monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    made = net("MADE gaussian")
    x = torch.randn(2, 4, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, *_: made(x), (x, *made.parameters()), atol=1e-8)


@pytest.mark.parametrize("kind", ["MADE", "MADE of an order", "NADE"])
def test_masked_layers_serve_batches_of_gradients_and_functional_transforms(monkeypatch, kind):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    some, x = net(kind), torch.rand(10)
    assert kind == "NADE" or len(some.dense.layers[0].structure.blocks[0]) > 1
    jacobian = torch.autograd.functional.jacobian(some, x)
    assert_close(torch.autograd.functional.jacobian(some, x, vectorize=True), jacobian)
    for transform in (torch.func.jacrev, torch.func.jacfwd):
        assert_close(transform(some)(x), jacobian)
    rows = torch.rand(3, 10)
    assert_close(torch.func.vmap(some)(rows), some(rows))
    names = dict(some.named_parameters())

    def score(parameters, x):
        return torch.func.functional_call(some, parameters, (x,)).square().sum()

    by_row = torch.func.vmap(torch.func.grad(score), (None, 0))(names, rows)
    some.zero_grad()
    some(rows).square().sum().backward()
    for name, parameter in names.items():
        assert_close(by_row[name].sum(0), parameter.grad)


def test_masked_layers_have_derivatives_in_a_direction(monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    made, x, v = net("MADE"), torch.rand(10), torch.randn(10)
    with torch.autograd.forward_ad.dual_level():
        tangent = torch.autograd.forward_ad.unpack_dual(
            made(torch.autograd.forward_ad.make_dual(x, v))
        ).tangent
    assert_close(tangent, torch.autograd.functional.jacobian(made, x) @ v)


@pytest.mark.usefixtures("small")
def test_masked_layers_in_double_precision_are_left_alone_by_autocast():
    made, x = net("MADE"), torch.randint(2, (3, 10)).double()
    expected = made(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(made(x), expected)


@pytest.mark.usefixtures("small")
def test_masked_layers_compile_with_the_order_of_the_buffers():
    raster, other = MADE(5, (8,), seed=1), MADE(5, (8,), order=[3, 0, 4, 1, 2], seed=2)
    for p in other.parameters():
        torch.nn.init.normal_(p)
    call = torch.compile(
        partial(torch.func.functional_call, raster), backend="eager", fullgraph=True
    )
    x = torch.randint(2, (4, 5)).double()
    assert_close(call(other.state_dict(), (x,)), other(x))


@pytest.mark.parametrize("order", [[2, 0, 3, 1], [3, 2, 1, 0]])
def test_masked_layers_keep_the_weights_of_a_single_large_mask_in_place(order, monkeypatch):
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", 0)
    raster, ordered = MADE(4, (9,)), MADE(4, (9,), order=order)
    for p in raster.parameters():
        torch.nn.init.normal_(p)
    for mine, its in zip(ordered.parameters(), raster.parameters(), strict=True):
        mine.data.copy_(its)
    x = torch.randint(2, (6, 4)).double()
    assert_close(ordered(x)[:, order], raster(x[:, order]))
    ordered.initialize(x)
    marginal = ordered.likelihood.marginal(x)
    assert_close(ordered.dense.layers[-1].bias, marginal[order].flatten())
    blocks = MADE(784, (500,), order=list(range(783, -1, -1))).dense.layers[0].structure.blocks
    assert len(blocks[0]) == BLOCKS
