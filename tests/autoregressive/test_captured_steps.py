"""Steps that are captured and replayed, with a recorder of operations in the place of a CUDA graph."""

import pytest
import torch
from registry import net
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_exact.autoregressive.sampler import Sampler, SamplingInputs

pytestmark = pytest.mark.usefixtures("double")

PHASED = ["GatedPixelCNN", "GatedPixelCNN conditional on a map", "PixelCNN", "PixelCNN colours"]


class Recorder(TorchDispatchMode):
    """Repeats operations on the tensors on which they ran first, wherever Python is by then; as a CUDA graph does."""

    def __init__(self):
        super().__init__()
        self.calls, self.replays = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        self.calls.append((function, args, kwargs, output))
        return output

    def replay(self):
        self.replays += 1
        if self.replays == 1:  # unlike a CUDA graph it ran while it recorded
            return
        for function, args, kwargs, output in self.calls:
            result = function(*args, **kwargs)
            if isinstance(output, torch.Tensor) and output.data_ptr() != result.data_ptr():
                output.copy_(result)


def steps(name, given, captures):
    torch.manual_seed(0)
    made = net(name)
    context = None if made.context_shape is None else torch.randn(4, *made.context_shape)
    noise = torch.rand(4, made.sites, made.likelihood.num_noise)
    observed, mask = (
        (None, None) if not given else (torch.ones(4, made.sites), torch.rand(4, made.sites) < 0.5)
    )
    taken = Sampler(made, 0, SamplingInputs(noise, context, observed, mask))
    taken.captures = captures
    return taken


@torch.no_grad()
@pytest.mark.parametrize("given", [False, True], ids=["nothing observed", "some observed"])
@pytest.mark.parametrize("name", PHASED)
def test_captured_steps_draw_what_plain_ones_draw(name, given, monkeypatch):
    monkeypatch.setattr("torch.cuda.CUDAGraph", Recorder)
    monkeypatch.setattr("torch.cuda.graph", lambda recorder: recorder)
    plain, captured = (steps(name, given, captures) for captures in (False, True))
    for done in range(plain.net.sites):
        plain.take(done)
        captured.take(done)
    assert torch.equal(captured.x, plain.x)
    assert not plain.graphs
    replayed = sum(graph.replays for graph in captured.graphs.values())
    phases = {plain.net.phase(done) for done in range(plain.net.sites)} - {None}
    assert replayed == plain.net.sites - 1 - len(
        phases
    )  # the first step, and one of each phase, ran as they are


@torch.no_grad()
def test_captured_steps_of_a_phase_of_different_steps_would_be_seen(monkeypatch):
    monkeypatch.setattr("torch.cuda.CUDAGraph", Recorder)
    monkeypatch.setattr("torch.cuda.graph", lambda recorder: recorder)
    plain, captured = (steps("PixelCNN", False, captures) for captures in (False, True))
    monkeypatch.setattr(type(plain.net), "phase", lambda net, done: 0 if done else None)
    for done in range(plain.net.sites):
        plain.take(done)
        captured.take(done)
    assert not torch.equal(captured.x, plain.x)
