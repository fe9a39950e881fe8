"""Data, steps and log-probabilities of a causal network."""

import torch
from registry import NETS
from torch.distributions import constraints

from pyro_exact.autoregressive import Autoregressive

DISCRETE = [name for name in NETS if "gaussian" not in name]
BATCHES = [(), (3,), (3, 4), (0,)]


def levels(likelihood):
    """Number of values that an element can take; none if it is real."""
    support = likelihood.support
    if support is constraints.boolean:
        return 2
    return support.upper_bound + 1 if support.is_discrete else None


def data(each, batch):
    """Values that the network takes, and a context if it needs one."""
    shape, count = (*batch, *each.event_shape), levels(each.likelihood)
    x = torch.randint(count, shape).double() if count else torch.randn(shape)
    return x, None if each.context_shape is None else torch.randn(*batch, *each.context_shape)


def given_all(each):
    """The distribution under one context, if the network needs one."""
    return Autoregressive(each, data(each, ())[1])


def by_steps(each, x, context, member, kind=None):
    """Theta of every site, from the steps of a class."""
    kind, theta, values = kind or type(each), {}, each.to_sites(x)
    dim = -1 - len(each.likelihood.site_shape)
    batch, order = x.shape[: x.dim() - len(each.event_shape)], each.orders[member]
    state, previous = kind.init_state(each, batch, context, member), None
    for index in range(each.num_steps):
        sites = order[each.group(index)]
        found, state = kind.step(each, state, previous)
        theta |= dict(zip(sites.tolist(), found.unbind(-2), strict=True))
        previous = values.index_select(dim, sites)
    return torch.stack([theta[site] for site in range(each.sites)], dim=-2).unflatten(-2, each.grid)


def log_p_of_sites(each, theta, x):
    """The log-probability of each site, (*batch, *grid)."""
    return each.likelihood.log_prob(
        theta, each.to_sites(x).unflatten(x.dim() - len(each.event_shape), each.grid)
    )


def every(each):
    """All values of a network of L levels, in the order of their numbers: (L^D, *event_shape)."""
    count, dim = levels(each.likelihood), each.event_shape.numel()
    digits = torch.arange(count**dim)[:, None] // count ** torch.arange(dim) % count
    return digits.double().view(-1, *each.event_shape)


@torch.no_grad()
def log_p_of_every(d):
    """The log-probabilities of all values of a network, a few thousand at a time."""
    return torch.cat([d.log_prob(x) for x in every(d.net).split(4096)])


def number(x, count):
    """The number of each row of digits, (n, D) -> (n)."""
    return (x.long() * count ** torch.arange(x.shape[1])).sum(-1)
