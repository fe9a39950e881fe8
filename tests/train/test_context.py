"""Training of p(x | context) on pairs, with resumption and evaluation."""

import torch
from helpers.two_pixels import perturb
from torch.testing import assert_close

from pyro_exact.data import ArrayDataset
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.flows import maf
from pyro_exact.models import Density
from pyro_exact.train import Training, evaluate, fit

generator = torch.Generator().manual_seed(0)
context = torch.randn(200, 2, generator=generator)
x = context.flip(-1) * 2 + 0.1 * torch.randn(200, 2, generator=generator)
PAIRS = ArrayDataset(
    "pairs", x[:150], x[150:], context_of={"train": context[:150], "valid": context[150:]}
)
SETTINGS = {"batch_size": 50, "learning_rate": 0.02, "validate_every": 20}


def model():
    torch.manual_seed(1)
    flow = maf(2, layers=1, hidden_dims=(8,), context_dim=2)
    return Density(Flow(StandardNormal(2), flow.inv), context_dim=2)


def run(out, steps, **options):
    return fit(
        model(), PAIRS, Training(steps=steps, **SETTINGS), out=out, progress=False, **options
    )


def test_fit_trains_on_pairs_and_resumes_exactly(tmp_path):
    whole = run(tmp_path / "whole", 40)
    run(tmp_path / "parts", 20)
    resumed = run(tmp_path / "parts", 40, resume=True)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name])

    values = [value for _, _, value in whole.curve["valid"]]
    assert values[-1] < values[0]


def test_evaluate_scores_each_row_given_its_context():
    trained = perturb(model(), 0.1)
    score = evaluate(trained, x[150:], labels=context[150:])
    expected = -trained.condition(context[150:]).log_weight(x[150:])
    assert_close(score.each.float(), expected.detach())
    shuffled = evaluate(trained, x[150:], labels=context[150:].flip(0))
    assert not torch.allclose(score.each, shuffled.each)
