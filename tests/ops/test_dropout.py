"""Dropout."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.nn.dropout import Dropout

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_leaves_the_mean_and_drops_its_share(p):
    layer, x = Dropout(p), torch.ones(101, 999)
    y = layer(x)
    dropped = (y == 0).double().mean()
    assert abs(dropped - p) < 0.01
    assert len(y.unique()) == 2
    assert_close(y.max(), torch.tensor(1 / (1 - p)), rtol=1e-3, atol=0)
    assert torch.equal(layer.eval()(x), x)
    columns = layer.train()(torch.ones(20_000, 4)) > 0
    assert (
        torch.corrcoef(columns.T.double()).fill_diagonal_(0).abs().max() < 0.05
    )  # four share a random word
