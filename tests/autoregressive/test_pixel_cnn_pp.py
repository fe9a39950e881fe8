"""PixelCNN++: size, receptive field, steps, initialisation."""

import copy

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, CausalNet, PixelCNNpp
from pyro_exact.likelihoods import DiscretizedLogisticMixture
from pyro_exact.nn.weight_norm import WeightNormed

pytestmark = pytest.mark.usefixtures("double")


def moved(module, std=0.5):
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


def small(**settings):
    options = {"levels": 8, "width": 3, "depth": 1, "components": 2, "dropout": 0.0, **settings}
    return moved(PixelCNNpp((3, 8, 12), **options))


def images(n):
    return torch.randint(8, (n, 3, 8, 12)).double()


def test_pixel_cnn_pp_is_as_large_as_the_official_one():
    """Counting a gain for each output channel of each of its layers."""
    with torch.device("meta"):
        parameters = list(PixelCNNpp((3, 32, 32)).parameters())
    assert (len(parameters), sum(p.numel() for p in parameters)) == (567, 53_659_080)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("seed", range(3))
def test_pixel_cnn_pp_pixels_do_not_see_themselves_or_a_later_one(seed, training):
    torch.manual_seed(seed)
    net, x = small(dropout=0.3).train(training), images(2)

    def theta(x):
        torch.manual_seed(seed)  # the same numbers are dropped
        return net(x).flatten(1, 2)

    before = theta(x)
    for site in torch.randperm(net.sites)[:20].tolist():
        other = net.to_sites(x).clone()
        other[:, site] = (other[:, site] + torch.randint(1, 8, (2, 3))) % 8
        after = theta(net.from_sites(other))
        assert torch.equal(after[:, : site + 1], before[:, : site + 1])
        assert site % 12 == 11 or not torch.equal(
            after[:, site + 1], before[:, site + 1]
        )  # but the next of its row


def test_pixel_cnn_pp_does_not_leak_nan():
    """A value that is multiplied by zero would pass the test by perturbation."""
    net, x = small(), images(1)
    for site in (0, 13, 40, 95):
        poisoned = net.to_sites(x).clone()
        poisoned[:, site] = torch.nan
        theta = net(net.from_sites(poisoned)).flatten(1, 2)
        assert theta[:, : site + 1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_pixel_cnn_pp_steps_give_what_forward_gives_on_coloured_images(dtype):
    net, x, context = (
        small(context_dim=2).to(dtype),
        images(4).to(dtype),
        torch.randn(4, 2, dtype=dtype),
    )
    theta, state, previous, sites = (
        net(x, context).flatten(1, 2),
        net.init_state((4,), context),
        None,
        net.to_sites(x),
    )
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for site in range(net.sites):
        found, state = net.step(state, previous)
        assert_close(found.squeeze(1), theta[:, site], rtol=tolerance, atol=tolerance)
        previous = sites[:, [site]]


def test_pixel_cnn_pp_samples_of_steps_and_of_whole_passes_are_the_same(monkeypatch):
    d = Autoregressive(small())
    torch.manual_seed(3)
    fast = d.sample((3,))
    monkeypatch.setattr(PixelCNNpp, "init_state", CausalNet.init_state)
    monkeypatch.setattr(PixelCNNpp, "step", CausalNet.step)
    torch.manual_seed(3)
    assert torch.equal(d.sample((3,)), fast)
    assert len(fast.unique()) == 8


def test_pixel_cnn_pp_state_serves_once_and_another_start_begins_anew():
    net, x = small(), images(2)
    for _ in range(2):
        state = net.init_state((2,))
        found, state = net.step(state)
        assert_close(found.squeeze(1), net(x)[:, 0, 0])


@torch.no_grad()
def test_pixel_cnn_pp_recorded_step_is_every_step_of_its_phase():
    """Of two phases, as it takes long to record; the network of the registry has none that comes twice."""
    net, x = (
        moved(PixelCNNpp((1, 8, 8), 8, width=2, depth=1, components=2, dropout=0.0)),
        images(2)[:, :1, :, :8],
    )
    values, theta, state, previous = (
        net.to_sites(x),
        net(x).flatten(1, 2),
        net.init_state((2,)),
        None,
    )
    recorded, replayed = dict.fromkeys([(0, 0, True), (1, 2, False)]), 0
    for done in range(net.sites):
        phase = net.phase(done)
        if phase not in recorded:
            found, state = net.step(state, previous)
        else:
            if recorded[phase] is None:
                copied = copy.deepcopy(state)
                recorded[phase] = make_fx(lambda state, previous: net.step(state, previous)[0])(
                    copied, previous
                )
            found, replayed = recorded[phase](state, previous), replayed + 1
            state = state.next(state.cache)
        assert_close(found.squeeze(1), theta[:, done], rtol=1e-10, atol=1e-10)
        previous = values[:, [done]]
    assert replayed == 1 + 4


def test_pixel_cnn_pp_steps_have_no_dropout():
    net = small(dropout=0.5)
    expected = net.eval()(images(2))[:, 0, 0]
    found, _ = net.train().step(net.init_state((2,)))
    assert_close(found.squeeze(1), expected)


def test_pixel_cnn_pp_initialize_normalises_every_layer_on_the_batch():
    net, x = PixelCNNpp((3, 8, 12), 8, width=4, depth=1, components=2, dropout=0.0), images(20)
    net.initialize(x)
    outputs = {}
    layers = [layer for layer in net.modules() if isinstance(layer, WeightNormed)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, _, y: outputs.__setitem__(layer, y))
    net(x)
    assert len(outputs) == len(layers)
    for layer, y in outputs.items():
        channels = y.flatten(0, 2)
        assert_close(channels.mean(0), torch.zeros(channels.shape[1]), rtol=0, atol=1e-8)
        spread = channels.std(0, correction=0)
        assert_close(spread, torch.full_like(spread, layer.gain), rtol=1e-3, atol=0)
    assert {layer.gain for layer in layers} == {1.0, 0.1}


def test_pixel_cnn_pp_initialize_does_not_blow_up_a_map_that_no_pixel_reaches():
    """The one pixel of the lowest resolution sees what is before the first pixel of the image: nothing."""
    net = PixelCNNpp((1, 4, 4), 8, width=4, depth=1, components=2, dropout=0.0)
    net.initialize(torch.randint(8, (20, 1, 4, 4)).double())
    lowest = net.left.blocks[net.left.down[2][0]].first
    assert_close(lowest.magnitude, torch.ones(4))


def test_pixel_cnn_pp_initialize_without_context_serves_a_conditional_network():
    net = PixelCNNpp((1, 8, 8), 8, width=4, depth=1, components=2, dropout=0.0, context_dim=3)
    x = torch.randint(8, (20, 1, 8, 8)).double()
    net.initialize(x)
    assert_close(
        net(x, torch.zeros(3)).std((0, 1, 2), correction=0), torch.ones(6), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (1, 4, 12)], ids=str)
