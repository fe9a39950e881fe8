"""The laws of every causal network of the registry."""

import copy
from collections import Counter
from functools import partial

import pytest
import torch
from helpers.causal_nets import (
    BATCHES,
    by_steps,
    data,
    levels,
    log_p_of_sites,
)
from registry import NETS, net
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from pyro_exact import autoregressive
from pyro_exact.autoregressive import MADE, NADE, Autoregressive, CausalNet, DeepNADE, scans
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
)
from pyro_exact.nn import MaskedDense

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(params=NETS)
def each(request):
    return net(request.param)


def test_causal_nets_of_the_package_are_registered():
    others = {"Autoregressive", "CausalNet", "Completion", "OrderAgnosticNet", "PixelNet"}
    others |= {"MultiscaleNet", "multi_scale_pixel_rnn", "multiscale_pixel_cnn", "scans"}
    assert {name.split()[0] for name in NETS} == set(autoregressive.__all__) - others


@pytest.mark.parametrize(
    ("kind", "batches"), [(None, BATCHES), (CausalNet, [(3,)])], ids=["its own", "default"]
)
def test_causal_net_steps_give_what_forward_gives(each, kind, batches):
    for batch in batches:
        x, context = data(each, batch)
        for member in range(len(each.orders)):
            theta = each(x, context, member)
            assert theta.shape == (*batch, *each.grid, each.likelihood.num_params)
            found = by_steps(each, x, context, member, kind)
            assert_close(found, theta, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_causal_net_recorded_step_is_every_step_of_its_phase(each):
    """What a CUDA graph relies on: operations that were recorded at one place give theta at the others."""
    x, context = data(each, (3,))
    values, theta = each.to_sites(x), each(x, context).flatten(1, -2)
    state, previous, recorded = each.init_state((3,), context), None, {}
    times = Counter(each.phase(done) for done in range(each.num_steps))
    for done in range(each.num_steps):
        sites, phase = each.orders[0][each.group(done)], each.phase(done)
        if phase is None or times[phase] == 1:
            actual, state = each.step(state, previous)
        else:
            if phase not in recorded:
                copied = copy.deepcopy(state)
                recorded[phase] = make_fx(lambda state, previous: each.step(state, previous)[0])(
                    copied, previous
                )
            actual = recorded[phase](state, previous)
            state = state.next(state.cache)
        assert_close(actual, theta[:, sites], rtol=1e-10, atol=1e-10)
        previous = values[:, sites]


def test_causal_net_theta_depends_only_on_what_comes_before(each):
    x, context = data(each, (5,))
    for member, order in enumerate(each.orders.tolist()):
        theta = each(x, context, member).flatten(1, -2)
        groups = [each.group(index) for index in range(each.num_steps)]
        for group, site in [
            (each_group, site) for each_group in groups for site in order[each_group]
        ]:
            moved, count = each.to_sites(x).clone(), levels(each.likelihood)
            moved[:, site] = (moved[:, site] + 1) % count if count else 1 - moved[:, site]
            after = each(each.from_sites(moved), context, member).flatten(1, -2)
            before, behind = order[: group.stop], order[group.stop :]
            assert torch.equal(after[:, before], theta[:, before])
            assert (after[:, behind] != theta[:, behind]).any(0).all()


def test_causal_net_gradient_is_that_of_the_plain_loop(each):
    x, context = data(each, (5,))
    if context is not None:
        context.requires_grad_()
    inputs = [*each.parameters(), *([] if context is None else [context])]
    for member in range(len(each.orders)):
        loop = by_steps(each, x, context, member)
        if not loop.requires_grad:  # steps that write into their state
            loop = by_steps(each, x, context, member, CausalNet)
        log_p = [log_p_of_sites(each, theta, x) for theta in (each(x, context, member), loop)]
        assert_close(*log_p, rtol=1e-8, atol=1e-8)
        gradients = [
            torch.autograd.grad(p.sum(), inputs, allow_unused=True, materialize_grads=True)
            for p in log_p
        ]
        assert_close(*gradients, rtol=1e-8, atol=1e-8)


def test_causal_net_every_parameter_gets_a_gradient(each):
    x, context = data(each, (20,))
    if each.sites > 1:
        Autoregressive(each, context).log_prob(x).sum().backward()
        assert all(p.grad.any() for p in each.parameters())


def test_causal_net_masks_and_orders_are_saved(tmp_path):
    for made, other in [
        (MADE(10, (9, 9), masks=3, seed=1), MADE(10, (9, 9), masks=3, seed=2)),
        (NADE(10, 5, list(range(9, -1, -1))), NADE(10, 5)),
    ]:
        for p in made.parameters():
            torch.nn.init.normal_(p)
        torch.save(made.state_dict(), tmp_path / "net.pt")
        other.load_state_dict(torch.load(tmp_path / "net.pt", weights_only=True))
        x, _ = data(made, (5,))
        assert torch.equal(Autoregressive(other).log_prob(x), Autoregressive(made).log_prob(x))


@pytest.mark.parametrize("name", ["MADE", "MADE gaussian", "NADE image"])
def test_causal_net_initialize_gives_each_site_its_marginal(name):
    made = NETS[name]()
    if isinstance(made, NADE):
        torch.nn.init.zeros_(made.V)
    x = data(made, (200,))[0] * 0.75
    x = x if "gaussian" in name else (x > torch.rand(made.event_shape)).double()
    made.initialize(x)
    drawn = made.likelihood.draw(made(x), torch.rand(*x.shape, 1))
    assert_close(drawn.mean(0), x.mean(0), rtol=0, atol=0.2)
    expected = made.likelihood.log_prob(
        made.likelihood.marginal(x).expand(200, *made.event_shape, -1), x
    )
    assert_close(made.likelihood.log_prob(made(x), x), expected)


def test_causal_net_in_float32_is_close_to_float64(each):
    x, context = data(each, (5,))
    exact = Autoregressive(each, context).log_prob(x)
    single = Autoregressive(each.float(), None if context is None else context.float())
    assert_close(single.log_prob(x).double(), exact, rtol=1e-4, atol=1e-4)
    assert single.sample().dtype == torch.float32


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: NADE(3, 4, [0, 1, 1]),
            r"NADE expects an order that holds each of 0, \.\.\., 2 once; got \[0, 1, 1\]",
        ),
        (lambda: NADE(3, 4, [1, 2, 3]), "NADE expects an order"),
        (lambda: MADE(3, (4,), order=[0, 1]), "MADE expects an order"),
        (
            lambda: MADE(2, (4,), masks=2, order=[[0, 1], [1, 1]]),
            r"each of 0, \.\.\., 1 once; got \[1, 1\]",
        ),
        (
            lambda: MADE(2, (4,), masks=3, order=[[0, 1], [1, 0]]),
            "one order, or one for each of 3 masks; got 2",
        ),
        (
            lambda: scans((3, 2, 2)),
            r"scans expects the shape \(H, W\) or \(1, H, W\) of an image; got \(3, 2, 2\)",
        ),
        (lambda: scans((4,)), r"scans expects .*; got \(4,\)"),
        (lambda: scans((0, 4)), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: NADE(3, 0), r"expects width from 1 to \d+; got 0"),
        (lambda: NADE(0), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: MADE((1, 0, 3)), r"expects each of shape from 1 to \d+; got 0"),
        (lambda: MADE(()), r"expects shape of at least one size; got \(\)"),
        (lambda: MADE(3, (0,)), r"expects each of hidden_dims from 1 to \d+; got 0"),
        (lambda: MADE(3, (4,), masks=0), r"expects masks from 1 to \d+; got 0"),
        (lambda: MADE(3, (4,), context_dim=0), r"expects context_dim from 1 to \d+; got 0"),
        (lambda: NADE(3, 4, iter([0, 1, 1])), r"got \[0, 1, 1\]"),
        (lambda: NADE(3, 4, torch.tensor([0, 1, 1])), r"got \[0, 1, 1\]"),
        (lambda: NADE(3, 4, torch.eye(3)), r"once; got \[1.0, 0.0, 0.0\]"),
        (lambda: NADE(3, 4, [[0, 1, 2], [2, 1, 0]]), "NADE expects one order; got 2"),
        (lambda: NADE(3, 4, 5), "once; got 5"),
        (lambda: NADE(3, 4, [None, 1, 2]), r"once; got \[None, 1, 2\]"),
        (lambda: MADE(3, (4,), order=iter([0, 1, 1])), r"once; got \[0, 1, 1\]"),
        (
            lambda: DeepNADE(3, (4, 4), orders=[0, 1]),
            r"DeepNADE expects an order .* once; got \[0, 1\]",
        ),
        (lambda: DeepNADE(3, (4, 4), orders=[]), "DeepNADE expects at least one order; got none"),
        (
            lambda: MADE(3, (4,), context_dim=2)(torch.zeros(3), torch.zeros(5)),
            r"shape \(\*batch, 2\); got \(5,\)",
        ),
        (
            lambda: MADE(3, (4,))(torch.zeros(5, 4)),
            r"expects x of shape \(\*batch, 3\); got \(5, 4\)",
        ),
        (
            lambda: NADE((1, 2, 2), 4)(torch.zeros(4)),
            r"expects x of shape \(\*batch, 1, 2, 2\); got \(4,\)",
        ),
        (
            lambda: MaskedDense(3, 1, masks=2),
            "one mask, or several and a seed; got dim 3, 2 masks and seed None",
        ),
        (
            lambda: Autoregressive(NADE(3, 4), torch.zeros(2)),
            r"expects no context for this network; got one of shape",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2)),
            r"expects a context of shape \(\*batch, 2\); got none",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2), torch.zeros(5, 3)),
            r"expects context of shape \(\*batch, 2\); got \(5, 3\)",
        ),
        (
            lambda: Autoregressive(MADE(3, (4,), context_dim=2), torch.zeros(())),
            r"expects context of shape \(\*batch, 2\); got \(\)",
        ),
        (lambda: Autoregressive(NADE(3, 4), member=1), "expects member from 0 to 0; got 1"),
        (
            lambda: Autoregressive(NADE(3, 4)).sample(observed=torch.zeros(3)),
            "observed and mask together",
        ),
        (
            lambda: Autoregressive(NADE(3, 4)).sample(mask=torch.ones(3)),
            "observed and mask together",
        ),
    ],
)
def test_causal_net_refuses_impossible_settings(run, message):
    with pytest.raises(ValueError, match=message):
        run()


