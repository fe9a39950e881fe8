"""Batch normalisation: statistics in training, averages in evaluation."""

import math

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.transforms import (
    ActNorm,
    BatchNorm,
    Compose,
    FactorOut,
    Flatten,
    Permute,
)

pytestmark = pytest.mark.usefixtures("double")

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@dtypes
@pytest.mark.parametrize("variance", [0.0, 1e-30, 1.0, 1e30])
def test_batch_norm_with_any_variance(variance, dtype):
    layer = BatchNorm(3).eval().to(dtype)
    layer.running_variance.fill_(variance)
    layer.running_mean.fill_(-1e4)
    x = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    y, ladj = layer.forward_and_ladj(x)
    back, ladj_back = layer.inverse_and_ladj(y)
    assert_close(ladj, torch.full((5,), -1.5 * math.log(variance + 1e-4), dtype=dtype))
    assert_close(ladj_back, -ladj)
    assert_close(
        back, x, rtol=0, atol=8 * 1e4 * torch.finfo(dtype).eps
    )  # the mean is 1e4 times as large
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


def log_det(layer, x):
    return jacobian(lambda x: layer.forward_and_ladj(x)[0], x).slogdet().logabsdet


@pytest.mark.parametrize(
    ("event_dim", "shape"), [(1, (50, 3)), (1, (5, 10, 3)), (3, (7, 3, 4, 2)), (3, (3, 4, 2))]
)
def test_batch_norm_in_training_normalises_the_batch(event_dim, shape):
    layer = BatchNorm(3, event_dim, epsilon=1e-8)
    x = 5 + 3 * torch.randn(shape)
    y, ladj = layer.forward_and_ladj(x)
    assert y.shape == shape
    assert ladj.shape == shape[: len(shape) - event_dim]
    values = y.movedim(-event_dim, 0).flatten(1)
    assert_close(values.mean(1), torch.zeros(3))
    assert_close(values.std(1, correction=0), torch.ones(3))


def test_batch_norm_sends_gradients_through_the_statistics():
    layer = BatchNorm(2)
    assert gradcheck(layer.forward_and_ladj, torch.randn(5, 2, requires_grad=True))
    x = torch.randn(5, 2, requires_grad=True)
    layer.forward_and_ladj(x)[0].sum().backward()
    assert_close(x.grad, torch.zeros(5, 2))  # the mean of the outputs is 0 whatever x is


def test_batch_norm_moves_its_averages_in_train_mode_only():
    layer = BatchNorm(2, momentum=0.25)
    x = 5 + 3 * torch.randn(50, 2)
    for _ in range(100):
        layer(x)
    assert_close(layer.running_mean, x.mean(0))
    assert_close(layer.running_variance, x.var(0, correction=0))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.inv(x.clone())
    layer.eval()(2 * x)
    assert_close(layer.state_dict(), before, rtol=0, atol=0)
    other = BatchNorm(2).eval()
    other.load_state_dict(layer.state_dict())
    assert_close(other(x.clone()), layer(x), rtol=0, atol=0)


def test_batch_norm_inverse_in_training_undoes_the_last_batch():
    """Of the very output, which memory knows, as of a copy; also within other layers, and for the density."""
    for layer in (BatchNorm(2), Compose([ActNorm(2), BatchNorm(2), Permute([1, 0])])):
        x = 5 + 3 * torch.randn(50, 2)
        y = layer(x)
        assert_close(layer.inv(y.clone()), x)
        assert_close(layer.inv(y), x)

        d = TransformedDistribution(Normal(torch.zeros(2), 1.0).to_event(1), [layer])
        sample = d.sample((50,))
        assert_close(d.log_prob(sample), d.log_prob(sample.clone()))


def test_batch_norm_in_evaluation_is_a_bijection():
    layer = BatchNorm(2).eval()
    layer.running_mean.normal_()
    layer.running_variance.uniform_(0.5, 2)
    x = torch.randn(2)
    y, ladj = layer.forward_and_ladj(x)
    assert_close(layer.inverse_and_ladj(y), (x, -ladj))
    assert_close(ladj, log_det(layer, x))


def test_batch_norm_can_be_initialised():
    layer = BatchNorm(2, epsilon=1e-8)
    x = 5 + 3 * torch.randn(50, 2)
    y = layer.initialize(x)
    assert_close(y.std(0, correction=0), torch.ones(2))
    assert_close(layer.eval()(x), y)


def test_batch_norm_in_a_container_is_initialised_once():
    """In training mode a second pass would move the averages away from what they were set to."""
    alone, inner = BatchNorm(2, 3), BatchNorm(2, 3)
    whole = FactorOut((4, 2, 2), Compose([inner, Flatten((2, 2, 2))]))
    x = 5 + 3 * torch.randn(20, 4, 2, 2)
    y = whole.initialize(x)
    alone.initialize(x[:, :2])
    assert_close(inner.state_dict(), alone.state_dict(), rtol=0, atol=0)
    assert_close(y, whole.eval()(x))


def test_batch_norm_refuses_a_batch_of_one_in_training():
    layer = BatchNorm(2)
    for shape in ((2,), (1, 2), (0, 2)):
        with pytest.raises(ValueError, match="at least two values per channel in train mode"):
            layer(torch.randn(shape))
    assert layer.eval()(torch.randn(1, 2)).shape == (1, 2)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_traces_into_one_graph(training):
    torch._dynamo.reset()
    layer, other = BatchNorm(3).train(training), BatchNorm(3).train(training)
    x = torch.randn(4, 3)
    traced = torch.compile(layer.forward_and_ladj, fullgraph=True, backend="eager")
    assert_close(traced(x), other.forward_and_ladj(x))
    assert_close(layer.state_dict(), other.state_dict())
