"""Every layer becomes a Pyro module."""

import pytest
from pyro.nn import PyroModule
from pyro.nn.module import to_pyro_module_
from registry import TRANSFORMS


@pytest.mark.parametrize("case", TRANSFORMS)
def test_layers_become_pyro_modules(case):
    layer = TRANSFORMS[case].make(None)
    kind = type(layer)
    to_pyro_module_(layer)
    assert isinstance(layer, PyroModule)
    assert isinstance(layer, kind)