@pytest.mark.parametrize("kind", [MADE, DeepNADE])
def test_causal_net_dropout_is_for_training_only(kind):
    made, plain = (kind(10, (50,), dropout=p) for p in (0.5, 0.0))
    for p in made.parameters():
        torch.nn.init.normal_(p, std=0.5)
    plain.load_state_dict(made.state_dict())
    x = torch.randint(2, (3, 10)).double()

    def theta(some):
        return some(x) if kind is MADE else some.conditionals(x, torch.arange(10) < 5)

    assert (theta(made) != theta(made)).any(1).all()
    assert_close(by_steps(made, x, None, 0), by_steps(plain, x, None, 0))
    assert_close(theta(made.eval()), theta(plain))
    with pytest.raises(ValueError, match=r"share in \[0, 1\); got 1"):
        kind(10, (50,), dropout=1.0)


def test_made_of_several_seeds_is_one_by_the_functional_transforms():
    several = [MADE(5, (8, 8), order=torch.randperm(5), seed=seed) for seed in range(3)]
    for one in several:
        for p in one.parameters():
            torch.nn.init.normal_(p)
    x = torch.rand(4, 5)
    parameters, buffers = torch.func.stack_module_state(several)
    call = partial(torch.func.functional_call, several[0])
    stacked = torch.func.vmap(call, (0, None))({**parameters, **buffers}, (x,))
    assert_close(stacked, torch.stack([one(x) for one in several]))


