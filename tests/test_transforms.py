"""The laws of every layer and every formula, plain and conditional, in float64 on weights away from their start.

The laws of the layers are those of `pyro_exact.testing`, which users run on layers of their own.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import ELEMENTWISE, PARTITIONS, TRANSFORMS, Case
from torch.testing import assert_close

from pyro_exact import flows, transforms
from pyro_exact.ops import newton
from pyro_exact.testing import Trial, laws

pytestmark = pytest.mark.usefixtures("double")

CONTEXT_DIM = 2
CASES = {name: (case, None) for name, case in TRANSFORMS.items()} | {
    f"{name} | context": (case, CONTEXT_DIM)
    for name, case in TRANSFORMS.items()
    if case.conditional
}
CONDITIONAL = {name: made for name, made in CASES.items() if made[1]}


def make(case: Case, context_dim: int | None):
    torch.manual_seed(0)
    return case.make(context_dim)


def on_trial(case: Case, context_dim: int | None) -> Trial:
    layer = make(case, context_dim)
    torch.manual_seed(0)
    return Trial.of(layer, case.shape, context_dim, case.draw, case.std)


# The registry
# ---------------------------------------------------------------------------------------------------------


def first_words(registry):
    return {name.split()[0] for name in registry}


def test_every_exported_layer_formula_partition_and_flow_is_registered():
    exempt = {
        "Bijection",
        "Conditioned",
        "Elementwise",
        "Inverse",
        "Partition",
    }  # abstract, or made by any other
    registered = first_words(TRANSFORMS) | first_words(ELEMENTWISE) | first_words(PARTITIONS)
    assert registered == (set(transforms.__all__) - exempt) | set(flows.__all__)


def test_names_say_what_is_made():
    for name, case in TRANSFORMS.items():
        layer = case.make(None)
        layer = layer.inv if name.endswith(" inv") else layer
        assert name.split()[0] in {*flows.__all__, type(layer).__name__}
    for name, formula in (ELEMENTWISE | PARTITIONS).items():
        assert name.split()[0] == type(formula()).__name__


over_all = pytest.mark.parametrize(("case", "context_dim"), CASES.values(), ids=list(CASES))
over_conditional = pytest.mark.parametrize(
    ("case", "context_dim"), CONDITIONAL.values(), ids=list(CONDITIONAL)
)


# Layers
# ---------------------------------------------------------------------------------------------------------------


def quick(law, name):
    """Tracing takes long: forward of each layer with its context, if it takes one, and inverse without.

    Of the builders, which stack such layers, one each will do.
    """
    if not law.name.endswith("compiles_into_one_graph"):
        return True
    forward, with_context = law.name.startswith("forward"), name.endswith(" | context")
    if name[0].islower():
        return forward and name in flows.__all__
    return with_context == (forward and f"{name.removesuffix(' | context')} | context" in CASES)


@pytest.mark.parametrize(
    ("law", "case", "context_dim"),
    [
        pytest.param(law, *made, id=f"{law.name}-{name}")
        for name, made in CASES.items()
        for law in laws(on_trial(*made))
        if quick(law, name)
    ],
)
def test_law(law, case, context_dim, monkeypatch):
    if law.name.endswith(
        "compiles_into_one_graph"
    ):  # a graph unrolls the solve: fewer steps are traced faster
        monkeypatch.setattr(newton, "MAX_STEPS", 10)
    law.check(on_trial(case, context_dim))


@over_all
def test_the_context_shape_is_that_of_the_registry(case, context_dim):
    assert make(case, context_dim).context_shape == (
        None if context_dim is None else (context_dim,)
    )


@over_conditional
def test_a_new_conditional_layer_equals_the_plain_one(case, context_dim):
    plain, conditional = make(case, None), make(case, context_dim)
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    shared = {
        name: v for name, v in conditional.state_dict().items() if shapes.get(name) == v.shape
    }
    plain.load_state_dict(shared, strict=False)  # the same random rotations
    x, context = case.draw((5, *case.shape)), torch.randn(5, context_dim)
    assert_close(conditional.condition(context).forward_and_ladj(x), plain.forward_and_ladj(x))


@over_all
def test_a_layer_built_anew_loads_the_state_dict(case, context_dim):
    """What the constructor draws at random is saved."""
    trial = on_trial(case, context_dim)
    torch.manual_seed(5)
    other = case.make(context_dim).eval()
    other.load_state_dict(trial.layer.state_dict())
    given = (trial.x, trial.context)
    assert_close(
        other.forward_and_ladj(*given), trial.layer.forward_and_ladj(*given), rtol=0, atol=0
    )


@over_all
def test_it_prints_its_parts(case, context_dim):
    layer = make(case, context_dim)
    assert type(layer).__name__ in repr(layer)
    assert len(repr(layer)) > len(type(layer).__name__) + len("()")


# Formulas and partitions
# ----------------------------------------------------------------------------------------------


@pytest.fixture(params=ELEMENTWISE.values(), ids=list(ELEMENTWISE))
def formula(request):
    return request.param()


def numbers(formula, *shape):
    return torch.randn(shape), torch.randn(*shape, formula.num_params)


def test_formula_inverts(formula):
    x, theta = numbers(formula, 4, 5)
    y, ladj = formula.forward_and_ladj(x, theta)
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    assert y.shape == ladj.shape == x.shape
    assert_close(back, x, rtol=1e-8, atol=1e-8)
    assert_close(ladj_back, -ladj, rtol=1e-8, atol=1e-8)


def test_formula_ladj_is_the_log_of_its_derivative(formula):
    x, theta = numbers(formula, 20)
    y, ladj = formula.forward_and_ladj(x.requires_grad_(), theta)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close(ladj, slope.abs().log(), rtol=1e-8, atol=1e-8)


def test_formula_inverse_is_differentiable(formula):
    y, theta = (value.requires_grad_() for value in numbers(formula, 3))
    assert torch.autograd.gradcheck(formula.inverse_and_ladj, (y, theta))


def test_formula_refuses_parameters_of_another_shape(formula):
    x, theta = numbers(formula, 4)
    with pytest.raises(ValueError, match="expects its conditioner to return parameters of shape"):
        formula.check_theta(theta[:1], x)


@given(data=st.data())
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", sorted(first_words(PARTITIONS)))
def test_partition_is_undone_by_join(name, data):
    partition = getattr(transforms, name)(
        data.draw(st.integers(1, 9)), swap=data.draw(st.booleans())
    )
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    x = torch.randn(*batch, partition.size, *[2] * (partition.event_dim - 1))
    fixed, free = partition.split(x)
    axis = x.dim() - partition.event_dim
    assert (fixed.shape[axis], free.shape[axis]) == (partition.fixed_size, partition.free_size)
    assert fixed.numel() + free.numel() == x.numel()
    assert torch.equal(partition.join(fixed, free), x)


@pytest.mark.parametrize("make", PARTITIONS.values(), ids=list(PARTITIONS))
def test_partitions_of_the_registry_cover_the_event(make):
    partition = make()
    shape = (partition.size, *[2] * (partition.event_dim - 1))
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    parts = torch.cat([part.flatten() for part in partition.split(x)])
    assert parts.sort().values.tolist() == list(range(x.numel()))
