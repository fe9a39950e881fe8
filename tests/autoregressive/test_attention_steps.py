"""The steps of the attention models write into their state, so that a CUDA graph can replay a step."""

import pytest
import torch

from pyro_exact.autoregressive import ImageTransformer, PixelSNAIL
from pyro_exact.likelihoods import DiscretizedLogisticMixture

NETS = {
    "ImageTransformer": lambda: ImageTransformer((2, 2, 3), 3, 4, 2, 2, local=4),
    "ImageTransformer whole pixels": lambda: ImageTransformer(
        (2, 2, 3),
        3,
        4,
        2,
        2,
        local=4,
        context_dim=2,
        likelihood=DiscretizedLogisticMixture(2, 3, 2),
    ),
    "PixelSNAIL": lambda: PixelSNAIL((2, 2, 3), 3, 4, 2, 1, key_dim=2, components=2),
    "PixelSNAIL of squares": lambda: PixelSNAIL(
        (2, 4, 2), 3, 4, 1, 1, key_dim=2, pool=2, components=2, context_dim=2
    ),
}


def tensors(cache):
    """All tensors of nested tuples and lists."""
    if torch.is_tensor(cache):
        return [cache]
    if isinstance(cache, (tuple, list)):
        return [tensor for part in cache for tensor in tensors(part)]
    return []


@pytest.mark.parametrize("name", NETS)
def test_steps_write_into_the_same_tensors(name):
    net = NETS[name]().eval()
    x = torch.randint(3, (5, *net.event_shape)).float()
    context = None if net.context_shape is None else torch.randn(5, *net.context_shape)
    values, order = net.to_sites(x), net.orders[0]

    state, previous = net.init_state((5,), context), None
    addresses = [tensor.data_ptr() for tensor in tensors(state.cache)]
    for index in range(net.num_steps):
        _, state = net.step(state, previous)
        assert [tensor.data_ptr() for tensor in tensors(state.cache)] == addresses
        previous = values[:, order[net.group(index)]]


@pytest.mark.parametrize("name", NETS)
def test_steps_of_a_phase_differ_in_values_of_tensors_alone(name):
    """Steps of a phase, taken with the counter of another step of that phase, give the same parameters."""
    net = NETS[name]().eval()
    x = torch.randint(3, (5, *net.event_shape)).float()
    context = None if net.context_shape is None else torch.randn(5, *net.context_shape)
    values, order = net.to_sites(x), net.orders[0]
    expected = net(x, context).flatten(1, -2)[:, order]

    recorded = {}
    state, previous = net.init_state((5,), context), None
    for index in range(net.num_steps):
        done = recorded.setdefault(net.phase(index), index)
        theta, state = net.step(state._replace(done=done), previous)
        torch.testing.assert_close(theta, expected[:, net.group(index)], rtol=1e-4, atol=1e-5)
        previous = values[:, order[net.group(index)]]
    assert len(recorded) < net.num_steps
