"""The report on the layers of a flow: known scales, known limits, NaN by name, advice, and the command."""

import json
import math

import matplotlib.image
import numpy as np
import pytest
import torch
from registry import MODELS, TRANSFORMS, small_glow
from torch import nn
from torch.testing import assert_close

from pyro_exact import cli, flows
from pyro_exact.diagnostics import flow_report, save_flow_page
from pyro_exact.diagnostics.jacobian import EXACT_DIM, stretch
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models import Density, Dequantized
from pyro_exact.nn import DenseConditioner
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Compose,
    Coupling,
    Elementwise,
    Halves,
    LinearLU,
    Logit,
    Spline,
)


def diagonal(*log_scales: float) -> ActNorm:
    """A layer with given log-scales."""
    layer = ActNorm(len(log_scales))
    layer.theta.free()[1].data.copy_(torch.tensor(log_scales))
    return layer


def coupling(formula: Elementwise, *theta: float) -> Coupling:
    """A coupling of two elements whose parameters are constants."""
    net = DenseConditioner(1, 1, formula.num_params, hidden_dims=(4,))
    last = [part for part in net.modules() if isinstance(part, nn.Linear)][-1]
    last.weight.data.zero_()
    last.bias.data.copy_(torch.tensor(theta))
    return Coupling(Halves(2), formula, net)


# Numbers
# ------------------------------------------------------------------------------------------------


def test_log_scales_and_condition_of_diagonal_layers_are_exact():
    flow = Compose([diagonal(1.0, -2.0, 0.5), diagonal(3.0, 2.0, 0.0)])
    found = flow_report(flow, torch.randn(50, 3))
    first, second = found.layers
    assert first.log_scales == pytest.approx((-2.0, 1.0))
    assert second.log_scales == pytest.approx((0.0, 3.0))
    assert first.condition == pytest.approx(math.e**3)
    assert found.log_scales == pytest.approx((0.0, 4.0))
    assert found.condition == pytest.approx(math.e**4)
    assert found.exact


def test_log_scales_of_a_formula_are_those_of_its_elements():
    bounded = 3 * math.tanh(2 / 3)
    (layer,) = flow_report(coupling(Affine(), 0.0, 2.0), torch.randn(50, 2)).layers
    assert layer.log_scales == pytest.approx((bounded, bounded))
    assert layer.condition == pytest.approx(math.exp(bounded))
    assert layer.kind == "Coupling of Affine"


def test_log_scales_are_those_from_data_to_noise_in_both_directions():
    layer = coupling(Affine(), 0.0, 2.0)
    there, back = (flow_report(flow, torch.randn(50, 2)) for flow in (layer, layer.inv))
    assert back.layers[0].log_scales == pytest.approx(
        [-s for s in there.layers[0].log_scales[::-1]]
    )
    assert back.condition == pytest.approx(there.condition)


@pytest.mark.parametrize("dim", [4, EXACT_DIM + 6])
def test_stretch_of_a_linear_map_is_that_of_its_matrix(dim):
    layer = LinearLU(dim).double()
    nn.init.normal_(layer.theta.free()[0], std=0.1)
    x = torch.randn(2, dim, dtype=torch.float64)
    matrix = layer(torch.eye(dim, dtype=torch.float64)) - layer(
        torch.zeros(1, dim, dtype=torch.float64)
    )
    logs = torch.linalg.svdvals(matrix.detach()).log()

    found = stretch(layer, x, None)
    assert found.exact == (dim <= EXACT_DIM)
    error = 1e-8 if found.exact else 0.1
    assert found.greatest == pytest.approx(logs[0].item(), abs=error)
    assert found.least == pytest.approx(logs[-1].item(), abs=error)
    assert found.greatest <= logs[0] + 1e-8  # an estimate is never too large
    assert found.least >= logs[-1] - 1e-8


