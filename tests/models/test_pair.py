"""A plain Pyro model and guide: the scale of a batch, parameters of the store and of modules."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from helpers.runs import contents, curve, same
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn

from pyro_exact import data, models, train
from pyro_exact.train import Training, fit, load_weights

ROWS, DIM = 24, 2


@pytest.fixture(autouse=True)
def new_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def rows():
    return 3 + torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(0))


def functions(subsample=False):
    """A VAE with a global latent, in the plain style of Pyro."""
    torch.manual_seed(0)
    decoder, encoder = nn.Linear(1, DIM), nn.Linear(DIM, 2)

    def plate(x):
        return pyro.plate("data", ROWS, subsample=x) if subsample else pyro.plate("data", len(x))

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.param("scale", torch.ones(()), constraint=dist.constraints.positive)
        shift = pyro.sample("shift", dist.Normal(0, 10))
        with plate(x):
            z = pyro.sample("z", dist.Normal(0, 1).expand([1]).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z) + shift, scale).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        pyro.sample("shift", dist.Delta(pyro.param("shift.at", torch.zeros(()))))
        with plate(x):
            location, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))

    return model, guide


def prepared(*pair):
    pair = models.Pair(*pair)
    pair.prepare(rows()[:4])
    return pair


def test_pair_scales_the_data_of_a_batch_to_all_rows():
    """With the same noise for each row, the mean loss of batches is that of all rows."""
    x = rows()

    def model(x):
        shift = pyro.sample("shift", dist.Normal(pyro.param("at", torch.ones(())), 1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(shift, 1).expand([DIM]).to_event(1), obs=x)

    def guide(x):
        pyro.sample("shift", dist.Delta(torch.tensor(0.5)))

    pair, elbo = prepared(model, guide), Trace_ELBO()
    whole = elbo.loss(model, guide, x) / ROWS
    parts = [pair.loss(part, elbo, ROWS).item() / len(part) for part in x.split(6)]
    assert sum(parts) / len(parts) == pytest.approx(whole, rel=1e-6)


def test_pair_takes_a_plate_that_subsamples():
    losses = []
    for subsample in (False, True):
        pyro.clear_param_store()
        pair = prepared(*functions(subsample))
        torch.manual_seed(1)
        losses.append(pair.loss(rows()[:6], Trace_ELBO(), ROWS).item())
        assert pair.log_weight(rows()[:5], 3).shape == (3, 5)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_pair_finds_parameters_of_the_store_and_of_modules():
    pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
    pair = prepared(*functions())
    assert {name for name, _ in pair.named_parameters()} == {
        "parameters_of_store.scale",
        "parameters_of_store.shift/at",
        "modules_of_store.decoder.weight",
        "modules_of_store.decoder.bias",
        "modules_of_store.encoder.weight",
        "modules_of_store.encoder.bias",
    }
    assert pair.parameters_of_store["scale"].exp().item() == pytest.approx(2)


def test_pair_is_trained_and_the_store_has_the_result(tmp_path):
    pair = models.Pair(*functions())
    run = fit(pair, rows(), settings(), tmp_path, progress=False, device="cpu")
    losses = [loss for *_, loss in run.curve["valid"]]
    assert losses[-1] < losses[0] - 0.5
    assert pyro.param("scale").item() == pair.parameters_of_store["scale"].exp().item() != 1
    assert pair.sample(7).shape == (7, DIM)
    assert train.evaluate(pair, rows(), k=3).bound == "importance-weighted"

    pyro.clear_param_store()
    fresh = prepared(*functions())
    load_weights(fresh, run.last)
    assert same(fresh.state_dict(), pair.state_dict())


def settings(**changed):
    values = {"steps": 30, "batch_size": 6, "validate_every": 10, "learning_rate": 0.05}
    return Training(**{**values, **changed})


class Mean(PyroModule):
    """A Bayesian mean, as a PyroModule with a parameter and a prior."""

    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.ones(()), constraint=dist.constraints.positive)
        self.location = PyroSample(dist.Normal(0, 10).expand([DIM]).to_event(1))

    def forward(self, x):
        location, scale = self.location, self.scale
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(location, scale).to_event(1), obs=x)


def test_pair_of_pyro_modules_and_an_autoguide_is_resumed(tmp_path):
    runs = {}
    for name, steps in (("straight", [20]), ("resumed", [10, 20])):
        for part in steps:
            pyro.clear_param_store()
            model = Mean()
            pair, changed = models.Pair(model, AutoNormal(model)), settings(steps=part)
            runs[name] = fit(
                pair,
                rows(),
                changed,
                tmp_path / name,
                resume=part != steps[0],
                progress=False,
                device="cpu",
            )
    assert same(runs["straight"].model.state_dict(), runs["resumed"].model.state_dict())
    assert curve(contents(tmp_path / "straight")) == curve(contents(tmp_path / "resumed"))


def test_pair_needs_a_plate_of_the_data():
    def model(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("x", dist.Normal(pyro.param("at", torch.zeros(())), 1), obs=x)

    with pytest.raises(
        ValueError, match=r"within pyro\.plate\('data', len\(x\)\), .*; got plates rows"
    ):
        models.Pair(model, lambda x: None).prepare(torch.zeros(4))
    models.Pair(model, lambda x: None, plate="rows").prepare(torch.zeros(4))
    with pytest.raises(
        TypeError, match="Pair expects a guide that is called with a batch; got Tensor"
    ):
        models.Pair(model, torch.zeros(3))
    with pytest.raises(ValueError, match=r"a pair that has seen a batch.*Call prepare"):
        models.Pair(model, lambda x: None).sample(3)


class Regression(PyroModule):
    """A Bayesian linear regression of rows on contexts."""

    def __init__(self):
        super().__init__()
        self.slope = PyroSample(dist.Normal(0, 10).expand([3, DIM]).to_event(2))

    def forward(self, x, context):
        slope = self.slope
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(context @ slope, 0.1).to_event(1), obs=x)


def test_pair_of_a_regression_takes_contexts(tmp_path):
    context = torch.randn(200, 3)
    slope = torch.tensor([[1.0, 0], [0, 2], [-1, 1]])
    x = context @ slope + 0.1 * torch.randn(200, DIM)
    given = {"train": context[:150], "valid": context[150:]}
    pairs = data.ArrayDataset("pairs", train=x[:150], valid=x[150:], context_of=given)

    model = Regression()
    pair = models.Pair(model, AutoNormal(model), context_dim=3)
    changed = settings(steps=200, learning_rate=0.1, batch_size=50, decay="cosine")
    run = fit(pair, pairs, changed, tmp_path, progress=False, device="cpu")
    torch.testing.assert_close(pair.posterior.median()["slope"], slope, rtol=0, atol=0.1)
    assert run.curve["valid"][-1][2] < 0

    drawn = run.model.condition(context[:7]).sample(2)
    assert (drawn - context[:7] @ slope).abs().max() < 1
    with pytest.raises(ValueError, match="expects a pair that has seen a batch, and a context"):
        run.model.sample(2)
    with pytest.raises(ValueError, match="This Pair expects no context; got one"):
        models.Pair(model, model).condition(context)
