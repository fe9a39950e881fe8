"""The dequantiser of Flow++."""

import pytest
import torch
from helpers.two_pixels import perturb
from registry import (
    small_dequantizer,
)
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact.distributions import FlowDequantizer
from pyro_exact.transforms import (
    SigmoidToCell,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def dequantizer():
    made = small_dequantizer(None)
    made.initialize(torch.randn(50, 8), torch.randint(4, (50, 1, 2, 4)))
    return perturb(made, 0.1)


def test_flow_pp_dequantizer_ladj_given_an_image(dequantizer):
    z, images = torch.randn(3, 8), torch.randint(4, (3, 1, 2, 4))
    ladj = dequantizer.forward_and_ladj(z, images)[1]
    for i in range(3):
        matrix = jacobian(
            lambda e, i=i: dequantizer.forward_and_ladj(e, images[i])[0].flatten(), z[i]
        )
        assert_close(ladj[i], matrix.slogdet().logabsdet, rtol=1e-8, atol=1e-8)
    v = dequantizer.condition(images)(z)
    assert_close(dequantizer.condition(images).inv(v.detach().clone()), z, rtol=1e-8, atol=1e-8)


def test_flow_pp_dequantizer_noise_depends_on_the_image(dequantizer):
    z, image = torch.randn(8), torch.randint(4, (1, 2, 4))
    other = (image + 1) % 4
    assert not torch.allclose(*(dequantizer.condition(x)(z) - x for x in (image, other)))


def test_flow_pp_dequantizer_encodes_the_image_once_for_any_number_of_samples(dequantizer):
    seen = []
    encoder = dequantizer.parts[0].encoder
    encoder.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape))
    d = FlowDequantizer(dequantizer)(torch.randint(4, (3, 1, 2, 4)))
    v = d.rsample((5,))
    assert d.log_prob(v).shape == (5, 3)
    assert seen == [(3, 2, 2, 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_flow_pp_dequantizer_noise_far_out_stays_in_the_cell(dtype):
    x = torch.full((2, 1, 1, 2), 255.0, dtype=dtype)
    noise = torch.tensor([[-200.0, 200.0], [-20.0, 20.0]], dtype=dtype).view(2, 1, 1, 2)
    layer = SigmoidToCell(context_shape=(1, 1, 2))
    v, ladj = layer.forward_and_ladj(noise, x)
    assert torch.equal(v.floor(), x)
    assert ladj.isfinite().all()
    assert layer.inverse_and_ladj(v, x)[0].isfinite().all()


def test_flow_pp_dequantizer_has_no_density_outside_of_the_cell(dequantizer):
    x = torch.randint(4, (1, 2, 4)).double()
    q = FlowDequantizer(dequantizer)(x)
    assert q.log_prob(x).isfinite()  # the lower end belongs to it
    for v in (x - 0.1, x + 1.1):
        assert q.log_prob(v) == -torch.inf
