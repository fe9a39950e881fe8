"""How the parameters of a model get into the store of Pyro, from which stock `SVI` takes what it trains."""

from __future__ import annotations

from itertools import count

import pyro
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

_names = WeakTensorKeyDictionary()
_numbers = count(1)


def register(model: nn.Module) -> None:
    """Call ``pyro.module`` with a name that no other model has, and with the parameters as they are now.

    The store of Pyro keeps whatever was first registered under a name, and `SVI` trains that. So
    the name belongs to the weights: a copy of a model, and one that was loaded, have another; a
    model that was conditioned on classes shares weights and name. A parameter that was replaced
    since takes the place of the old one in the store.

    Raises:
        ValueError: If a parameter is not contiguous, for of such a one Pyro would train a copy.
    """
    parameters = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    if not parameters:
        return

    first = next(iter(parameters.values()))
    if first not in _names:
        _names[first] = f"{type(model).__name__}_{next(_numbers)}"

    store, module = pyro.get_param_store(), _names[first]
    for name, parameter in parameters.items():
        if not parameter.is_contiguous():
            raise ValueError(
                f"{type(model).__name__} expects contiguous parameters under stock SVI, which trains a copy of any "
                f"other; got {name}. Call model.to(memory_format=torch.contiguous_format)."
            )
        key = pyro.params.param_with_module_name(module, name)
        if key in store and store[key] is not parameter:
            store[key] = parameter
    pyro.module(module, model)


def forget(model: nn.Module) -> None:
    """Take off the parameters the weak references that the store leaves on them, which cannot be pickled."""
    for parameter in model.parameters():
        vars(parameter).pop("unconstrained", None)
