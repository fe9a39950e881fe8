"""The scan of the convolutional LSTM against its plain formula."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.ops.conv_lstm_scan import conv_lstm_scan, conv_lstm_scan_reference

pytestmark = pytest.mark.usefixtures("double")

ROWS = [(0, 4)] * 3
DIAGONALS = [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]  # of an image of 3 x 3


@pytest.mark.parametrize(
    ("taps", "maps", "windows"), [(3, 1, ROWS), (2, 2, DIAGONALS)], ids=["rows", "diagonals"]
)
def test_conv_lstm_scan_and_its_gradient_equal_the_reference(taps, maps, windows):
    units, places = 5, sum(last - first for first, last in windows)
    sizes = (maps, 4 * units, places, 6), (maps, 4 * units, units, taps), (maps, units)
    parts = [torch.randn(size, requires_grad=True) for size in (*sizes, sizes[-1])]

    found = [compute(*parts, windows) for compute in (conv_lstm_scan, conv_lstm_scan_reference)]
    assert_close(*found, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(found[0])
    gradients = [torch.autograd.grad((states * weights).sum(), parts) for states in found]
    assert_close(*gradients, rtol=1e-10, atol=1e-10)
