"""Tables are integers that sum to 2^24, and the coder takes as many bits as they say."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from pyro_exact.codec.entropy import TOTAL, QueueDecoder, QueueEncoder, Stack, table_code
from pyro_exact.codec.values import CELL, code_normal


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_table_sums_to_its_total_and_has_no_zero(levels):
    probs = torch.randn(50, levels).mul(10).softmax(-1)
    probs[0] = torch.eye(levels)[0]  # one certain level
    (weights,) = table_code(probs).params
    counts = weights.astype(np.int64) + 1
    assert (counts.sum(-1) == TOTAL).all()
    assert counts.min() == 1
    assert (np.abs(counts / TOTAL - probs.double().numpy()) < 2 * levels / TOTAL).all()


def test_coder_uses_the_integers_of_the_table():
    # A symbol of the least probability costs 24 bits, and the queue adds at most two words.
    code = table_code(torch.eye(8)[0].expand(1000, 8))
    encoder = QueueEncoder()
    symbols = np.full(1000, 3, dtype=np.int32)
    encoder.code(code, symbols)
    assert 0 <= 32 * len(encoder.words()) - 24 * 1000 <= 64
    assert (code.bits(symbols) == 24).all()
    assert (QueueDecoder(encoder.words()).code(code, None) == symbols).all()


def test_table_refuses_nan():
    with pytest.raises(ValueError, match="expects finite probabilities"):
        table_code(torch.tensor([[0.5, torch.nan]]))


@pytest.mark.parametrize(("mean", "std"), [(-1.2, 0.6), (0.01, 0.004), (3.0, 1.0)])
def test_cells_of_a_normal_are_drawn_with_their_probability(mean, std):
    words = np.random.default_rng(0).integers(1, 2**32, 2**16, dtype=np.uint32)
    mu = torch.full((20_000,), mean, dtype=torch.float64)
    z = code_normal(mu, torch.full_like(mu, std), Stack(words), None)
    assert_close(z.mean(), mu[0], atol=5 * std / 20_000**0.5, rtol=0)
    assert_close(z.std(), torch.tensor((std**2 + CELL**2 / 12) ** 0.5).double(), rtol=0.04, atol=0)


def test_scramble_can_be_undone():
    words = np.random.default_rng(0).integers(1, 2**32, 50, dtype=np.uint32)
    stack = Stack(words)
    stack.scramble(3)
    assert (stack.words() != words).any()
    stack.scramble(3, back=True)
    assert (stack.words() == words).all()
