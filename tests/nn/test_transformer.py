"""Causal transformers: who sees whom, steps beside whole passes, and the ring buffer across blocks."""

import math

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn import CausalTransformer, TransformerConditioner
from pyro_exact.nn.attend import attend
from pyro_exact.nn.transformer.positions import sinusoids

pytestmark = pytest.mark.usefixtures("double")

LENGTH = 10
FORMS = {
    "dense": {},
    "dense post-norm": {"norm": "post", "activation": "relu", "bias": False},
    "sinusoidal on a grid": {"grid": (2, 5), "positions": "sinusoidal"},
    "learned on a grid": {"grid": (5, 2)},
    "blocks of 1": {"local": 1},
    "blocks of 3": {"local": 3},
    "blocks of 5": {"local": 5, "norm": "post"},
    "blocks of 7": {"local": 7, "head_dim": 3, "dense_width": 5},
}


def transformer(depth=2, context_dim=None, grid=LENGTH, **settings):
    net = CausalTransformer(grid, 4, depth, heads=2, context_dim=context_dim, **settings).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def by_steps(net, x, context=None):
    state, outputs = net.start(len(x), context), []
    for position in range(x.shape[1]):
        y, state = net.step(state, x[:, position])
        outputs.append(y)
    return torch.stack(outputs, dim=1)


