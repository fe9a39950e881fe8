"""The laws of every layer, plain and conditional, away from their start: those of `pyro_exact.testing`."""

import pytest
import torch
from registry import ELEMENTWISE, PARTITIONS, TO_TOLERANCE, TRANSFORMS, Case
from torch.testing import assert_close

from pyro_exact import flows, transforms
from pyro_exact.ops import newton
from pyro_exact.testing import Trial, laws
from pyro_exact.testing.law import check_laws

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


def first_words(registry):
    return {name.split()[0] for name in registry}


def test_layers_formulas_partitions_and_flows_are_registered():
    exempt = {
        "Bijection",
        "Conditioned",
        "Elementwise",
        "Inverse",
        "Partition",
        "idf",  # a flow of integers, which has no log-determinant
    }  # abstract, or made by any other
    registries = (TRANSFORMS, TO_TOLERANCE, ELEMENTWISE, PARTITIONS)
    registered = set().union(*map(first_words, registries))
    assert registered == (set(transforms.__all__) | set(flows.__all__)) - exempt


def test_layers_are_named_by_what_is_made():
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


TRACING = ("forward_compiles_into_one_graph", "inverse_compiles_into_one_graph")


@over_all
def test_layers_obey_the_laws(case, context_dim):
    trial = on_trial(case, context_dim)
    quick = [law for law in laws(trial) if law.name not in TRACING]
    check_laws(type(trial.layer).__name__, quick, lambda: on_trial(case, context_dim))


# The first case of each layer and builder: the others differ in sizes alone.
FIRST = {name.split()[0]: name for name in reversed(TRANSFORMS)}.values()


def traced(law, name):
    """Tracing takes long: forward of each layer with its context, if it takes one, and inverse without.

    One case of each layer will do, and one of each formula, which `Marginal` has all.
    """
    plain = name.removesuffix(" | context")
    if plain not in FIRST and not plain.startswith("Marginal "):
        return False

    forward, with_context = law.startswith("forward"), name.endswith(" | context")
    if name[0].islower():
        return forward and name in flows.__all__
    return with_context == (forward and f"{name.removesuffix(' | context')} | context" in CASES)


@pytest.mark.parametrize(
    ("law", "case", "context_dim"),
    [
        pytest.param(law, *made, id=f"{law.partition('_')[0]}-{name}")
        for name, made in CASES.items()
        for law in TRACING
        if traced(law, name)
    ],
)
def test_layers_compile_into_one_graph(law, case, context_dim, monkeypatch):
    # A graph unrolls the solve: fewer steps are traced faster.
    monkeypatch.setattr(newton, "MAX_STEPS", 10)
    trial = on_trial(case, context_dim)
    (found,) = (each for each in laws(trial) if each.name == law)
    found.check(trial)


@over_all
def test_layers_have_the_context_shape_of_the_registry(case, context_dim):
    assert make(case, context_dim).context_shape == (
        None if context_dim is None else (context_dim,)
    )


@over_conditional
def test_layers_with_context_start_equal_to_plain_ones(case, context_dim):
    plain, conditional = make(case, None), make(case, context_dim)
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    shared = {
        name: v for name, v in conditional.state_dict().items() if shapes.get(name) == v.shape
    }
    plain.load_state_dict(shared, strict=False)  # the same random rotations
    x, context = case.draw((5, *case.shape)), torch.randn(5, context_dim)
    assert_close(conditional.condition(context).forward_and_ladj(x), plain.forward_and_ladj(x))


@over_all
def test_layers_built_anew_load_the_state_dict(case, context_dim):
    """Random values that a constructor draws are saved."""
    trial = on_trial(case, context_dim)
    torch.manual_seed(5)
    other = case.make(context_dim).eval()
    other.load_state_dict(trial.layer.state_dict())
    given = (trial.x, trial.context)
    assert_close(
        other.forward_and_ladj(*given), trial.layer.forward_and_ladj(*given), rtol=0, atol=0
    )


@over_all
def test_layers_print_their_parts(case, context_dim):
    layer = make(case, context_dim)
    assert type(layer).__name__ in repr(layer)
    assert len(repr(layer)) > len(type(layer).__name__) + len("()")


@pytest.fixture(params=ELEMENTWISE.values(), ids=list(ELEMENTWISE))
def formula(request):
    return request.param()
