"""Flow++: size and splits of the official code."""

import pytest
import torch
from registry import (
    small_flow_pp,
)

from pyro_exact import flows
from pyro_exact.transforms import (
    Coupling,
)

pytestmark = pytest.mark.usefixtures("double")


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_flow_pp_for_cifar10_has_as_many_parameters_as_the_official_one():
    shape = (3, 32, 32)
    assert count(flows.flow_pp(shape), flows.flow_pp_dequantizer(shape)) == 31_443_440


def couplings_of(flow):
    return [module for module in flow.modules() if isinstance(module, Coupling)]


def test_flow_pp_has_the_order_of_splits_of_the_paper():
    """Columns x4, channels x2, columns x3; neighbours in a row exchange the parts."""
    found = [str(coupling.partition) for coupling in couplings_of(small_flow_pp())]
    assert found == [
        *["Columns(1)", "Columns(1, swap=True)"] * 2,
        *["Channels(4)", "Channels(4, swap=True)"],
        *["Columns(4)", "Columns(4, swap=True)", "Columns(4)"],
    ]
    assert "Checkerboard(4, swap=True)" in str(small_flow_pp(checkerboard=True))


def test_flow_pp_channels_split_even_from_odd_rows():
    flow = small_flow_pp(depth=1)
    squeeze, permute = flow.parts[5:7]
    rows = torch.arange(4.0).view(1, 4, 1).expand(1, 4, 4)
    fixed, free = couplings_of(flow)[4].partition.split(permute(squeeze(rows)))
    assert set(fixed.unique().tolist()) == {0, 2}
    assert set(free.unique().tolist()) == {1, 3}
