"""PixelCNN++: its size, its layers against plain formulas, causality in training too, and steps on coloured images."""

import copy

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.testing import assert_close

from pyro_exact.autoregressive import Autoregressive, CausalNet, PixelCNNpp
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import (
    Pointwise,
    ShiftedConv2d,
    ShiftedConvTranspose2d,
)
from pyro_exact.likelihoods import DiscretizedLogisticMixture
from pyro_exact.nn.dropout import Dropout
from pyro_exact.nn.weight_norm import WeightNormed
from pyro_exact.ops.concat_elu import concat_elu

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


# The network
# ----------------------------------------------------------------------------------------------------------


def test_it_is_as_large_as_the_official_one():
    """Counting a gain for each output channel of each of its layers."""
    with torch.device("meta"):
        parameters = list(PixelCNNpp((3, 32, 32)).parameters())
    assert (len(parameters), sum(p.numel() for p in parameters)) == (567, 53_659_080)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_sees_itself_or_a_later_one(seed, training):
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


def test_not_a_number_does_not_leak():
    """What is multiplied by zero would pass the test by perturbation."""
    net, x = small(), images(1)
    for site in (0, 13, 40, 95):
        poisoned = net.to_sites(x).clone()
        poisoned[:, site] = torch.nan
        theta = net(net.from_sites(poisoned)).flatten(1, 2)
        assert theta[:, : site + 1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_steps_give_what_forward_gives_on_coloured_images(dtype):
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


def test_samples_of_steps_and_of_whole_passes_are_the_same_on_coloured_images(monkeypatch):
    d = Autoregressive(small())
    torch.manual_seed(3)
    fast = d.sample((3,))
    monkeypatch.setattr(PixelCNNpp, "init_state", CausalNet.init_state)
    monkeypatch.setattr(PixelCNNpp, "step", CausalNet.step)
    torch.manual_seed(3)
    assert torch.equal(d.sample((3,)), fast)
    assert len(fast.unique()) == 8


def test_a_state_serves_once_and_another_start_begins_anew():
    net, x = small(), images(2)
    for _ in range(2):
        state = net.init_state((2,))
        found, state = net.step(state)
        assert_close(found.squeeze(1), net(x)[:, 0, 0])


@torch.no_grad()
def test_a_recorded_step_is_every_step_of_its_phase():
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


def test_steps_have_no_dropout():
    net = small(dropout=0.5)
    expected = net.eval()(images(2))[:, 0, 0]
    found, _ = net.train().step(net.init_state((2,)))
    assert_close(found.squeeze(1), expected)


def test_initialize_normalises_every_layer_on_the_batch():
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


def test_a_map_that_no_pixel_reaches_is_not_blown_up():
    """The one pixel of the lowest resolution sees what is before the first pixel of the image: nothing."""
    net = PixelCNNpp((1, 4, 4), 8, width=4, depth=1, components=2, dropout=0.0)
    net.initialize(torch.randint(8, (20, 1, 4, 4)).double())
    lowest = net.left.blocks[net.left.down[2][0]].first
    assert_close(lowest.magnitude, torch.ones(4))


def test_a_conditional_network_is_initialised_with_no_context():
    net = PixelCNNpp((1, 8, 8), 8, width=4, depth=1, components=2, dropout=0.0, context_dim=3)
    x = torch.randint(8, (20, 1, 8, 8)).double()
    net.initialize(x)
    assert_close(
        net(x, torch.zeros(3)).std((0, 1, 2), correction=0), torch.ones(6), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (1, 4, 12)], ids=str)
def test_sizes_that_4_divides_work(shape):
    net = PixelCNNpp(shape, 4, width=2, depth=1, components=1)
    assert net(torch.zeros(2, *shape)).shape == (2, *shape[1:], net.likelihood.num_params)