def test_pixel_cnn_pp_takes_sizes_that_4_divides(shape):
    net = PixelCNNpp(shape, 4, width=2, depth=1, components=1)
    assert net(torch.zeros(2, *shape)).shape == (2, *shape[1:], net.likelihood.num_params)


def test_pixel_cnn_pp_forward_takes_integers():
    net = small().double()
    x = torch.randint(8, (2, 3, 8, 12), dtype=torch.uint8)
    assert torch.equal(net(x), net(x.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_pixel_cnn_pp_likelihood_is_computed_in_full_precision(dtype):
    likelihood, x = DiscretizedLogisticMixture(3, 8, 2), torch.randint(8, (5, 3))
    theta = torch.randn(5, likelihood.num_params).to(dtype)
    found = likelihood.log_prob(theta, x.to(dtype))
    assert torch.equal(found, likelihood.log_prob(theta.float(), x.float()))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: PixelCNNpp((1, 7, 8)),
            r"a height and a width that are multiples of 4; got \(1, 7, 8\)\. Pad the images",
        ),
        (lambda: PixelCNNpp((1, 8, 6)), "multiples of 4"),
        (lambda: PixelCNNpp((8, 8)), r"expects 3 sizes in shape; got \(8, 8\)"),
        (lambda: PixelCNNpp((1, 8, 8), depth=0), r"expects depth from 1 to \d+; got 0"),
        (lambda: PixelCNNpp((1, 8, 8), width=0), r"expects width from 1 to \d+; got 0"),
        (lambda: PixelCNNpp((1, 8, 8), levels=1), r"expects levels from 2 to \d+; got 1"),
        (lambda: PixelCNNpp((1, 8, 8), dropout=1.0, width=2), r"a fraction in \[0, 1\); got 1\.0"),
        (
            lambda: small()(torch.zeros(2, 3, 8, 8)),
            r"expects x of shape \(\*batch, 3, 8, 12\); got \(2, 3, 8, 8\)",
        ),
        (
            lambda: Autoregressive(small()).log_prob(torch.full((3, 8, 12), 8.0)),
            "integers 0, .*, 7; got 8",
        ),
        (
            lambda: Autoregressive(small()).log_prob(torch.full((3, 8, 12), 0.5)),
            r"integers 0, .*, 7; got 0\.5",
        ),
    ],
)
def test_pixel_cnn_pp_refuses_impossible_settings(run, message):
    with pytest.raises(ValueError, match=message):
        run()
