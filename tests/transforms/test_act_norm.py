"""Activation normalisation: set once, explicitly, from data of all processes."""

import copy

import pytest
import torch
from pyro.distributions import Normal, TransformedDistribution
from torch import distributed, multiprocessing
from torch.testing import assert_close

from pyro_exact.nn import ScaledConv2d
from pyro_exact.transforms import ActNorm

pytestmark = pytest.mark.usefixtures("double")

SHAPES = {"vector": (20, 3), "image": (4, 3, 5, 5)}


@pytest.fixture(params=SHAPES.values(), ids=list(SHAPES))
def x(request):
    scales = torch.tensor([0.1, 1.0, 30.0]).view(3, *[1] * (len(request.param) - 2))
    return 5 + scales * torch.randn(request.param)


def layer_for(x, **options):
    return ActNorm(3, event_dim=x.dim() - 1, **options)


def channels(y):
    return y.movedim(1, 0).flatten(1)


def assert_normal(y):
    assert_close(channels(y).mean(1), torch.zeros(3), rtol=0, atol=1e-10)
    assert_close(channels(y).std(1, correction=0), torch.ones(3))


def test_act_norm_initialize_normalises_the_batch(x):
    layer = layer_for(x)
    y = layer.initialize(x)
    assert_normal(y)
    assert not y.requires_grad
    assert_close(layer(x), y)
    assert_close(layer.inv(y.clone()), x)


def test_act_norm_starts_as_the_identity(x):
    y, ladj = layer_for(x).forward_and_ladj(x)
    assert torch.equal(y, x)
    assert not ladj.any()


def test_act_norm_is_initialised_by_nothing_but_initialize(x):
    layer = layer_for(x)
    d = TransformedDistribution(
        Normal(torch.zeros(x.shape[1:]), 1.0).to_event(x.dim() - 1), [layer.inv]
    )
    for mode in (True, False):
        layer.train(mode)
        d.sample((2,))
        d.log_prob(x)
        layer(x)
        layer.inv(x)
    assert not any(p.any() for p in layer.parameters())


@pytest.mark.parametrize("before", ["sample", "eval", "initialize"])
def test_act_norm_initialize_works_whatever_happened_before(x, before):
    layer = layer_for(x)
    if before == "sample":
        layer.inv(torch.randn_like(x))
    elif before == "eval":
        layer.eval()
    else:
        layer.initialize(100 * torch.randn_like(x))
    assert_normal(layer.initialize(x))
    assert_normal(layer(x))


def test_act_norm_stays_as_it_was_saved_when_loaded(x):
    saved = layer_for(x)
    y = saved.initialize(x)
    loaded = layer_for(x)
    loaded.load_state_dict(saved.state_dict())
    loaded.train()
    loaded(100 * x)
    assert_close(loaded(x), y)
    assert_close(copy.deepcopy(loaded)(x), y)


def test_act_norm_with_a_constant_channel_warns_and_stays_finite(x):
    x[:, 1] = 7.0
    layer = layer_for(x)
    with pytest.warns(
        UserWarning, match=r"at most 1e-06 times the root mean square in channels \[1\]"
    ):
        y = layer.initialize(x)
    assert not channels(y)[1].any()
    assert_close(channels(y)[[0, 2]].std(1, correction=0), torch.ones(2))
    assert layer.log_abs_det_jacobian(x, y).isfinite().all()
    assert_close(layer.inv(y.clone()), x)


def test_act_norm_floor_is_relative_and_divides_a_constant_channel_by_its_size(x):
    layer = layer_for(x, floor=0.1)
    with pytest.warns(
        UserWarning, match=r"at most 0.1 times the root mean square in channels \[0\]"
    ):
        y = layer.initialize(x)
    size = channels(x)[0].square().mean().sqrt()
    assert_close(channels(y)[0].std(correction=0), channels(x)[0].std(correction=0) / size)


