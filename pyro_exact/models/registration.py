"""Register the parameters of a model in the store of Pyro, used by stock `SVI`."""

from __future__ import annotations

from itertools import count

import pyro
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary

_names = WeakTensorKeyDictionary()
_numbers = count(1)


def register(model: nn.Module) -> None:
    """Call ``pyro.module`` with a unique name, and with the current parameters of the model.

    The store of Pyro keeps the parameter that was registered first under a name, and `SVI` trains
    this parameter. Therefore the name belongs to the weights: copies and loaded models must have
    different names, and a model that was conditioned on classes uses the weights and the name of
    the original. When a parameter has been replaced since, this is corrected in the store too.

    Raises:
        ValueError: If a parameter is not contiguous, because Pyro would train a copy.
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
                f"{type(model).__name__} expects contiguous parameters under stock SVI, which "
                f"trains a copy of a non-contiguous parameter; got {name}. Call "
                "model.to(memory_format=torch.contiguous_format)."
            )
        key = pyro.params.param_with_module_name(module, name)
        if key in store and store[key] is not parameter:
            store[key] = parameter
    pyro.module(module, model)


def forget(model: nn.Module) -> None:
    """Remove the weak references of the store, because they cannot be pickled."""
    for parameter in model.parameters():
        vars(parameter).pop("unconstrained", None)
