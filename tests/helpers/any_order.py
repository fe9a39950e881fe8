"""Networks of any order that are small enough to enumerate."""

import torch
from torch.nn import init

from pyro_exact.autoregressive import Autoregressive, ConvNADE, DeepNADE

SMALL = {
    "DeepNADE": lambda: DeepNADE((1, 2, 3), (15, 15)),
    "ConvNADE": lambda: ConvNADE((1, 2, 3), 3, [2], (15, 15), orders=2),
}


def small_net(name):
    """Return a network of 6 sites with weights away from their initial values."""
    made = SMALL[name]()
    for parameter in made.parameters():
        init.normal_(parameter, std=0.5)
    return made


def every(sites):
    """Return all binary vectors, (2^sites, sites)."""
    return (torch.arange(2**sites)[:, None] >> torch.arange(sites) & 1).double()


def under(made, orders):
    """Return the distribution of a network under other orders than those it drew."""
    made.orders = orders
    return Autoregressive(made)
