"""Parameters in the store of Pyro: whatever else lives in the process, stock SVI trains the model that it is given."""

import copy
import pickle

import pyro
import pytest
import torch
from pyro.contrib.autoname import scope
from pyro.infer import SVI, Trace_ELBO
from registry import MODELS, small_glow

from pyro_exact.autoregressive import NADE, Autoregressive, PixelCNN
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models import Density, Dequantized


def bits():
    return (torch.rand(16, 4) < 0.8).float()


def made():
    return Density(Autoregressive(NADE(4, width=6)))


def trains(model):
    """Return True if a step of stock SVI changes every parameter."""
    before = [p.clone() for p in model.parameters()]
    SVI(model.model, model.guide, pyro.optim.SGD({"lr": 0.1}), Trace_ELBO()).step(bits())
    return all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    "another",
    [
        lambda model: made(),
        lambda model: model,
        copy.copy,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
    ids=["made anew", "the same", "copied", "copied deeply", "unpickled"],
)
@pytest.mark.parametrize("clear", [False, True])
def test_registration_lets_a_second_model_train_after_the_first(another, clear):
    model = made()
    assert trains(model)
    second = another(model)
    if clear:
        pyro.clear_param_store()
    assert trains(second)
    assert trains(model)


def test_registration_lets_two_models_train_in_one_program():
    first, second = made(), made()
    before = [p.clone() for model in (first, second) for p in model.parameters()]

    def both(x):
        for name, model in (("first", first), ("second", second)):
            with scope(prefix=name):
                model.model(x)

    SVI(both, lambda x: None, pyro.optim.SGD({"lr": 0.1}), Trace_ELBO()).step(bits())
    after = [p for model in (first, second) for p in model.parameters()]
    assert all(not torch.equal(p, old) for p, old in zip(after, before, strict=True))


def test_parameters_that_were_replaced_train():
    model = made()
    assert trains(model)
    model.load_state_dict({name: p.clone() for name, p in model.state_dict().items()}, assign=True)
    assert trains(model)


def test_parameters_that_are_not_contiguous_are_refused():
    model = Density(Autoregressive(PixelCNN((1, 4, 4), 2, width=4, depth=1, head_width=4)))
    model.to(memory_format=torch.channels_last)
    with pytest.raises(
        ValueError, match=r"contiguous parameters .* got net.blocks.0.middle.weight. Call model.to"
    ):
        model.model(torch.zeros(2, 1, 4, 4))


def test_registration_leaves_one_set_of_a_model_conditioned_at_each_step():
    flow = Flow(StandardNormal(16), small_glow(2).inv)
    model = Dequantized(flow, levels=4)
    for _ in range(3):
        labels = torch.randint(2, (5,))
        model.condition(labels).model(torch.zeros(5, 1, 4, 4))
    assert len(pyro.get_param_store()) == len(list(model.parameters()))


def test_registration_lets_go_of_a_model_that_is_pickled():
    model = MODELS["Density made"].make()
    model.model(MODELS["Density made"].data())
    loaded = pickle.loads(pickle.dumps(model))
    assert all(
        torch.equal(p, q) for p, q in zip(loaded.parameters(), model.parameters(), strict=True)
    )
