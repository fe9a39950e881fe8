"""Orders of the pixels of an image."""

import pytest

from pyro_exact.autoregressive import scans

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 3), (2, 1)])
def test_scans_are_orders_in_which_every_pixel_follows_a_neighbour(shape):
    height, width = shape[-2:]
    orders = scans(shape)
    assert len(orders) == 8
    assert orders[0] == list(range(height * width))
    if min(height, width) > 1:
        assert len({tuple(order) for order in orders}) == 8
    for order in orders:
        assert sorted(order) == list(range(height * width))
        for k, pixel in enumerate(order[1:], 1):
            row, column = divmod(pixel, width)
            earlier = (divmod(other, width) for other in order[:k])
            assert any(abs(row - r) + abs(column - c) == 1 for r, c in earlier)
