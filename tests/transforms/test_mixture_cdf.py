"""MixtureCDF: precision in its tails, and the solver of its inverse."""

import copy
import math
import pickle

import pytest
import torch
from pyro.distributions import (
    validation_enabled,
)
from torch.autograd import gradgradcheck
from torch.distributions import Distribution
from torch.testing import assert_close

from pyro_exact.nn import DenseConditioner
from pyro_exact.testing import Trial, precision
from pyro_exact.transforms import (
    Affine,
    Coupling,
    Halves,
    MixtureCDF,
    mixture_cdf,
)

pytestmark = pytest.mark.usefixtures("double")

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def coupling(formula, context_dim=None):
    return Coupling(
        Halves(3), formula, DenseConditioner(1, 2, formula.num_params, (6,), context_dim)
    )


def mixture(logits, means, log_scales):
    """The parameters of a mixture without affine part, of a formula without spread."""
    shape = torch.broadcast_shapes(*(t.shape for t in (logits, means, log_scales)))
    parts = [t.expand(shape) for t in (logits, means, log_scales)]
    return torch.cat((torch.zeros(*shape[:-1], 2), *parts), dim=-1)


@pytest.mark.parametrize("components", [1, 2, 32])
def test_mixture_cdf_is_exact_in_float32_far_into_its_tails(components):
    formula = MixtureCDF(components).float()
    x = torch.tensor([-60.0, -30, -17, -1e-8, 0, 1e-8, 17, 18, 30, 60], dtype=torch.float32)
    theta = torch.randn(components * 3 + 2, dtype=torch.float32).expand(10, -1)
    y, ladj = formula.forward_and_ladj(x, theta)
    assert_close(
        (y, ladj),
        formula.forward_and_ladj(x.double(), theta.double()),
        rtol=1e-5,
        atol=1e-5,
        check_dtype=False,
    )
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    assert_close(back, x, rtol=1e-5, atol=1e-5)
    assert_close(ladj_back, -ladj, rtol=1e-5, atol=1e-5)


BOUND = 1e9  # as a raw log-scale: the scale is at its bound

ADVERSARIAL = {
    "narrow": lambda n: (torch.randn(n, 32), 10 * torch.randn(n, 32), torch.full((n, 32), -BOUND)),
    "narrow and far apart": lambda n: (
        10 * torch.randn(n, 32),
        1000 * torch.randn(n, 32),
        torch.full((n, 32), -BOUND),
    ),
    "two": lambda n: (torch.randn(n, 2), 100 * torch.randn(n, 2), torch.full((n, 2), -BOUND)),
    "wide": lambda n: (torch.randn(n, 8), 30 * torch.randn(n, 8), torch.full((n, 8), BOUND)),
    "wide and narrow": lambda n: (
        torch.randn(n, 32),
        30 * torch.randn(n, 32),
        BOUND * torch.randn(n, 32).sign(),
    ),
    "one wide": lambda n: (
        torch.randn(n, 9),
        torch.randn(n, 9),
        BOUND * torch.tensor([1.0] + [-1] * 8).expand(n, 9),
    ),
    "all equal": lambda n: (torch.zeros(n, 4), torch.ones(n, 4), torch.zeros(n, 4)),
}


