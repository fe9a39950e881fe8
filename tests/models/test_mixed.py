"""Rows of real, discrete and periodic elements: the mass and density of small models, by sums."""

import pytest
import torch
from registry.models import mixed, mixed_rows

from pyro_exact.distributions import Flow, FlowWithAngles, StandardNormal, UniformDequantizer
from pyro_exact.flows import bounded, maf
from pyro_exact.models import Mixed


def test_mixed_probabilities_of_an_integer_sum_to_one():
    torch.manual_seed(0)
    model = Mixed(Flow(StandardNormal(1), bounded(maf(1, 1), 0.0, 3.0).inv), discrete=[True])
    x = torch.arange(3.0)[:, None]
    # The bound of many samples, exp of the mean weight, is the probability of the cell.
    mass = model.log_weight(x, samples=20_000).exp().mean(0)
    assert mass.sum().item() == pytest.approx(1, abs=0.02)


def test_mixed_density_of_an_angle_is_in_its_units():
    torch.manual_seed(0)
    model = mixed([False, False])
    angles = torch.arange(0.5, 360, 1.0)
    assert model.flow.angles().log_prob(angles[:, None]).exp().sum().item() == pytest.approx(
        1, abs=1e-3
    )


def test_mixed_is_exact_without_discrete_elements():
    assert mixed([False, False]).exact
    assert not mixed([False, True]).exact


def test_mixed_samples_have_the_kinds_of_the_data():
    torch.manual_seed(0)
    model, x = mixed([False, True]), mixed_rows()
    model.initialize(x)
    drawn = model.sample(50)
    assert drawn.shape == (50, 3)
    assert (drawn[:, 2] % 1 == 0).all()
    assert ((drawn[:, 1] >= 0) & (drawn[:, 1] <= 360)).all()


def test_mixed_report_of_layers_takes_the_noise_map():
    model, x = mixed([False, True]), mixed_rows()
    found = model.noise_map(x)
    assert found.x.shape == (64, 2)
    assert found.context.shape == (64, 2)
    assert torch.equal(found.x[:, 1].floor(), x[:, 2])
    assert torch.equal(found.x[:, 0], x[:, 0])


def test_flow_with_angles_refuses_another_context():
    flow = Flow(StandardNormal(1), maf(1).inv)
    with pytest.raises(ValueError, match="expects a flow with a context of 2 elements"):
        FlowWithAngles(flow, mixed([False, False]).flow.angles, period=[1.0, 0.0])


def test_mixed_refuses_fractions_in_a_discrete_element():
    with pytest.raises(ValueError, match=r"expects integers in the discrete .* in element 2"):
        mixed([False, True]).log_weight(torch.tensor([[0.0, 1.0, 0.5]]))


def test_dequantizer_leaves_real_elements_as_they_are():
    x = torch.tensor([[0.25, 3.0]])
    noise = UniformDequantizer(x, event_dim=1, discrete=torch.tensor([False, True]))
    v = noise.sample()
    assert v[0, 0] == 0.25
    assert noise.log_prob(v).tolist() == [0.0]
    assert noise.log_prob(v + torch.tensor([0.1, 0.0])).tolist() == [-torch.inf]
