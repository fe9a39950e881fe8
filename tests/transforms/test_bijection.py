"""The contract of a bijection: pure methods, contexts, inverses."""

import pytest
import torch
from helpers.counting import counted, perturb
from registry import stack
from torch import nn
from torch.testing import assert_close

from pyro_exact.transforms import (
    ActNorm,
    Bijection,
    Compose,
    Conditioned,
    DiagonalAffine,
    Flatten,
    Permute,
)

pytestmark = pytest.mark.usefixtures("double")


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
        (None, (3,), (2,), "expects no context; got a Tensor. Build it with a context"),
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
            r"expects a context of shape \(\*batch, 2\); got \(3,\). Pass a context of this size",
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
def test_bijection_pure_methods_say_what_does_not_fit(wrap, context_shape, shape, context, message):
    layer = wrap(Scaled(context_shape))
    for direction in (layer.forward_and_ladj, layer.inverse_and_ladj):
        with pytest.raises(ValueError, match=message):
            direction(torch.randn(shape), None if context is None else torch.randn(context))


def test_compose_gives_a_context_to_the_parts_that_take_one():
    layer = Compose([Scaled(), Scaled((2,)), Compose([Scaled()])])
    y, _ = layer.forward_and_ladj(torch.ones(5, 3), torch.randn(2))
    assert_close(y, torch.full((5, 3), 8.0))


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


def test_conditioned_initialises_its_layer():
    x = 5 + 2 * torch.randn(50, 3)
    layer = ActNorm(3, context_dim=2)
    y = layer.condition(torch.randn(50, 2)).initialize(x)
    assert_close(y.mean(0), torch.zeros(3))
    assert_close(layer.mean, x.mean(0))


def test_bijection_refuses_a_context_that_it_does_not_take():
    with pytest.raises(ValueError, match="Permute expects no context"):
        Conditioned(Permute([1, 0]), torch.zeros(2))


def test_bijection_serves_vmap_and_jacrev():
    layer = perturb(stack(None))
    x = torch.randn(5, 3)
    assert_close(torch.func.vmap(layer)(x), layer(x))
    jacobian = torch.func.jacrev(layer)(x[0])
    assert_close(jacobian.slogdet().logabsdet, layer.forward_and_ladj(x[0])[1])


def test_flatten_fits_a_two_dimensional_base():
    layer = Compose([DiagonalAffine((1, 2, 2)), Flatten((1, 2, 2))])
    assert (layer.domain.event_dim, layer.codomain.event_dim) == (3, 1)
    assert layer.inverse_shape((7, 4)) == (7, 1, 2, 2)
