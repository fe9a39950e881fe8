"""Compiled training: the same run as without, whose checkpoints are those of the plain model."""

import pytest
import torch

from pyro_exact.data import Images
from pyro_exact.recipes import Recipe, Training
from pyro_exact.train import LAST, compilation, fit
from pyro_exact.train.checkpoint import read_checkpoint

GLOW = {"name": "glow", "scales": 1, "steps": 1, "width": 4, "factorized": True}


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch):
    """Trace as ever, and run the graphs without generating code for them, which takes minutes."""
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **kw: whole(f, backend="aot_eager", **kw))
    torch._dynamo.reset()


def images():
    pixels = torch.randint(0, 4, (32, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(torch.uint8)
    return Images("toy", train=pixels, valid=pixels[:12], test=pixels[:12], levels=4)


def recipe(model=GLOW, **training):
    settings = {"steps": 6, "batch_size": 8, "validate_every": 3, **training}
    return Recipe("toy", dict(model), "toy", Training(**settings))


def state(folder):
    return read_checkpoint(folder / LAST)["state_dict"]


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_compiled_training_is_the_same_run(tmp_path, capsys, ema_decay):
    for name in ("plain", "compiled"):
        chosen = recipe(compile=name == "compiled", ema_decay=ema_decay)
        fit(chosen, images(), out=tmp_path / name, progress=False)
    plain, compiled = state(tmp_path / "plain"), state(tmp_path / "compiled")
    assert list(plain) == list(compiled)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
    before, after = capsys.readouterr().out.splitlines()
    assert "takes about" in before
    assert "with compiling, took" in after


def test_compiled_training_resumes(tmp_path):
    fit(recipe(compile=True), images(), out=tmp_path / "whole", progress=False)
    fit(recipe(compile=True, steps=3), images(), out=tmp_path / "parts", progress=False)
    fit(recipe(compile=True), images(), out=tmp_path / "parts", progress=False, resume=True)
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert all(whole[name].equal(parts[name]) for name in whole)


def test_compiled_parts_run_as_before_in_evaluation(monkeypatch):
    calls = []
    monkeypatch.setattr(
        torch, "compile", lambda f, **_: lambda *args: calls.append(f.__name__) or f(*args)
    )
    model = recipe().build((1, 4, 4), 4)
    x = images().train[:2]
    compilation.compile_parts(model)
    model.eval().log_weight(x)
    with torch.no_grad():
        model.train().log_weight(x)
    assert not calls
    model.log_weight(x)
    assert calls == ["transform"]


def test_a_model_without_flow_or_causal_network_is_refused():
    with pytest.raises(ValueError, match="expects a model with a flow or a causal network"):
        compilation.compile_parts(torch.nn.Linear(2, 2))


def test_compilation_in_several_processes_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"training\.compile expects one process"):
        fit(recipe(compile=True), images(), out=tmp_path, devices=2, device="cpu")