@pytest.mark.parametrize("unit", [1e-20, 1e-4, 1e4, 1e20])
def test_act_norm_does_not_depend_on_the_unit_of_the_data(x, unit):
    x[:, 1] = 7.0
    layer, scaled = layer_for(x), layer_for(x)
    with pytest.warns(UserWarning, match=r"channels \[1\]"):
        y = layer.initialize(x)
    with pytest.warns(UserWarning, match=r"channels \[1\]"):
        assert_close(scaled.initialize(unit * x), y)


def test_act_norm_leaves_a_channel_of_zeros_alone(x):
    x[:, 1] = 0.0
    layer = layer_for(x)
    with pytest.warns(UserWarning, match=r"channels \[1\]"):
        layer.initialize(x)
    assert layer.log_std.flatten()[1] == 0


def test_act_norm_starts_again_when_it_is_initialised_again(x):
    layer = layer_for(x)
    with torch.no_grad():
        layer.theta.shift.fill_(3.0)
        layer.theta.log_scale.fill_(2.0)
    assert_normal(layer.initialize(x))


def test_act_norm_needs_two_vectors_or_one_image():
    layer = ActNorm(3)
    with pytest.raises(
        ValueError, match=r"at least two values per channel; got 1 .* Pass a larger batch"
    ):
        layer.initialize(torch.randn(1, 3))
    with pytest.raises(
        ValueError, match=r"at least two values per channel; got 1 .* Pass a larger batch"
    ):
        layer.initialize(torch.randn(3))
    assert not any(p.any() for p in layer.parameters())
    assert_normal(ActNorm(3, event_dim=3).initialize(torch.randn(1, 3, 4, 4)))


def test_act_norm_is_left_alone_by_values_that_are_not_finite(x):
    x[0, 0] = torch.nan
    layer = layer_for(x)
    with pytest.raises(ValueError, match="expects finite values"):
        layer.initialize(x)
    assert not any(p.any() for p in layer.parameters())


def test_act_norm_conditional_is_initialised_as_a_plain_one(x):
    plain, conditional = layer_for(x), layer_for(x, context_dim=2)
    context = torch.randn(len(x), 2)
    y = conditional.initialize(x, context)
    assert_normal(y)
    assert_close(y, plain.initialize(x))
    assert_close(conditional.condition(context)(x), y)


def test_act_norm_float32_weights_are_set_from_float64_sums():
    x = 1e4 + torch.randn(1000, 3, dtype=torch.float32)
    layer = ActNorm(3).float()
    layer.initialize(x)
    assert_close(layer.log_std.double(), x.double().std(0, correction=0).log(), rtol=0, atol=1e-6)


def test_act_norm_of_another_number_of_channels_is_not_initialised(x):
    with pytest.raises(ValueError, match=r"ActNorm expects 4 (channels|dimensions); got 3"):
        ActNorm(4, event_dim=x.dim() - 1).initialize(x)


def initialise_one_rank(rank, path, parts):
    distributed.init_process_group(
        "gloo", init_method=f"file://{path}/rendezvous", rank=rank, world_size=len(parts)
    )
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    layers = ActNorm(3, event_dim=3), ScaledConv2d(3, 2)
    for layer in layers:
        layer.initialize(parts[rank])
    torch.save([layer.state_dict() for layer in layers], f"{path}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(
    not distributed.is_available(), reason="this torch was built without torch.distributed"
)
def test_act_norm_on_two_processes_equals_one_with_the_whole_batch(tmp_path):
    x = 5 + torch.tensor([0.1, 1.0, 30.0])[:, None, None] * torch.randn(8, 3, 4, 4)
    parts = [x[:3], x[3:]]
    multiprocessing.spawn(initialise_one_rank, (str(tmp_path), parts), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    torch.manual_seed(0)
    whole = ActNorm(3, event_dim=3), ScaledConv2d(3, 2)
    for i, layer in enumerate(whole):
        layer.initialize(x)
        assert_close(ranks[0][i], dict(layer.state_dict()), rtol=1e-10, atol=1e-10)
        assert_close(ranks[1][i], ranks[0][i], rtol=0, atol=0)
