"""Bad input to every layer of the registry: what was expected, what came instead, and what to do."""

import re

import numpy as np
import pytest
import torch
from registry import TRANSFORMS

from pyro_exact.transforms import (
    ActNorm,
    BatchNorm,
    Compose,
    Conv1x1,
    FactorOut,
    FixedAffine,
    Flatten,
    Householder,
    Logit,
    Permute,
    Planar,
)

CONTEXT_DIM = 2

ROWS = 3

PLAIN = {name: (case, None) for name, case in TRANSFORMS.items()}

CONDITIONAL = {
    f"{name} | context": (case, CONTEXT_DIM)
    for name, case in TRANSFORMS.items()
    if case.conditional
}


def one_each(cases):
    """The first case of each class of layers: `Bijection` checks what enters, in the same way for all of a class."""
    chosen = {}
    for name, case in cases.items():
        chosen.setdefault(name.split()[0], (name, case))
    return dict(chosen.values())


# They change each element by itself.
ANY_EVENT = {"Exponential", "FixedAffine", "Logit", "SigmoidToCell", "SoftClip", "Softplus"}

METHODS = ["forward_and_ladj", "inverse_and_ladj"]


class Input:
    """A layer, batches that fit it, and what its messages show of its shapes."""

    def __init__(self, case, context_dim):
        self.layer, self.context_dim = case.make(context_dim).eval(), context_dim
        self.x = case.draw((ROWS, *case.shape))
        self.y = torch.randn(ROWS, *self.layer.forward_shape(case.shape))
        self.context = None if context_dim is None else torch.randn(ROWS, context_dim)
        self.bound = self.layer if context_dim is None else self.layer.condition(self.context)

    def source(self, method):
        return self.x if method == "forward_and_ladj" else self.y


def context(*shape):
    return lambda made, method: getattr(made.layer, method)(made.source(method), torch.randn(shape))


def given(context):
    return lambda made, method: getattr(made.layer, method)(made.source(method), context)


def integers(made, method):
    getattr(made.bound, method)(made.source(method).long())


def a_list(made, method):
    getattr(made.bound, method)(made.source(method).tolist())


def no_context(made, method):
    getattr(made.layer, method)(made.source(method))


def stock_integers(made, method):
    t = made.bound if method == "forward_and_ladj" else made.bound.inv
    t(made.source(method).long())


def stock_without_context(made, method):
    t = made.layer if method == "forward_and_ladj" else made.layer.inv
    t(made.source(method))


def condition(*shape):
    return lambda made, method: made.layer.condition(torch.randn(shape))


def condition_on(context):
    return lambda made, method: made.layer.condition(context)


def conditioned_of_another_batch(made, method):
    getattr(made.layer.condition(torch.randn(ROWS + 1, CONTEXT_DIM)), method)(made.source(method))


def too_few_dimensions(made, method):
    getattr(made.bound, method)(made.source(method)[0, ..., 0])


EVERY = {
    "integers": (
        integers,
        TypeError,
        r"expects [xy] as a floating-point tensor; got torch.int64. Convert it, for example with [xy].float\(\)",
    ),
    "stock integers": (
        stock_integers,
        TypeError,
        r"expects [xy] as a floating-point tensor; got torch.int64. Convert it",
    ),
    "a list": (
        a_list,
        TypeError,
        r"expects [xy] as a tensor; got list. Convert it with torch.as_tensor",
    ),
    "too few dimensions": (too_few_dimensions, ValueError, r"expects .* got .*\(.*\). \w+ "),
}

OF_PLAIN = {
    "a context": (
        context(ROWS, 5),
        ValueError,
        r"expects no context; got a Tensor. Build it with a context",
    ),
    "a list as context": (
        given([0.0]),
        ValueError,
        r"expects no context; got a list. Build it with a context",
    ),
}

OF_CONDITIONAL = {
    "no context": (
        no_context,
        ValueError,
        r"expects a context of shape \(\*batch, 2\); got none. Call layer.condition",
    ),
    "stock, no context": (
        stock_without_context,
        ValueError,
        r"context of shape \(\*batch, 2\); got none. Call layer",
    ),
    "a larger context": (
        context(ROWS, 3),
        ValueError,
        r"expects a context of shape \(\*batch, 2\); got \(3, 3\). Pass a",
    ),
    "a context without size": (
        context(),
        ValueError,
        r"expects a context of shape \(\*batch, 2\); got \(\). Pass a cont",
    ),
    "condition, larger": (
        condition(ROWS, 3),
        ValueError,
        r"expects a context of shape \(\*batch, 2\); got \(3, 3\). Pass",
    ),
    "a list as context": (
        given([0.0, 0.0]),
        TypeError,
        r"expects context as a tensor; got list. Convert it",
    ),
    "an array as context": (
        given(np.zeros(2)),
        TypeError,
        r"expects context as a tensor; got ndarray. Convert it",
    ),
    "complex numbers as context": (
        given(torch.zeros(2) + 0j),
        TypeError,
        r"expects context of real numbers; got torch.complex",
    ),
    "condition, nothing": (
        condition_on(None),
        TypeError,
        r"expects context as a tensor; got NoneType. Leave it out, or",
    ),
    "condition, a list": (
        condition_on([0.0, 0.0]),
        TypeError,
        r"expects context as a tensor; got list. Convert it",
    ),
    "condition, an array": (
        condition_on(np.zeros(2)),
        TypeError,
        r"expects context as a tensor; got ndarray. Convert it",
    ),
    "another batch": (
        context(ROWS + 1, 2),
        ValueError,
        r"an input with the batch shape of its context; got \(3,\) and \(4,\). Expand the input, or call layer",
    ),
    "conditioned of another batch": (
        conditioned_of_another_batch,
        ValueError,
        r"expects batch shapes of input and context that broadcast; got \(3,\) and \(4,\). Pass a context for each",
    ),
}


