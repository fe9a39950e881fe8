"""Conditioners, the convolution of Glow, parameters and statistics."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.nn import (
    AttentionConditioner,
    ConvConditioner,
    DenseConditioner,
    MaskedDense,
    Parameters,
    PriorConditioner,
    ScaledConv2d,
)
from pyro_exact.nn.attend import attend
from pyro_exact.nn.statistics import channel_statistics

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


# ScaledConv2d
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_edge_is_a_channel_that_marks_the_padding(kernel_size):
    layer = perturb(ScaledConv2d(2, 4, kernel_size))
    x = torch.randn(5, 2, 6, 7)
    pad = [kernel_size // 2] * 4
    marked = torch.cat((F.pad(x, pad), F.pad(torch.zeros(5, 1, 6, 7), pad, value=1.0)), dim=1)
    weight = torch.cat((layer.weight, layer.edge_weight), dim=1)
    expected = (F.conv2d(marked, weight) + layer.bias[:, None, None]) * (3 * layer.log_scale).exp()[
        :, None, None
    ]
    assert_close(layer(x), expected)


def test_without_the_edge_it_is_a_convolution_with_an_output_scale():
    layer = perturb(ScaledConv2d(2, 4, edge=False, log_scale_factor=2.0))
    x = torch.randn(5, 2, 6, 7)
    expected = (
        F.conv2d(x, layer.weight, layer.bias, padding=1)
        * (2 * layer.log_scale).exp()[:, None, None]
    )
    assert layer.edge_weight is None
    assert_close(layer(x), expected)


def test_a_pointwise_convolution_has_no_edge():
    assert ScaledConv2d(2, 4, 1).edge_weight is None


def test_scaled_convolution_starts_as_glow_does():
    layer = ScaledConv2d(64, 64)
    weights = torch.cat((layer.weight, layer.edge_weight), dim=1)
    assert abs(weights.std().item() - 0.05) < 0.001
    assert not layer.bias.any()
    assert not layer.log_scale.any()
    assert not ScaledConv2d(2, 4, zero=True)(torch.randn(1, 2, 3, 3)).any()


def test_initialize_gives_every_channel_zero_mean_and_unit_variance():
    layer = perturb(ScaledConv2d(2, 4))
    y = layer.initialize(3 + torch.randn(8, 2, 5, 5))
    assert_close(y.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-12)
    assert_close(y.std((0, 2, 3), correction=0), torch.ones(4))
    assert not y.requires_grad


def test_initialize_leaves_a_zero_convolution_alone():
    layer = ScaledConv2d(2, 4, zero=True)
    assert not layer.initialize(torch.randn(8, 2, 5, 5)).any()
    assert not any(p.any() for p in layer.parameters())


def test_initialize_survives_constant_input():
    y = ScaledConv2d(2, 4, edge=False).initialize(torch.zeros(8, 2, 5, 5))
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((2, 4, 2), "expects an odd kernel_size; got 2"), ((0, 4), "0 in"), ((4, 0), "0 out")],
)
def test_scaled_convolution_refuses_impossible_sizes(sizes, message):
    with pytest.raises(ValueError, match=message):
        ScaledConv2d(*sizes)


# Conditioners
# ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (3,), (3, 4), (0,)], ids=str)
@pytest.mark.parametrize("context_dim", [None, 2])
@pytest.mark.parametrize(
    ("make", "event", "expected"),
    [
        (lambda c: DenseConditioner(3, 5, 2, (4,), c), (3,), (5, 2)),
        (lambda c: DenseConditioner(3, 5, 7, (), c), (3,), (5, 7)),
        (lambda c: DenseConditioner(0, 1, 2, (4,), c), (0,), (1, 2)),
        (lambda c: ConvConditioner(2, 3, 7, 4, c), (2, 6, 5), (3, 6, 5, 7)),
    ],
)
def test_conditioners_start_at_zero_for_any_batch(batch, context_dim, make, event, expected):
    conditioner = make(context_dim)
    context = None if context_dim is None else torch.randn(*batch, context_dim)
    theta = conditioner(torch.randn(*batch, *event), context)
    assert theta.shape == (*batch, *expected)
    assert not theta.any()
    theta = perturb(conditioner)(torch.randn(*batch, *event), context)
    assert theta.all()


def test_prior_conditioner_starts_at_zero():
    conditioner = PriorConditioner(2, 3)
    assert conditioner(torch.randn(4, 5, 2, 6, 7)).shape == (4, 5, 3, 6, 7, 2)
    assert not conditioner(torch.randn(4, 2, 6, 7)).any()
    assert conditioner(torch.randn(2, 6, 7)).shape == (3, 6, 7, 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DenseConditioner(3, 5, 2, context_dim=2),
        lambda: ConvConditioner(3, 4, 2, 4, context_dim=2),
    ],
)
def test_conditioners_say_that_the_context_is_missing(make):
    with pytest.raises(ValueError, match=r"expects a context of shape \(\*batch, 2\); got none"):
        make()(torch.randn(3, 3, 3))


def test_one_context_serves_a_batch():
    dense, conv = (
        perturb(DenseConditioner(3, 5, 2, (4,), 2)),
        perturb(ConvConditioner(3, 4, 2, 4, 2)),
    )
    context = torch.randn(2)
    for conditioner, x in (dense, torch.randn(6, 3)), (conv, torch.randn(6, 3, 4, 4)):
        assert_close(conditioner(x, context), conditioner(x, context.expand(6, 2)), rtol=0, atol=0)


def test_the_parameters_of_a_number_are_neighbouring_channels():
    conditioner = perturb(ConvConditioner(2, 3, 2, 4))
    x = torch.randn(5, 2, 6, 6)
    channels = conditioner.last(conditioner.second(conditioner.first(x).relu()).relu())
    theta = conditioner(x)
    assert_close(theta[..., 0], channels[:, 0::2])  # the shifts
    assert_close(theta[..., 1], channels[:, 1::2])  # the scales

    prior = perturb(PriorConditioner(2, 3))
    assert_close(prior(x).unbind(-1), (prior.conv(x)[:, 0::2], prior.conv(x)[:, 1::2]))


def test_conv_conditioner_has_the_official_shapes():
    conditioner = ConvConditioner(6, 6, 2)
    shapes = {name: tuple(p.shape) for name, p in conditioner.named_parameters()}
    scale_and_shift = [("first", 512), ("second", 512), ("last", 12)]
    expected = {
        f"{conv}.{name}": (width,)
        for conv, width in scale_and_shift
        for name in ("bias", "log_scale")
    }
    assert shapes == expected | {
        "first.weight": (512, 6, 3, 3),
        "first.edge_weight": (512, 1, 3, 3),
        "second.weight": (512, 512, 1, 1),
        "last.weight": (12, 512, 3, 3),
        "last.edge_weight": (12, 1, 3, 3),
    }


def test_conv_conditioner_initialises_its_hidden_channels_in_turn():
    conditioner = ConvConditioner(2, 3, 2, 4, context_dim=2)
    x, context = 3 + torch.randn(8, 2, 5, 5), torch.randn(8, 2)
    conditioner.initialize(x, context)
    first = conditioner.first(x)
    second = conditioner.second(first.relu())
    for h in first, second:
        assert_close(h.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-10)
        assert_close(h.std((0, 2, 3), correction=0), torch.ones(4))
    assert not conditioner(x, context).any()


def test_the_context_shifts_the_hidden_channels():
    conditioner = perturb(ConvConditioner(2, 3, 2, 4, context_dim=2))
    x, context = torch.randn(8, 2, 5, 5), torch.randn(8, 2)
    h = conditioner.first(x) + conditioner.shift(context)[..., None, None]
    theta = conditioner.last(conditioner.second(h.relu()).relu())
    assert_close(conditioner(x, context)[..., 0], theta[:, 0::2])


# Parameters and statistics
# --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (3,), (3, 4), (0,)], ids=str)
def test_parameters_add_a_function_of_the_context(batch):
    initial = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    conditional = Parameters(initial, context_dim=5, hidden_dims=(6,))
    context = torch.randn(*batch, 5)
    for value, new, shape in zip(
        initial.values(), conditional(context), [(2, 3), (4,)], strict=True
    ):
        assert new.shape == (*batch, *shape)
        assert_close(new, value.expand(new.shape))
    perturb(conditional)
    changes = conditional.hypernet(context)
    a, b = conditional(context)
    assert_close(a, conditional.a + changes[..., :6].reshape(*batch, 2, 3))
    assert_close(b, conditional.b + changes[..., 6:])


def test_plain_parameters_are_free_copies():
    initial = {"a": torch.randn(2, 3), "b": torch.randn(4)}
    parameters = Parameters(initial)
    a, b = parameters()
    assert (a is parameters.a, b is parameters.b) == (True, True)
    assert torch.equal(a, initial["a"])
    assert a.data_ptr() != initial["a"].data_ptr()
    assert parameters(torch.randn(7)) == (a, b)


def test_parameters_say_that_the_context_is_missing():
    with pytest.raises(ValueError, match=r"expects a context of shape \(\*batch, 5\); got none"):
        Parameters({"a": torch.zeros(1)}, context_dim=5)()


@pytest.mark.parametrize(
    ("shape", "event_dim"), [((50, 3), 1), ((4, 5, 3, 2, 6), 3), ((3, 4, 4), 3)]
)
def test_statistics_are_those_of_each_channel(shape, event_dim):
    x = 7 + 2 * torch.randn(shape)
    mean, std = channel_statistics(x, event_dim)
    assert mean.shape == std.shape == (3, *[1] * (event_dim - 1))
    channels = x.movedim(-event_dim, 0).flatten(1)
    assert_close(mean.flatten(), channels.mean(1))
    assert_close(std.flatten(), channels.std(1, correction=0))


def test_statistics_of_small_deviations_from_a_large_mean_are_exact():
    x = (1e6 + torch.randn(1000, 2)).float()
    _, std = channel_statistics(x, 1)
    assert std.dtype == torch.float32
    assert_close(std.double(), x.double().std(0, correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("batch", [0, 1])
def test_statistics_of_a_single_value_are_refused(batch):
    with pytest.raises(ValueError, match="expects at least two values per channel"):
        channel_statistics(torch.randn(batch, 3), 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_statistics_of_values_that_are_not_finite_are_refused(value):
    x = torch.randn(5, 3)
    x[2, 1] = value
    with pytest.raises(ValueError, match="expects finite values"):
        channel_statistics(x, 1)


@pytest.mark.parametrize("dtype", [torch.long, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["dense", "conv", "masked"])
def test_a_context_may_have_another_dtype(kind, dtype):
    nets = {
        "dense": lambda: (DenseConditioner(2, 2, 2, context_dim=3), torch.randn(4, 2)),
        "conv": lambda: (ConvConditioner(2, 2, 2, width=4, context_dim=3), torch.randn(4, 2, 2, 2)),
        "masked": lambda: (MaskedDense(2, 2, context_dim=3), torch.randn(4, 2)),
    }
    net, x = nets[kind]()
    perturb(net)
    one_hot = torch.eye(4, 3)
    assert_close(net(x, one_hot.to(dtype)), net(x, one_hot))


@pytest.mark.parametrize("large", [0, 2**16], ids=["in blocks", "whole"])
def test_masked_layers_serve_the_transforms_of_functions(large, monkeypatch):
    """By vmap as one after the other; under a transform a layer must do without blocks, which have no rule for it."""
    monkeypatch.setattr("pyro_exact.ops.masked_product.LARGE", large)
    net = perturb(MaskedDense(3, 2, (16, 16)))
    x, weight = torch.randn(4, 3), net.layers[1].weight.detach()

    def of_weight(weight, x):
        return torch.func.functional_call(net, {"layers.1.weight": weight}, (x,)).square()

    of_input = torch.func.jacrev(net)
    assert_close(of_input(x[0]), torch.autograd.functional.jacobian(net, x[0]))
    for function in (
        of_input,
        torch.func.jacrev(of_input),
        lambda x: torch.func.jacrev(of_weight)(weight, x),
    ):
        assert_close(torch.func.vmap(function)(x), torch.stack([function(row) for row in x]))


# Attention
# ------------------------------------------------------------------------------------------------------------


def attention(*parts):
    query, key, value = parts
    return ((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value).square()


def test_attention_has_the_gradients_of_its_formula_to_the_second():
    parts = [torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def gradients(formula):
        first = torch.autograd.grad(formula(*parts).sum(), parts, create_graph=True)
        return *first, *torch.autograd.grad(sum(g.square().sum() for g in first), parts)

    assert_close(gradients(lambda *parts: attend(*parts).square()), gradients(attention))


def test_the_gradient_of_attention_may_be_asked_for_twice():
    parts = [torch.randn(2, 5, 4, requires_grad=True) for _ in range(3)]
    total = attend(*parts).square().sum()
    first = torch.autograd.grad(total, parts, retain_graph=True)
    assert_close(torch.autograd.grad(total, parts), first, rtol=0, atol=0)


def test_the_conditioner_of_flow_pp_has_a_hessian_by_either_way():
    net = perturb(
        AttentionConditioner(1, 1, 2, (2, 2), width=4, blocks=1, heads=2, dropout=0.0).double()
    )
    x = torch.randn(1, 2, 2, dtype=torch.float64)

    def total(x):
        return net(x[None]).square().sum()

    expected = torch.autograd.functional.hessian(total, x)
    assert expected.abs().max() > 0
    assert_close(torch.func.hessian(total)(x), expected)
