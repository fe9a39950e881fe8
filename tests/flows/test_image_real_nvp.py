"""RealNVP of images: the splits of the paper, and batch normalisation."""

import pytest
import torch
from registry import (
    small_real_nvp,
)

from pyro_exact import flows
from pyro_exact.transforms import (
    ActNorm,
    BatchNorm,
    Coupling,
)

pytestmark = pytest.mark.usefixtures("double")


def couplings_of(flow):
    return [module for module in flow.modules() if isinstance(module, Coupling)]


def test_image_real_nvp_has_the_order_of_splits_of_the_paper():
    """Three checkerboards and three halves of the channels at each scale, four checkerboards at the last."""
    found = [
        str(coupling.partition)
        for coupling in couplings_of(flows.image_real_nvp((3, 8, 8), width=2, depth=1))
    ]
    assert found == [
        *["Checkerboard(3)", "Checkerboard(3, swap=True)", "Checkerboard(3)"],
        *["Channels(12)", "Channels(12, swap=True)", "Channels(12)"],
        *["Checkerboard(6)", "Checkerboard(6, swap=True)"] * 2,
    ]


def test_image_real_nvp_factors_out_one_colour_of_a_checkerboard():
    flow = flows.image_real_nvp((2, 4, 4), levels=1, width=2, depth=1, logit_margin=0.1)
    *_, squeeze, permute, factor_out = [
        part for part in flow.parts if not isinstance(part, ActNorm | Coupling)
    ]
    i, j = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    kept, out = factor_out.partition.split(permute(squeeze(((i + j) % 2).expand(2, 4, 4))))
    assert torch.equal(kept, torch.zeros(4, 2, 2))
    assert torch.equal(out, torch.ones(4, 2, 2))


def test_image_real_nvp_has_batch_norm_as_an_option():
    flow = small_real_nvp(None, batch_norm=True)
    norms = [module for module in flow.modules() if isinstance(module, ActNorm | BatchNorm)]
    assert norms
    assert all(isinstance(norm, BatchNorm) for norm in norms)
