"""Check all laws of an autoregressive network at once."""

from __future__ import annotations

import torch

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.testing import net_laws as net_laws_module
from pyro_exact.testing.law import Law, check_laws, laws_of
from pyro_exact.testing.net_trial import NetTrial


def check_causal_net(net: CausalNet, std: float = 0.5) -> None:
    r"""Check that a network obeys the laws of autoregressive networks, and name broken laws.

    For example, each site must depend on earlier sites alone, all steps must give the parameters of
    one pass, states must be independent of each other, and, when all values can be enumerated,
    the probabilities must sum to 1. Use this check in the tests of your network; the network should
    be small, so that all values can be enumerated.

    Each law gets a copy of the network, in float64 on the CPU and in evaluation mode, with noise
    :math:`N(0, \mathrm{std}^2)` added to the weights, because a new network often ignores the
    inputs.

    Args:
        net: The network.
        std: Standard deviation by which the weights are moved.

    Raises:
        AssertionError: If the network breaks a law; the message names each broken law.
        TypeError: If ``net`` is not a `CausalNet`.

    Example:
        >>> from pyro_exact.autoregressive import NADE
        >>> check_causal_net(NADE(5, width=4))
    """
    if not isinstance(net, CausalNet):
        raise TypeError(
            f"check_causal_net expects a CausalNet; got {type(net).__name__}. Derive your network "
            "from CausalNet."
        )

    with torch.random.fork_rng(devices=[]):
        trial = NetTrial.of(net, std)
        check_laws(
            type(net).__name__,
            net_laws(trial),
            lambda: NetTrial.of(net, std),
        )


def net_laws(trial: NetTrial) -> list[Law[NetTrial]]:
    """Return the laws that apply to the network of a trial."""
    return laws_of([net_laws_module], trial)