@pytest.mark.parametrize(
    ("case", "context_dim", "mistakes"),
    [
        pytest.param(*made, mistakes, id=name)
        for cases, mistakes in ((PLAIN, EVERY | OF_PLAIN), (CONDITIONAL, EVERY | OF_CONDITIONAL))
        for name, made in one_each(cases).items()
    ],
)
def test_layers_refuse_bad_input(case, context_dim, mistakes):
    made = Input(case, context_dim)
    for call, kind, message in mistakes.values():
        for method in METHODS:
            with pytest.raises(kind, match=message):
                call(made, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [name for name in PLAIN if name.split()[0] not in ANY_EVENT])
def test_layers_refuse_an_event_of_another_shape(name, method):
    """At least one of the shapes that are off by one is an error, and the message contains this shape."""
    made, refused = Input(*PLAIN[name]), 0
    shape = made.source(method).shape
    for axis in range(1, len(shape)):
        wrong = (*shape[:axis], shape[axis] + 1, *shape[axis + 1 :])
        try:
            getattr(made.bound, method)(torch.rand(wrong))
        except ValueError as error:
            message, refused = str(error), refused + 1
            assert re.search(rf"expects .*; got .*{shape[axis] + 1}.*\. [A-Z]\w+ ", message), (
                message
            )
    assert refused


CONSTRUCTORS = {
    "Logit": (
        lambda: Logit(4, event_dim=-1),
        ValueError,
        r"Logit expects event_dim from 0 to 8; got -1. Choose",
    ),
    "FixedAffine": (
        lambda: FixedAffine(2.0, event_dim=-2),
        ValueError,
        r"FixedAffine expects event_dim from 0 to 8; got -2. Choose",
    ),
    "ActNorm": (
        lambda: ActNorm(3, event_dim=0),
        ValueError,
        r"ActNorm expects event_dim from 1 to 8; got 0. Choose",
    ),
    "BatchNorm": (
        lambda: BatchNorm(3, event_dim=0),
        ValueError,
        r"BatchNorm expects event_dim from 1 to 8; got 0. Choose",
    ),
    "Permute": (
        lambda: Permute([1, 0], event_dim=0),
        ValueError,
        r"Permute expects event_dim from 1 to 8; got 0. Choose",
    ),
    "Permute of nothing": (
        lambda: Permute([]),
        ValueError,
        r"Permute expects channels from 1 to \d+; got 0. Choose",
    ),
    "Permute of floats": (
        lambda: Permute(torch.ones(1)),
        TypeError,
        r"each of order as an integer; got 1.0. Pass",
    ),
    "Permute of rows": (
        lambda: Permute([[0, 1]]),
        TypeError,
        r"each of order as an integer; got \[0, 1\]. Pass",
    ),
    "no channels": (
        lambda: ActNorm(0),
        ValueError,
        r"ActNorm expects channels from 1 to \d+; got 0. Choose",
    ),
    "Conv1x1": (
        lambda: Conv1x1(0),
        ValueError,
        r"Conv1x1 expects channels from 1 to 8192; got 0. Choose",
    ),
    "a context of no size": (
        lambda: Planar(3, context_dim=0),
        ValueError,
        r"Planar expects context_dim from 1 to \d+; got 0. Choose a value",
    ),
    "a negative context": (
        lambda: Householder(3, 2, -1),
        ValueError,
        r"Householder expects context_dim from 1 to \d+; got -1. Choose a value",
    ),
    "Compose": (
        lambda: Compose([torch.nn.ReLU()]),
        TypeError,
        r"parts of type Bijection; got ReLU. Derive the part from Bij",
    ),
    "FactorOut": (
        lambda: FactorOut((4, 2), Flatten((2, 2))),
        ValueError,
        r"FactorOut expects 3 sizes in shape; got \(4, 2\). Pass 3 sizes",
    ),
}


@pytest.mark.parametrize(("make", "kind", "message"), CONSTRUCTORS.values(), ids=list(CONSTRUCTORS))
def test_layers_refuse_impossible_settings(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_act_norm_is_not_initialised_by_a_refused_batch():
    layer = ActNorm(2)
    for x, context in (
        (torch.ones(5, 2, dtype=torch.long), None),
        (torch.randn(5, 3), None),
        (torch.randn(5, 2),) * 2,
    ):
        with pytest.raises((TypeError, ValueError), match="expects"):
            layer.initialize(x, context)
    assert not any(p.any() for p in layer.parameters())
