"""Statistics of channels."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn.statistics import channel_statistics

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize(
    ("shape", "event_dim"), [((50, 3), 1), ((4, 5, 3, 2, 6), 3), ((3, 4, 4), 3)]
)
def test_statistics_are_those_of_each_channel(shape, event_dim):
    x = 7 + 2 * torch.randn(shape)
    mean, std = channel_statistics(x, event_dim)
    assert mean.shape == std.shape == (3, *[1] * (event_dim - 1))
    channels = x.movedim(-event_dim, 0).flatten(1)
    assert_close(mean.flatten(), channels.mean(1))
    assert_close(std.flatten(), channels.std(1, correction=0))


def test_statistics_of_small_deviations_from_a_large_mean_are_exact():
    x = (1e6 + torch.randn(1000, 2)).float()
    _, std = channel_statistics(x, 1)
    assert std.dtype == torch.float32
    assert_close(std.double(), x.double().std(0, correction=0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("batch", [0, 1])
def test_statistics_of_a_single_value_are_refused(batch):
    with pytest.raises(ValueError, match="expects at least two values per channel"):
        channel_statistics(torch.randn(batch, 3), 1)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_statistics_of_values_that_are_not_finite_are_refused(value):
    x = torch.randn(5, 3)
    x[2, 1] = value
    with pytest.raises(ValueError, match="expects finite values"):
        channel_statistics(x, 1)