@pytest.mark.parametrize(
    ("formula", "theta", "x", "limit"),
    [
        (Affine(), (0.0, 20.0), 0.0, "log-scale at its bound"),
        (Affine("learned"), (0.0, 5.0), 0.0, "log-scale at its bound"),
        (Affine("sigmoid"), (0.0, -9.0), 0.0, "sigmoid gate closed"),
        (Spline(2), (0.0,) * 5, 4.0, "input outside of the interval"),
        (Spline(2), (30.0, 0.0, 0.0, 0.0, 0.0), 0.0, "spline with a bin of the least size"),
        (Spline(2), (0.0, 0.0, 0.0, 0.0, -30.0), 0.0, "spline with the least slope"),
    ],
)
def test_saturation_names_the_limit_that_is_reached(formula, theta, x, limit):
    data = torch.full((10, 2), x)
    (layer,) = flow_report(coupling(formula, *theta), data).layers
    assert layer.saturation[limit] == 1
    (layer,) = flow_report(coupling(formula, *[0.0] * len(theta)), data * 0).layers
    assert set(layer.saturation.values()) == {0}


def test_inverse_error_is_in_units_of_the_spread():
    """Data around a million have few digits left in float32: half a unit of the last place is 1/32."""
    data = 1e6 + torch.randn(200, 2, dtype=torch.float64)
    found = flow_report(diagonal(1.0, 1.0), data)
    assert 1e-2 < found.inverse_error < 1
    assert "sample in float64" in found.verdict.lower()


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_report_of_every_layer(name):
    """Each layer has finite numbers, in JSON too, and is left as it was."""
    case = TRANSFORMS[name]
    flow = case.make(2 if case.conditional else None)
    context = torch.randn(6, 2) if case.conditional else None
    before = {key: value.clone() for key, value in flow.state_dict().items()}

    found = flow_report(flow, case.draw((6, *case.shape)), context)
    assert found.layers
    assert found.condition > 1 - 1e-6
    assert found.inverse_error < 1e-3
    assert found.non_finite == 0
    assert [layer for layer in found.layers if layer.bad_weights] == []
    json.dumps(found.summary(), allow_nan=False)
    assert_close(flow.state_dict(), before)
    assert not any("transform" in vars(module) for module in flow.modules())


# What is not finite
# ------------------------------------------------------------------------------------------------


def test_weight_that_is_not_finite_is_named():
    flow = Compose([diagonal(0.0, 0.0), diagonal(0.0, math.nan)])
    found = flow_report(flow, torch.randn(9, 2))
    assert [layer.bad_weights is None for layer in found.layers] == [True, False]
    assert found.non_finite == 9
    assert "Layer 2 (ActNorm) has NaN in log_scale" in found.verdict
    assert "Load an earlier checkpoint" in found.verdict
    assert found.summary()["condition"] is None


def test_layer_whose_output_is_not_finite_is_named():
    data = torch.rand(9, 2)
    data[:3] = 2.0  # outside of the unit interval
    flow = Compose([diagonal(0.0, 0.0), Logit(1, margin=0, event_dim=1), diagonal(0.0, 0.0)])
    found = flow_report(flow, data)
    assert [layer.non_finite for layer in found.layers] == [0, 3, 0]
    assert "Layer 2 (Logit) makes 3 data NaN or infinite" in found.verdict


# Models, words and files
# ------------------------------------------------------------------------------------------------


def test_models_and_flows_have_the_same_report():
    x = torch.randn(40, 3) * 0.1 + 2
    flow = Flow(StandardNormal(3), flows.maf(3, 2, (6,)).inv)
    model = Density(flow)
    model.initialize(x)
    reports = [flow_report(each, x).summary() for each in (model, flow, flow.bijection.inv)]
    assert reports[0] == reports[1] == reports[2]
    assert reports[0]["noise_rms"] == pytest.approx(1, abs=0.02)


def test_dequantized_model_has_noise_of_the_seed():
    model = Dequantized(Flow(StandardNormal(16), small_glow(None).inv), levels=4)
    x = torch.randint(4, (5, 1, 4, 4))
    state = torch.get_rng_state()
    one, same, other = (flow_report(model, x, seed=seed).summary() for seed in (1, 1, 2))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), state)