def seen(net, x):
    """Return True where an input changes an output, (outputs, inputs)."""
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x[None])[0], x)
    return (jacobian != 0).any(-1).any(1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grad", [True, False])
def test_steps_are_the_whole_pass(form, grad):
    net = transformer(context_dim=3, **FORMS[form])
    x, context = torch.randn(2, LENGTH, 4), torch.randn(2, 3)
    with torch.set_grad_enabled(grad):
        assert_close(by_steps(net, x, context), net(x, context), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_outputs_see_no_later_input(form):
    assert not seen(transformer(**FORMS[form]), torch.randn(LENGTH, 4)).triu(1).any()


@pytest.mark.parametrize("local", [1, 3, 4, 5, LENGTH])
def test_receptive_field_is_the_rule_of_the_blocks(local):
    position = torch.arange(LENGTH)
    block = position // local
    rule = (position <= position[:, None]) & (block >= block[:, None] - 1)
    assert torch.equal(seen(transformer(depth=1, local=local), torch.randn(LENGTH, 4)), rule)

    deeper = (rule.double() @ rule.double()) > 0
    assert torch.equal(seen(transformer(depth=2, local=local), torch.randn(LENGTH, 4)), deeper)


def test_blocked_attention_is_dense_attention_with_a_mask():
    net, x = transformer(depth=1, local=3), torch.randn(2, LENGTH, 4)
    layer = net.blocks[0].attention
    block = torch.arange(LENGTH) // 3
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril() & (block >= block[:, None] - 1)
    masked = layer._merged(attend(*layer._projected(x), mask=mask))
    assert_close(layer(x), masked)


def test_fewer_positions_are_the_first_ones():
    net, x = transformer(local=3), torch.randn(2, LENGTH, 4)
    for length in (1, 3, 8):
        assert_close(net(x[:, :length]), net(x)[:, :length])


def test_state_of_a_step_with_gradient_serves_again():
    net, x = transformer(local=3), torch.randn(2, LENGTH, 4)
    _, state = net.step(net.start(2), x[:, 0])
    first, _ = net.step(state, x[:, 1])
    net.step(state, x[:, 2])
    again, _ = net.step(state, x[:, 1])
    assert torch.equal(first, again)


def test_modules_keep_no_keys():
    net, x = transformer(local=3), torch.randn(2, LENGTH, 4)
    before = {name: value.clone() for name, value in net.state_dict(keep_vars=True).items()}
    tensors = [
        id(t) for module in net.modules() for t in vars(module).values() if torch.is_tensor(t)
    ]
    with torch.no_grad():
        by_steps(net, x)
    after = [id(t) for module in net.modules() for t in vars(module).values() if torch.is_tensor(t)]
    assert tensors == after
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_gradients_of_steps_are_those_of_the_whole_pass():
    net, x = transformer(local=3), torch.randn(2, LENGTH, 4)
    weight = torch.randn(2, LENGTH, 4)
    gradients = [
        torch.autograd.grad((run(x) * weight).sum(), list(net.parameters()))
        for run in (net, lambda x: by_steps(net, x))
    ]
    assert_close(*gradients)


@pytest.mark.parametrize("local", [None, 4])
def test_second_derivatives_are_those_of_finite_differences(local):
    net = transformer(depth=1, grid=6, local=local)
    assert torch.autograd.gradgradcheck(
        net, torch.randn(1, 6, 4, requires_grad=True), fast_mode=True
    )


def test_vmap_is_the_batch():
    net, x = transformer(local=3), torch.randn(3, 2, LENGTH, 4)
    assert_close(torch.func.vmap(net)(x), torch.stack([net(each) for each in x]))


@pytest.mark.parametrize("position", [0, 1])
def test_first_position_is_finite_and_has_gradients(position):
    net = transformer(local=3)
    x = torch.randn(2, position + 1, 4, requires_grad=True)
    y = net(x)[:, position]
    gradients = torch.autograd.grad(y.square().sum(), [x, *net.blocks[0].parameters()])
    assert y.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_context_reaches_every_position_through_every_block():
    net, x, context = transformer(context_dim=3), torch.randn(2, LENGTH, 4), torch.randn(2, 3)
    for block in net.blocks:
        (gradient,) = torch.autograd.grad(net(x, context).sum(), block.context.weight)
        assert (gradient != 0).any()
    changed = net(x, context + 1) != net(x, context)
    assert changed.any(-1).all()


def test_sinusoids_are_those_of_the_formula():
    table = sinusoids((2, 3), 9)
    for row in range(2):
        for column in range(3):
            frequencies = [1.0, 1 / 10_000]
            by_hand = [
                wave(coordinate * frequency)
                for coordinate in (row, column)
                for wave in (math.sin, math.cos)
                for frequency in frequencies
            ]
            assert_close(table[3 * row + column], torch.tensor([*by_hand, 0.0]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 3}, "multiple of heads; got width 4 and 3 heads. Choose a width of 6"),
        ({"local": 11}, "blocks of at most the 10 positions; got local=11"),
        ({"norm": "both"}, "norm 'pre' or 'post'; got 'both'"),
        ({"activation": "elu"}, "activation 'gelu' or 'relu'; got 'elu'"),
        ({"positions": "none"}, "positions 'learned' or 'sinusoidal'; got 'none'"),
        ({"depth": 0}, "depth from 1 to"),
        ({"dropout": 1}, "dropout as a fraction"),
        ({"order": torch.arange(9)}, r"an order of 10 positions; got shape \(9,\)"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CausalTransformer(**{"grid": 10, "width": 4, "depth": 1, "heads": 2, **settings})


def test_conditioner_refuses_a_context_of_another_shape():
    net = TransformerConditioner(3, 2, 2, 4, 1, 2, context_dim=3)
    with pytest.raises(ValueError, match=r"context of shape \(\*batch, 3\); got \(5, 2\)"):
        net(torch.randn(5, 3, 2), torch.randn(5, 2))


def test_conditioner_sees_only_the_tokens_before():
    net = TransformerConditioner(4, 2, 3, 8, 2, 2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    jacobian = torch.autograd.functional.jacobian(net, torch.randn(4, 2))
    tokens = (jacobian != 0).any(-1).any(2).any(1)
    assert torch.equal(tokens, torch.ones(4, 4, dtype=torch.bool).tril(-1))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
def test_conditioner_steps_are_the_whole_pass(batch):
    net = TransformerConditioner(4, 2, 3, 8, 2, 2, context_dim=2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, context = torch.randn(*batch, 4, 2), torch.randn(*batch, 2)
    state, previous, found = net.start(batch, context), None, []
    for token in x.unbind(-2):
        theta, state = net.step(state, previous)
        found.append(theta)
        previous = token
    assert_close(torch.stack(found, -3), net(x, context), rtol=0, atol=1e-10)


def test_steps_without_gradient_write_into_their_state():
    net, x = transformer(local=3), torch.randn(2, LENGTH, 4)
    with torch.no_grad():
        before = net.start(2)
        _, after = net.step(before, x[:, 0])
    assert before.position is after.position
    pairs = zip(before.rings, after.rings, strict=True)
    assert all(old.keys is new.keys and old.values is new.values for old, new in pairs)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_positions_come_in_the_given_order(kind):
    order = torch.randperm(LENGTH)
    settings = {"grid": (2, 5), "positions": kind}
    net, ordered = transformer(**settings), transformer(**settings, order=order)
    ordered.load_state_dict(net.state_dict())
    assert torch.equal(ordered.positions(), net.positions()[order])


def test_steps_have_no_dropout():
    net, x = transformer(dropout=0.5), torch.randn(2, LENGTH, 4)
    expected = net(x)
    assert_close(by_steps(net.train(), x), expected)
    assert not torch.equal(net(x), expected)


@pytest.mark.parametrize("local", [None, 3])
def test_an_empty_batch_is_a_batch(local):
    assert transformer(local=local)(torch.zeros(0, LENGTH, 4)).shape == (0, LENGTH, 4)
