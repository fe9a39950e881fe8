"""Conditioners: their start, contexts and sizes."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pyro_exact.nn import (
    ConvConditioner,
    DenseConditioner,
    MaskedDense,
    PriorConditioner,
)
from pyro_exact.transforms import Affine, Coupling, Halves

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


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


def test_conditioners_serve_a_batch_with_one_context():
    dense, conv = (
        perturb(DenseConditioner(3, 5, 2, (4,), 2)),
        perturb(ConvConditioner(3, 4, 2, 4, 2)),
    )
    context = torch.randn(2)
    for conditioner, x in (dense, torch.randn(6, 3)), (conv, torch.randn(6, 3, 4, 4)):
        assert_close(conditioner(x, context), conditioner(x, context.expand(6, 2)), rtol=0, atol=0)


def test_conditioners_give_parameters_in_neighbouring_channels():
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


def test_conv_conditioner_shifts_hidden_channels_by_the_context():
    conditioner = perturb(ConvConditioner(2, 3, 2, 4, context_dim=2))
    x, context = torch.randn(8, 2, 5, 5), torch.randn(8, 2)
    h = conditioner.first(x) + conditioner.shift(context)[..., None, None]
    theta = conditioner.last(conditioner.second(h.relu()).relu())
    assert_close(conditioner(x, context)[..., 0], theta[:, 0::2])


@pytest.mark.parametrize("dtype", [torch.long, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["dense", "conv", "masked"])
def test_conditioners_take_a_context_of_another_dtype(kind, dtype):
    nets = {
        "dense": lambda: (DenseConditioner(2, 2, 2, context_dim=3), torch.randn(4, 2)),
        "conv": lambda: (ConvConditioner(2, 2, 2, width=4, context_dim=3), torch.randn(4, 2, 2, 2)),
        "masked": lambda: (MaskedDense(2, 2, context_dim=3), torch.randn(4, 2)),
    }
    net, x = nets[kind]()
    perturb(net)
    one_hot = torch.eye(4, 3)
    assert_close(net(x, one_hot.to(dtype)), net(x, one_hot))


@pytest.mark.parametrize("num_params", [1, 2, 3])
@pytest.mark.parametrize(
    "make",
    [
        lambda params: DenseConditioner(3, 5, params, (4,)),
        lambda params: MaskedDense(3, params),
        lambda params: MaskedDense(3, params, (400, 800), order=[2, 0, 1]),
    ],
    ids=["dense", "masked", "masked large"],
)
def test_conditioners_return_the_parameters_one_by_one(make, num_params):
    net, x = perturb(make(num_params)), torch.randn(6, 3)
    for separate, column in zip(net(x, separate=True), net(x).unbind(-1), strict=True):
        assert_close(separate, column)


def test_conditioner_with_a_forward_of_its_own_returns_theta():
    class Shifted(DenseConditioner):
        def forward(self, x, context=None):
            return super().forward(x, context) + 1

    layer = Coupling(Halves(4), Affine(), Shifted(2, 2, 2, (4,)))
    x = torch.randn(6, 4)
    assert_close(layer(x)[:, 2:], Affine().forward_and_ladj(x[:, 2:], torch.ones(6, 2, 2))[0])
