"""What an order-agnostic network says of some sites, given the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import check_mask
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.step_state import State, progress

if TYPE_CHECKING:
    from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet


class Conditioned(CausalNet):
    r"""What an order-agnostic network says of some sites, given the others as a context.

    Args:
        net: The network.
        mask: True at the sites that the context gives, of the shape of one vector or image.
        wanted: True at the sites of which it says something, of the same shape; all others by
            default.

    Shape:
        - x: (\*batch, wanted); context: (\*batch, sites), any numbers out of the mask.
        - theta: (\*batch, wanted, num_params).

    Raises:
        ValueError: If no site is unknown or wanted, one is both wanted and given, or a mask has
            another shape.
    """

    mask: Tensor
    wanted: Tensor
    kept: Tensor

    def __init__(
        self,
        net: OrderAgnosticNet,
        mask: Tensor | Sequence[Any],
        wanted: Tensor | Sequence[Any] | None = None,
    ) -> None:
        mask = mask_of("mask", mask)
        if mask.shape != net.event_shape or mask.all():
            raise ValueError(
                f"Conditioned expects a mask of shape {tuple(net.event_shape)} that leaves a site unknown; got one of "
                f"shape {tuple(mask.shape)} and {int(mask.sum())} observed sites. Hide a site or more."
            )
        chosen = ~mask if wanted is None else mask_of("wanted", wanted).to(mask.device)
        if chosen.shape != mask.shape or not chosen.any() or (chosen & mask).any():
            raise ValueError(
                f"Conditioned expects as wanted a mask of shape {tuple(mask.shape)} with sites that are not observed; "
                f"got one of shape {tuple(chosen.shape)} and {int(chosen.sum())} sites. Leave out what is observed."
            )
        flat, chosen = mask.flatten(), chosen.flatten()
        super().__init__(int(chosen.sum()), net.likelihood, context=net.sites)
        self.net = net
        self.register_buffer("mask", flat, persistent=False)
        self.register_buffer("wanted", chosen.nonzero().squeeze(-1), persistent=False)
        places = chosen.cumsum(0) - 1
        orders = net.orders[chosen[net.orders]].view(-1, self.sites)
        self.register_buffer("kept", places[orders], persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.kept

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        order = self.orders[member]
        rows = self.to_sites(x).reshape(-1, self.sites).index_select(-1, order)
        state = self.net.know(
            self._observed(x.shape[:-1], context).reshape(-1, self.net.sites), self.mask
        )
        theta = self.net.follow(state, rows, self.wanted[order]).index_select(-2, order.argsort())
        return theta.view(*x.shape, self.likelihood.num_params)

    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        return progress(member, 0), *self.net.know(self._observed(batch_shape, context), self.mask)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        (member, done, _), known = state[0].shape, state[1:]
        sites = self.wanted[self.orders[member, max(done - 1, 0) : done + 1]]
        if previous is not None:
            known = self.net.learn(known, sites[:1], previous)
        return self.net.tell(known, sites[-1:]), (progress(member, done + 1), *known)

    def _observed(self, batch_shape: Sequence[int], context: Tensor | None) -> Tensor:
        context = required(context, (self.net.sites,), next(self.parameters()))
        return context.expand(*batch_shape, self.net.sites)


def mask_of(name: str, mask: Tensor | Sequence[Any]) -> Tensor:
    """Return a mask, given as a tensor, an array or lists."""
    if not isinstance(mask, Tensor):
        try:
            mask = torch.as_tensor(mask)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"condition_on expects {name} of True and False; got {type(mask).__name__}. Pass a tensor of booleans."
            ) from None
    return check_mask("condition_on", name, mask)
