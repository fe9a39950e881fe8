"""Check all laws of an autoregressive network at once."""

from __future__ import annotations

import torch

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.testing import net_laws as net_laws_module
from pyro_exact.testing.law import Law, check_laws, laws_of
from pyro_exact.testing.net_trial import NetTrial


def check_causal_net(net: CausalNet, std: float = 0.5) -> None:
    r"""Check that a network obeys the laws of autoregressive networks, and name broken ones.

    The laws say, among others, that each site depends on earlier sites alone, that all steps give
    the parameters of one pass, that states are independent of each other, and, where all values can
    be enumerated, that the probabilities sum to one. Use a small network, so that they can.

    Each law gets a copy of the network, in float64 on the CPU and in evaluation mode, with its
    weights moved by :math:`N(0, \mathrm{std}^2)`, because a new network often ignores its inputs.

    Args:
        net: The network.
        std: Standard deviation by which the weights are moved.

    Raises:
        AssertionError: If the network breaks a law; the message names each of them.
        TypeError: If ``net`` is not a `CausalNet`.

    Example:
        >>> from pyro_exact.autoregressive import NADE
        >>> check_causal_net(NADE(5, width=4))
    """
    if not isinstance(net, CausalNet):
        raise TypeError(
            f"check_causal_net expects a CausalNet; got {type(net).__name__}. Derive your network "
            f"from it."
        )

    with torch.random.fork_rng(devices=[]):
        trial = NetTrial.of(net, std)
        check_laws(type(net).__name__, net_laws(trial), lambda: NetTrial.of(net, std))


def net_laws(trial: NetTrial) -> list[Law[NetTrial]]:
    """Return the laws that apply to the network of a trial."""
    return laws_of([net_laws_module], trial)