@pytest.mark.parametrize("kind", [NADE, MADE, DeepNADE])
def test_causal_net_scores_of_half_precision_are_summed_in_single(kind):
    size = 5 if kind is NADE else (5,)
    some, x = kind(784, size).bfloat16(), torch.zeros(784)
    expected = BernoulliLikelihood().log_prob(some(x.bfloat16()).float(), x.float()).sum()
    assert_close(Autoregressive(some).log_prob(x), expected)


@pytest.mark.parametrize("name", ["NADE", "MADE", "DeepNADE"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(10), r"expects a batch of data; got shape \(10,\)"),
        (torch.zeros(0, 10), r"expects a batch of data; got shape \(0, 10\)"),
        (torch.full((3, 10), torch.nan), "expects data with values 0 and 1; got other values"),
        (torch.zeros(3, 9), r"shape \(\*batch, 10\); got \(3, 9\)"),
    ],
    ids=str,
)
def test_causal_net_refuses_data_that_it_cannot_start_from(name, x, message):
    with pytest.raises(ValueError, match=message):
        net(name).initialize(x)


def test_causal_net_starts_from_a_batch_of_any_shape():
    x = torch.randint(2, (3, 4, 10)).double()
    made, same = net("NADE"), net("NADE")
    made.initialize(x)
    same.initialize(x.view(12, 10))
    assert torch.equal(made.b, same.b)