def test_forward_takes_integers():
    net = small().double()
    x = torch.randint(8, (2, 3, 8, 12), dtype=torch.uint8)
    assert torch.equal(net(x), net(x.double()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_likelihood_is_computed_in_full_precision(dtype):
    likelihood, x = DiscretizedLogisticMixture(3, 8, 2), torch.randint(8, (5, 3))
    theta = torch.randn(5, likelihood.num_params).to(dtype)
    found = likelihood.log_prob(theta, x.to(dtype))
    assert torch.equal(found, likelihood.log_prob(theta.float(), x.float()))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: PixelCNNpp((1, 7, 8)),
            r"height and width that 4 divides; got \(1, 7, 8\)\. Pad the images",
        ),
        (lambda: PixelCNNpp((1, 8, 6)), "that 4 divides"),
        (lambda: PixelCNNpp((8, 8)), r"expects 3 sizes in shape; got \(8, 8\)"),
        (lambda: PixelCNNpp((1, 8, 8), depth=0), r"expects depth from 1 to \d+; got 0"),
        (lambda: PixelCNNpp((1, 8, 8), width=0), r"expects width from 1 to \d+; got 0"),
        (lambda: PixelCNNpp((1, 8, 8), levels=1), r"expects levels from 2 to \d+; got 1"),
        (lambda: PixelCNNpp((1, 8, 8), dropout=1.0, width=2), r"a share in \[0, 1\); got 1\.0"),
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
def test_what_cannot_be_is_refused(run, message):
    with pytest.raises(ValueError, match=message):
        run()


# Its layers
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel_size", "centred"), [((2, 3), True), ((2, 2), False), ((1, 3), True), ((2, 1), True)]
)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_shifted_convolution_is_the_plain_sum(kernel_size, centred, stride):
    layer, x = moved(ShiftedConv2d(2, 3, kernel_size, centred, stride)), torch.randn(2, 4, 6, 2)
    rows, columns = kernel_size
    left = columns // 2 if centred else columns - 1
    weight = layer.magnitude[:, None, None, None] * F.normalize(
        layer.direction.flatten(1), dim=1
    ).view_as(layer.direction)
    y = layer(x)
    assert y.shape == (2, 4 // stride, 6 // stride, 3)
    for i in range(4 // stride):
        for j in range(6 // stride):
            total = layer.bias.expand(2, 3)
            for k in range(rows):
                for m in range(columns):
                    row, column = stride * i + k - rows + 1, stride * j + m - left
                    if row >= 0 and 0 <= column < 6:
                        total = total + x[:, row, column] @ weight[:, :, k, m].T
            assert_close(y[:, i, j], total)


@pytest.mark.parametrize("kernel_size", [(2, 3), (2, 2)])
def test_a_transposed_convolution_doubles_a_row_into_two_and_sees_no_other(kernel_size):
    layer, x = moved(ShiftedConvTranspose2d(2, 3, kernel_size)), torch.randn(2, 3, 4, 2)
    weight, y = layer.weight(), layer(x)
    assert y.shape == (2, 6, 8, 3)
    beside = kernel_size[1] == 3
    for i in range(6):
        for j in range(8):
            total = layer.bias.expand(2, 3)
            for m in range(kernel_size[1]):
                source = j + beside - m
                if source % 2 == 0 and 0 <= source < 8:
                    total = total + x[:, i // 2, source // 2] @ weight[:, :, i % 2, m].T
            assert_close(y[:, i, j], total)


def test_a_pointwise_layer_of_several_maps_is_that_of_one():
    layer, maps = moved(Pointwise(5, 3)), (torch.randn(2, 4, 4, 2), torch.randn(2, 4, 4, 3))
    assert_close(layer(*maps), layer(torch.cat(maps, dim=-1)))


def test_concat_elu_is_that_of_torch_and_has_its_derivatives():
    x = torch.cat(
        (torch.randn(5, 6), torch.tensor([[-50.0, -1e-9, 0, 1e-9, 50, 1]]))
    ).requires_grad_()
    values = concat_elu(x), F.elu(torch.cat((x, -x), dim=-1))
    assert_close(*values)
    weights = torch.randn_like(values[0])
    gradients = [torch.autograd.grad((value * weights).sum(), x)[0] for value in values]
    assert_close(*gradients)
    assert torch.autograd.gradgradcheck(concat_elu, torch.randn(3, 4, requires_grad=True))


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
