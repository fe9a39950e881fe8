"""Autoregressive layers over tokens: the order of the tokens, and the two methods of the inverse."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn import MaskedDense, TokenConditioner, TransformerConditioner
from pyro_exact.transforms import Affine, MixtureCDF, TokenAutoregressive, Tokens

pytestmark = pytest.mark.usefixtures("double")


def layer(solver="auto", reverse=False, tokens=6, formula=None, context_dim=None, std=0.5):
    formula = Affine(bound=0.5) if formula is None else formula
    net = TransformerConditioner(tokens, 2, formula.num_params, 8, 1, 2, context_dim)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return TokenAutoregressive(formula, net, reverse, solver)


class BySum(TokenConditioner):
    """A network without steps of its own: each token is shifted by the sum of those before it."""

    def forward(self, x, context=None):
        shift = x.cumsum(-2) - x
        return torch.stack((shift, torch.zeros_like(shift)), dim=-1)


def test_patches_are_those_of_unfold():
    x = torch.randn(5, 3, 6, 4)
    unfolded = torch.nn.functional.unfold(x, 2, stride=2).mT
    assert torch.equal(Tokens((3, 6, 4), 2)(x), unfolded)


def test_pieces_of_a_vector_are_neighbours():
    assert Tokens(4, 2)(torch.arange(4.0)).tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("reverse", [False, True])
def test_tokens_see_only_those_before(reverse):
    made = layer(reverse=reverse)
    jacobian = torch.autograd.functional.jacobian(made, torch.randn(6, 2))
    tokens = (jacobian != 0).any(-1).any(1)
    expected = torch.ones(6, 6, dtype=torch.bool)
    assert torch.equal(tokens, expected.triu() if reverse else expected.tril())


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("context_dim", [None, 3])
@pytest.mark.parametrize("formula", [Affine, lambda: MixtureCDF(2)])
@torch.no_grad()
def test_passes_and_steps_agree(reverse, context_dim, formula):
    made = layer("steps", reverse, formula=formula(), context_dim=context_dim, std=0.2)
    x = torch.randn(4, 6, 2)
    context = None if context_dim is None else torch.randn(4, context_dim)
    y, _ = made.forward_and_ladj(x, context)
    by_steps = made.inverse_and_ladj(y, context)
    assert made.passes is None

    made.solver = "passes"
    by_passes = made.inverse_and_ladj(y, context)
    assert 1 < made.passes <= 6
    assert_close(by_passes, by_steps, rtol=1e-7, atol=1e-9)
    assert_close(by_passes[0], x, rtol=1e-7, atol=1e-9)


@torch.no_grad()
def test_passes_end_when_nothing_changes():
    made = layer("passes", tokens=50)
    torch.nn.init.zeros_(made.conditioner.last.weight)
    torch.nn.init.zeros_(made.conditioner.last.bias)
    x = torch.randn(3, 50, 2)
    assert torch.equal(made.inverse_and_ladj(x)[0], x)
    assert made.passes == 1

    torch.nn.init.constant_(made.conditioner.last.bias, 0.5)
    made.inverse_and_ladj(x)
    assert made.passes == 2  # the second one finds that the first one was right


@torch.no_grad()
def test_passes_are_at_most_the_tokens():
    made = TokenAutoregressive(Affine(), BySum(7, 2), solver="passes")
    x = torch.randn(3, 7, 2)
    y = made(x)
    assert_close(made.inverse_and_ladj(y)[0], x)
    assert made.passes == 7


@torch.no_grad()
def test_passes_end_at_nan():
    made = layer("passes")
    x, _ = made.inverse_and_ladj(torch.full((1, 6, 2), torch.nan))
    assert x.isnan().all()
    assert made.passes == 1


def test_inverse_with_gradient_takes_steps():
    made = layer("passes")
    made.inverse_and_ladj(torch.randn(3, 6, 2))
    assert made.passes is None


def test_default_steps_are_passes_of_the_network():
    made = TokenAutoregressive(Affine(), BySum(5, 2), solver="steps")
    x = torch.randn(3, 5, 2)
    y = made(x)
    assert_close(y, x.cumsum(-2))
    assert_close(made.inverse_and_ladj(y)[0], x)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Tokens((3, 6, 4), 4), ValueError, "patch=4 and shape .3, 6, 4.. Choose a common"),
        (lambda: Tokens((3, 6)), ValueError, r"or \(C, H, W\) of an image; got \(3, 6\)"),
        (lambda: Tokens(5, 2), ValueError, "patches that divide the sides"),
        (lambda: layer("newton"), ValueError, "'auto', 'steps' or 'passes'; got 'newton'"),
        (
            lambda: TokenAutoregressive(Affine(), MaskedDense(3, 2)),
            TypeError,
            "expects a conditioner of type TokenConditioner; got MaskedDense",
        ),
        (lambda: layer()(torch.zeros(2, 5, 2)), ValueError, r"events of shape \(6, 2\)"),
    ],
)
def test_bad_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.gpu
@torch.no_grad()
def test_passes_are_the_default_on_a_gpu():
    made = layer().cuda()
    x = torch.randn(4, 6, 2, device="cuda")
    y = made(x)
    assert_close(made.inverse_and_ladj(y)[0], x, rtol=1e-7, atol=1e-9)
    assert 1 < made.passes <= 6
