"""The network of some sites of an order-agnostic network, given other sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import check_mask
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.precision import cast, weight_of
from pyro_exact.nn.step_state import StepState

if TYPE_CHECKING:
    from pyro_exact.autoregressive.order_agnostic.net import Features, OrderAgnosticNet


class ConditionalNet(CausalNet):
    r"""The sites of an order-agnostic network given some observed sites, which are the context.

    Use `OrderAgnosticNet.condition_on` to create this network.

    Args:
        net: The order-agnostic network.
        mask: True at the sites that the context gives, of the shape of a vector or image.
        wanted: True at the sites to predict, of the same shape; by default all sites that are not
            observed.

    Shape:
        - x: (\*batch, wanted); context: (\*batch, sites), with any values outside of the mask.
        - theta: (\*batch, wanted, num_params).

    Raises:
        ValueError: If no site is unknown or wanted, a site is both wanted and observed, or a mask
            has another shape.
    """

    mask: Tensor
    wanted: Tensor
    order: Tensor

    def __init__(
        self,
        net: OrderAgnosticNet,
        mask: Tensor | Sequence[Any],
        wanted: Tensor | Sequence[Any] | None = None,
    ) -> None:
        mask = mask_of("mask", mask)
        if mask.shape != net.event_shape or mask.all():
            raise ValueError(
                f"ConditionalNet expects a mask of shape {tuple(net.event_shape)} that leaves a "
                f"site unknown; got one of shape {tuple(mask.shape)} and {int(mask.sum())} "
                "observed sites. Hide a site or more."
            )
        chosen = ~mask if wanted is None else mask_of("wanted", wanted).to(mask.device)
        if chosen.shape != mask.shape or not chosen.any() or (chosen & mask).any():
            raise ValueError(
                f"ConditionalNet expects as wanted a mask of shape {tuple(mask.shape)} with sites "
                f"that are not observed; got one of shape {tuple(chosen.shape)} and "
                f"{int(chosen.sum())} sites. Leave out what is observed."
            )

        mask, chosen = mask.flatten(), chosen.flatten()
        super().__init__(int(chosen.sum()), net.likelihood, context_shape=net.sites)
        self.net = net
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("wanted", chosen.nonzero().squeeze(-1), persistent=False)

        # The orders of the network, without the sites that are not wanted.
        index = chosen.cumsum(0) - 1
        orders = net.orders[chosen[net.orders]].view(-1, self.sites)
        self.register_buffer("order", index[orders], persistent=False)

    @property
    def orders(self) -> Tensor:
        return self.order

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        order = self.orders[member]
        values = cast(self.to_sites(x), weight_of(self))
        rows = values.reshape(-1, self.sites).index_select(-1, order)
        observed = self._observed(x.shape[:-1], context).reshape(-1, self.net.sites)

        features = self.net.init_features(observed, self.mask)
        theta = self.net.predict_in_order(features, rows, self.wanted[order])
        theta = theta.index_select(-2, order.argsort())
        return theta.view(*x.shape, self.likelihood.num_params)

    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        observed = self._observed(batch_shape, context)
        return StepState(member, 0, self.net.init_features(observed, self.mask))

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        features: Features = state.cache
        sites = self.wanted[self.orders[state.member]]

        if previous is not None:
            known = sites[self.group(state.done - 1)]
            features = self.net.observe(features, known, previous.squeeze(-1))

        theta = self.net.predict(features, sites[self.group(state.done)])
        return theta.unsqueeze(-2), state.next(features)

    def _observed(self, batch_shape: Sequence[int], context: Tensor | None) -> Tensor:
        """Return the values of all sites; sites in the mask are observed."""
        context = required(context, (self.net.sites,), next(self.parameters()))
        return context.expand(*batch_shape, self.net.sites)


def mask_of(name: str, mask: Tensor | Sequence[Any]) -> Tensor:
    """Return a mask, given as a tensor, an array or lists."""
    if not isinstance(mask, Tensor):
        try:
            mask = torch.as_tensor(mask)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"condition_on expects {name} of True and False; got {type(mask).__name__}. Pass a "
                "tensor of booleans."
            ) from None
    return check_mask("condition_on", name, mask)