@dtypes
@pytest.mark.parametrize("parts", ADVERSARIAL.values(), ids=list(ADVERSARIAL))
def test_mixture_cdf_inverts_at_the_bounds_of_its_parameters(parts, dtype):
    theta = mixture(*parts(1000))
    formula = MixtureCDF((theta.shape[-1] - 2) // 3, spread=0).to(dtype)
    means = theta[:, 2 + formula.components : 2 + 2 * formula.components]
    near = means.gather(1, torch.randint(formula.components, (1000, 1))).squeeze(
        1
    ) + 1e-3 * torch.randn(1000)
    for x in (near, means.mean(1), 20 * torch.randn(1000), 1e4 * torch.randn(1000)):
        y, ladj = formula.forward_and_ladj(x.to(dtype), theta.to(dtype))
        back, ladj_back = formula.inverse_and_ladj(y, theta.to(dtype))
        again, ladj_again = formula.forward_and_ladj(back, theta.to(dtype))
        assert torch.cat((y, ladj, back, ladj_back)).isfinite().all()
        # between components far apart y is flat to rounding, and forgets x; but it has the y that
        # was asked for
        unit = torch.finfo(dtype).eps * (1 + y.abs() + ladj_again.exp() * back.abs())
        assert ((again - y).abs() / unit).max() < 60
        assert_close(ladj_back, -ladj_again)


def test_mixture_cdf_slope_between_components_far_apart_is_no_zero():
    """At 0 both components have e^-1096 of their mass on the other side: their log-densities still tell."""
    formula = MixtureCDF(2, spread=0)
    theta = mixture(torch.zeros(2), torch.tensor([-1.0, 1.0]), torch.tensor([-BOUND, -BOUND]))
    y, ladj = formula.forward_and_ladj(torch.tensor(0.0), theta)
    assert y == 0
    assert_close(ladj, torch.tensor(math.log(4) - math.exp(7) + 7))


def test_mixture_cdf_solves_in_few_steps(monkeypatch):
    calls = []
    log_odds = mixture_cdf.log_odds
    monkeypatch.setattr(
        mixture_cdf, "log_odds", lambda x, m: calls.append(len(x)) or log_odds(x, m)
    )
    formula = MixtureCDF(32)
    x, theta = torch.randn(1000), torch.randn(1000, 98)
    y = formula.forward_and_ladj(x, theta)[0]
    calls.clear()
    formula.inverse_and_ladj(y, theta)
    assert sum(calls) / 1000 < 9
    theta = mixture(*ADVERSARIAL["narrow"](1000))
    y = formula.forward_and_ladj(10 * x, theta)[0]
    calls.clear()
    formula.inverse_and_ladj(y, theta)
    assert len(calls) < 40
    assert sum(calls) / 1000 < 9


def test_mixture_cdf_solves_an_element_as_it_does_alone():
    formula = MixtureCDF(8)
    y, theta = 3 * torch.randn(50), 3 * torch.randn(50, 26)
    together, _ = formula.inverse_and_ladj(y, theta)
    alone = torch.stack([formula.inverse_and_ladj(*pair)[0] for pair in zip(y, theta, strict=True)])
    assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_mixture_cdf_root_moves_with_all_means():
    formula = MixtureCDF(6)
    theta = torch.randn(20, 20, requires_grad=True)
    x, _ = formula.inverse_and_ladj(torch.randn(20), theta)
    (gradient,) = torch.autograd.grad(x.sum(), theta)
    assert_close(gradient[:, 8:14].sum(-1), torch.ones(20))


def test_mixture_cdf_inverse_has_its_second_derivatives():
    formula = MixtureCDF(3)
    y, theta = torch.randn(2, requires_grad=True), torch.randn(2, 11, requires_grad=True)
    assert gradgradcheck(formula.inverse_and_ladj, (y, theta))


@dtypes
def test_mixture_cdf_inverse_has_finite_gradients_where_it_is_flat(dtype):
    formula = MixtureCDF(2, spread=0)
    theta = mixture(torch.zeros(2), torch.tensor([-1.0, 1.0]), torch.tensor([-BOUND, -BOUND]))
    y, theta = torch.tensor([0.0, 1e-3, -5.0], dtype=dtype), theta.to(dtype).expand(3, -1)
    y, theta = y.requires_grad_(), theta.clone().requires_grad_()
    x, ladj = formula.inverse_and_ladj(y, theta)
    assert all(
        gradient.isfinite().all() for gradient in torch.autograd.grad((x + ladj).sum(), (y, theta))
    )


def test_mixture_cdf_components_start_apart():
    theta = torch.zeros(1, 14, requires_grad=True)
    y, ladj = MixtureCDF(4).forward_and_ladj(torch.ones(1), theta)
    (gradient,) = torch.autograd.grad((y**2 - ladj).sum(), theta)
    for part in gradient[0, 2:].split(4):
        assert len(part.unique()) == 4


def test_mixture_cdf_of_nan_is_nan():
    x, _ = MixtureCDF(3).inverse_and_ladj(torch.tensor([0.5, math.nan]), torch.zeros(2, 11))
    assert x.isnan().tolist() == [False, True]


def test_mixture_cdf_compiled_is_the_same(monkeypatch):
    torch.compiler.reset()
    compiled = []

    def fused(function):
        compiled.append(function)
        return torch.compile(function, backend="eager", fullgraph=True)

    monkeypatch.setattr(mixture_cdf, "fused", fused)
    formula = pickle.loads(pickle.dumps(copy.deepcopy(MixtureCDF(4, compiled=True))))
    x, theta = torch.randn(5), torch.randn(5, 14)
    assert_close(formula.forward_and_ladj(x, theta), MixtureCDF(4).forward_and_ladj(x, theta))
    assert_close(formula.inverse_and_ladj(x, theta), MixtureCDF(4).inverse_and_ladj(x, theta))
    assert compiled == [mixture_cdf.mixture_cdf, mixture_cdf.log_odds]


@pytest.mark.parametrize("checks", [True, False])
def test_mixture_cdf_compilation_leaves_the_checks_of_distributions_alone(monkeypatch, checks):
    """Also the first one of a process, after which torch would check no distribution any more."""

    def first_of_a_process(function, **options):
        Distribution.set_default_validate_args(False)
        return function

    monkeypatch.setattr(torch, "compile", first_of_a_process)
    mixture_cdf.fused.cache_clear()
    with validation_enabled(checks):
        x = torch.randn(5)
        MixtureCDF(2, compiled=True).forward_and_ladj(x, torch.zeros(5, 8))
        assert Distribution._validate_args == checks
        precision.forward_compiles_into_one_graph.check(Trial.of(coupling(Affine()), (3,)))
        assert Distribution._validate_args == checks
    mixture_cdf.fused.cache_clear()