def test_class_conditional_model_takes_classes():
    model = Dequantized(Flow(StandardNormal(16), small_glow(3).inv), levels=4)
    found = flow_report(model, torch.randint(4, (5, 1, 4, 4)), torch.tensor([0, 1, 2, 0, 1]))
    assert found.dim == 16


def test_a_bound_context_may_carry_a_gradient():
    flow = flows.maf(3, 2, (6,), context_dim=2)
    context = nn.Linear(4, 2)(torch.randn(50, 4))
    x = torch.randn(50, 3)
    bound = flow_report(flow.condition(context), x)
    assert bound.summary() == flow_report(flow, x, context).summary()
    assert flow_report(flow.condition(context[0]).inv, x).data == 50


def test_spline_on_data_that_were_not_standardised_gets_advice():
    flow = Flow(StandardNormal(2), flows.spline_coupling((2,), 2, act_norm=False).inv)
    found = flow_report(flow, 50 + torch.randn(100, 2))
    assert "100% of its elements at a limit (input outside of the interval)" in found.verdict
    assert "call initialize with data" in found.verdict
    assert found.verdict in str(found).replace("\n", " ")


def test_layer_that_stretches_gets_advice_but_for_the_first():
    flow = Compose([diagonal(9.0, 9.0), diagonal(0.0, 7.0)])
    found = flow_report(flow, 1e-4 * torch.randn(100, 2))
    assert "Layer 2 (ActNorm) stretches by e^7.0. Lower the learning rate" in found.verdict
    assert "Layer 1" not in found.verdict


def test_page_is_a_picture(tmp_path):
    found = flow_report(small_glow(None), torch.rand(8, 1, 4, 4))
    save_flow_page(found, tmp_path / "page.png", "a title")
    image = matplotlib.image.imread(tmp_path / "page.png")
    assert min(image.shape[:2]) >= 500
    assert image[..., :3].std() > 0.05


def test_command_writes_a_report_of_a_flow(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(0, 4, (60, 4, 4), dtype=np.uint8)
    np.savez("toy.npz", train=images[:40], test=images[40:], levels=4)
    (tmp_path / "mine.yaml").write_text(
        "data: toy.npz\nmodel: {name: glow, scales: 1, steps: 1, width: 4}\n"
        "training: {steps: 2, batch_size: 8}\n"
    )
    cli.main(["train", "mine.yaml", "--out", "out"])
    cli.main(["diagnose", "out/checkpoint.ckpt", "--n", "10", "--out", "seen"])
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "seen/diagnosis.json").read_text())
    assert (record["data"], record["dim"], record["recipe"]) == (10, 16, "mine")
    assert len(record["layers"]) > 3
    text = (tmp_path / "seen/diagnosis.txt").read_text()
    assert text.split("\n\n", 1)[1].strip() in printed
    assert (tmp_path / "seen/diagnosis.png").exists()


# Bad input
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flow": nn.Linear(2, 2)}, TypeError, "a model of a Flow, or a Bijection; got Linear"),
        ({"flow": MODELS["VAE"].make()}, TypeError, "got VAE. For a VAE, use diagnose"),
        ({"data": np.zeros((3, 2))}, TypeError, "expects data as a tensor; got ndarray"),
        ({"data": torch.zeros(1, 2)}, ValueError, "at least 2 data; got 1"),
        ({"data": torch.full((3, 2), math.nan)}, ValueError, "data to be finite; got 6 of 6"),
        ({"data": torch.zeros(3, 5)}, ValueError, "expects 2 dimensions; got 5"),
        ({"jacobians": 0}, ValueError, "expects jacobians from 1"),
        ({"seed": 0.5}, TypeError, "expects seed as an integer"),
    ],
)
def test_what_has_no_report_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        flow_report(**{"flow": diagonal(0.0, 0.0), "data": torch.randn(4, 2), **change})
