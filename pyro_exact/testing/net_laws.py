"""The laws of an autoregressive network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.testing.law import agree, always, has_shape, law
from pyro_exact.testing.net_trial import NetTrial, can_be_enumerated

EXACT = 1e-10


def discrete(trial: NetTrial) -> bool:
    """A network of discrete elements."""
    return trial.net.likelihood.levels is not None


def enumerable(trial: NetTrial) -> bool:
    """A network with so few values that a sum over all values is possible."""
    return can_be_enumerated(trial.net.likelihood, trial.net.event_shape)


def conditional(trial: NetTrial) -> bool:
    """A network with a context."""
    return trial.context is not None


@law(always)
def orders_are_permutations(trial: NetTrial) -> None:
    """The order of each member holds every site once."""
    orders = trial.net.orders
    agree(
        "orders, sorted",
        orders.sort(-1).values,
        torch.arange(trial.net.sites).expand_as(orders),
    )


@law(always)
def groups_cover_the_order(trial: NetTrial) -> None:
    """The groups of all steps follow each other and end with the last site."""
    end = 0
    for index in range(trial.net.num_steps):
        group = trial.net.group(index)
        if group.start != end or group.stop <= end:
            raise AssertionError(f"group({index}): expected a start at {end}; got {group}.")
        end = group.stop
    if end != trial.net.sites:
        raise AssertionError(f"the last group: expected an end at {trial.net.sites}; got {end}.")


@law(always)
def theta_has_the_shape_of_the_grid(trial: NetTrial) -> None:
    """The parameters have the shape (*batch, *grid, num_params), for any batch shape."""
    net = trial.net
    for batch in ((), (2,), (0,), (2, 1)):
        theta = net(trial.values(*batch), trial.contexts(*batch))
        expected = (*batch, *net.grid, net.likelihood.num_params)
        has_shape(f"theta of a batch {batch}", theta, expected)


@law(always)
def theta_is_causal(trial: NetTrial) -> None:
    """The parameters of a site do not depend on the site itself, the same group or later groups."""
    net = trial.net
    for member in trial.members:
        order = net.orders[member]
        theta = trial.theta(trial.x, member)
        for index in range(net.num_steps):
            group = net.group(index)
            sites = net.to_sites(trial.x).clone()
            others = net.to_sites(trial.values(len(sites)))
            sites[:, order[group]] = others[:, order[group]] + 1
            if net.likelihood.levels is not None:
                sites = sites % net.likelihood.levels

            after = trial.theta(net.from_sites(sites), member)
            seen = order[: group.stop]
            agree(
                f"theta up to step {index}",
                after[:, seen],
                theta[:, seen],
                1e-12,
            )


@law(always)
def steps_equal_the_pass(trial: NetTrial) -> None:
    """The parameters from all steps are those of a pass, for each member and batch shape."""
    for batch in ((), (3,), (0,), (2, 2)):
        x = trial.values(*batch)
        context = trial.contexts(*batch)
        for member in trial.members:
            expected = trial.net(x, context, member)
            found = _by_steps(trial, x, context, member)
            agree(f"theta of member {member}", found, expected, EXACT)


@law(always)
def states_are_independent(trial: NetTrial) -> None:
    """Steps of two batches can alternate: the state is not kept in the network."""
    net = trial.net
    inputs = [trial.x, trial.values(len(trial.x))]
    states = [net.init_state((len(x),), trial.context) for x in inputs]
    previous: list[Tensor | None] = [None, None]
    order = net.orders[0]

    for index in range(net.num_steps):
        sites = order[net.group(index)]
        for i, x in enumerate(inputs):
            theta, states[i] = net.step(states[i], previous[i])
            expected = trial.theta(x)[:, sites]
            agree(f"theta of batch {i} at step {index}", theta, expected, EXACT)
            previous[i] = net.to_sites(x)[:, sites]


@law(always)
def values_may_be_overwritten(trial: NetTrial) -> None:
    """The values that are passed to a step may change afterwards, as samplers write in place."""
    net = trial.net
    x = trial.net.to_sites(trial.x)
    order = net.orders[0]
    expected = trial.theta(trial.x)
    state = net.init_state((len(x),), trial.context)
    previous = None
    for index in range(net.num_steps):
        sites = order[net.group(index)]
        theta, state = net.step(state, previous)
        agree(
            f"theta at step {index}",
            theta,
            expected[:, sites],
            EXACT,
        )
        if previous is not None:
            previous.fill_(torch.nan)
        previous = x[:, sites].clone()


@law(always)
def rows_do_not_mix(trial: NetTrial) -> None:
    """The parameters of a row do not depend on other rows."""
    together = trial.theta(trial.x)
    for i, x in enumerate(trial.x):
        context = None if trial.context is None else trial.context[i]
        alone = trial.net(x, context).flatten(0, -2)
        agree(f"theta of row {i} alone", alone, together[i], 1e-12)


@law(always)
def log_prob_is_finite(trial: NetTrial) -> None:
    """The log-probabilities of values in the support are finite, with one for each row."""
    log_p = Autoregressive(trial.net, trial.context).log_prob(trial.x)
    has_shape("log_prob", log_p, (len(trial.x),))
    if not log_p.isfinite().all():
        raise AssertionError(f"log_prob: expected finite values; got {log_p.tolist()}.")


@law(enumerable)
def mass_is_one(trial: NetTrial) -> None:
    """The probabilities of all values sum to 1, for each member and for the ensemble."""
    every = trial.every_value()
    members = [None, *trial.members] if len(trial.members) > 1 else [None]
    for member in members:
        with torch.no_grad():
            mass = trial.distribution(member).log_prob(every).exp().sum()
        agree(f"the mass of member {member}", mass, torch.ones_like(mass), EXACT)


@law(discrete)
def samples_are_fixed_points_of_a_pass(trial: NetTrial) -> None:
    """A sample from given noise equals the draws of a pass at the sample with that noise."""
    net = trial.net
    likelihood = trial.net.likelihood
    noise = torch.rand(
        len(trial.x),
        net.sites,
        likelihood.num_noise,
        dtype=torch.float64,
    )

    x = torch.zeros_like(net.to_sites(trial.x))
    state = net.init_state((len(x),), trial.context)
    previous = None
    order = net.orders[0]
    for index in range(net.num_steps):
        sites = order[net.group(index)]
        theta, state = net.step(state, previous)
        previous = likelihood.draw(theta, noise[:, sites])
        x[:, sites] = previous
    again = likelihood.draw(trial.theta(net.from_sites(x)), noise)
    agree("the sample", again, x, 0)


@law(always)
def samples_are_in_the_support(trial: NetTrial) -> None:
    """Samples have the shape of the values, and lie in the support."""
    d = trial.distribution()
    x = d.sample((4,))
    has_shape("a sample", x, (4, *d.event_shape))
    d.check_value(x)


@law(always)
def copies_are_equal(trial: NetTrial) -> None:
    """A copy computes the same, and so does a network with a loaded state."""
    expected = trial.theta(trial.x)
    copied = copy.deepcopy(trial.net)
    copied.load_state_dict(trial.net.state_dict())
    agree(
        "theta of a copy",
        copied(trial.x, trial.context).flatten(1, -2),
        expected,
        0,
    )


@law(conditional)
def context_matters(trial: NetTrial) -> None:
    """Another context gives other parameters."""
    other = trial.net(trial.x, trial.contexts(len(trial.x)))
    if torch.equal(other.flatten(1, -2), trial.theta(trial.x)):
        raise AssertionError(
            "theta: expected other parameters under another context; got the same."
        )


@law(conditional)
def missing_context_is_refused(trial: NetTrial) -> None:
    """A pass without a context raises a ValueError."""
    try:
        trial.net(trial.x)
    except ValueError:
        return
    raise AssertionError("net(x) without a context: expected a ValueError; got none.")


@law(always)
def wrong_shapes_are_refused(trial: NetTrial) -> None:
    """A value of another shape raises a ValueError."""
    larger = torch.cat((trial.x, trial.x), dim=-1)
    try:
        trial.net(larger, trial.context)
    except ValueError:
        return
    raise AssertionError(f"net(x) of shape {tuple(larger.shape)}: expected a ValueError; got none.")


def _by_steps(
    trial: NetTrial,
    x: Tensor,
    context: Tensor | None,
    member: int,
) -> Tensor:
    """Return the parameters computed using all steps, (*batch, *grid, num_params)."""
    net = trial.net
    dims = len(trial.net.likelihood.site_shape)
    order = net.orders[member]
    values = net.to_sites(x)

    batch_shape = x.shape[: x.dim() - len(net.event_shape)]
    state = net.init_state(batch_shape, context, member)
    previous = None
    theta = []
    for index in range(net.num_steps):
        found, state = net.step(state, previous)
        theta.append(found)
        sites = order[net.group(index)]
        previous = values.index_select(-1 - dims, sites)

    by_site = torch.cat(theta, dim=-2).index_select(-2, order.argsort())
    return by_site.unflatten(-2, net.grid)
