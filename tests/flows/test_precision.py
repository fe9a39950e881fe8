"""Flows cast their input to the dtype of their weights."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact import flows

BUILDERS = {
    "maf": lambda: flows.maf(3, layers=2),
    "iaf": lambda: flows.iaf(3, layers=2),
    "real_nvp": lambda: flows.real_nvp(3, layers=2),
    "spline_coupling": lambda: flows.spline_coupling(3, layers=2),
    "planar": lambda: flows.planar(3, layers=2),
}

every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def perturb(module, std=0.3):
    for p in module.parameters():
        p.data.add_(std * torch.randn_like(p))
    return module


@every_builder
def test_flows_cast_a_table_in_float64_to_the_dtype_of_their_weights(build):
    flow = perturb(build())
    x = torch.randn(5, 3, dtype=torch.float64)
    y, ladj = flow.forward_and_ladj(x)
    assert (y.dtype, ladj.dtype) == (torch.float32, torch.float32)
    assert_close((y, ladj), flow.forward_and_ladj(x.float()), rtol=0, atol=0)
    assert_close(flow(x), y, rtol=0, atol=0)
    assert_close(flow.inv(x), flow.inverse_and_ladj(x.float())[0], rtol=0, atol=0)


@every_builder
def test_flows_in_float64_cast_a_table_in_float32(build):
    flow = perturb(build()).double()
    x = torch.randn(5, 3)
    assert flow(x).dtype == torch.float64
    assert_close(flow.forward_and_ladj(x), flow.forward_and_ladj(x.double()), rtol=0, atol=0)


@every_builder
def test_flows_refuse_weights_in_half_precision(build):
    flow = build().bfloat16()
    with pytest.raises(
        TypeError,
        match=r"expects weights in float32 or float64; got torch.bfloat16. Keep the weights",
    ):
        flow(torch.randn(5, 3).bfloat16())
