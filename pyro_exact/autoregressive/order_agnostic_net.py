"""Networks that compute any site from any others, in every order with the same weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.distributions.autoregressive import Autoregressive
from pyro_exact.distributions.likelihood import Likelihood
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.state import State, progress

Orders = int | Iterable[Any]


class OrderAgnosticNet(CausalNet):
    r"""A network of any site given any others, where the same weights serve every order.

    .. math:: \theta_i = g_i(x \odot m, m), \qquad m_i = 0, \qquad
        \log p_o(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k}), \quad m = \{o_1, \dots, o_{k-1}\}

    Its members are orders, drawn at random or given, and saved with the weights, which do not depend on them: to score
    or draw in others, set ``net.orders``. A `forward` takes a pass for each site, so train the network by
    `pyro_exact.models.OrderAgnostic`, for which one pass is enough.

    A subclass writes `conditionals`. Where one more value costs less than a new pass, it writes `know`, `learn` and
    `tell` as well: all else, such as the steps of `CausalNet`, is made of these three.

    Args:
        shape: Size of a vector, or the shape of an image, whose sites are numbered row by row.
        likelihood: What ``theta`` means.
        orders: Number of orders in the ensemble, or the orders themselves: permutations of the numbers of the sites.
        seed: Of orders that are drawn.

    Shape:
        - x: (\*batch, \*shape); theta: (\*batch, \*shape, likelihood.num_params).

    Raises:
        ValueError: If there is no order, or one is no permutation.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, sections 3 and 4.
    """

    rows = 512  # that `forward` takes through all the sites together: many for a fast product, few for the cache
    ensemble: Tensor

    def __init__(self, shape: int | Sequence[int], likelihood: Likelihood, orders: Orders = 1, seed: int = 0) -> None:
        super().__init__(shape, likelihood)
        if isinstance(orders, int):
            generator = torch.Generator().manual_seed(seed)
            orders = [torch.randperm(self.sites, generator=generator).tolist() for _ in range(orders)]
        self.register_buffer("ensemble", permutations(orders, self.sites, type(self).__name__))

    @property
    def orders(self) -> Tensor:
        return self.ensemble

    @orders.setter
    def orders(self, orders: Iterable[Any]) -> None:
        self.ensemble = permutations(orders, self.sites, type(self).__name__).to(self.ensemble.device)

    @abstractmethod
    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        r"""Return theta of every site given the values of ``x`` in the mask; of a site in the mask it means nothing.

        Args:
            x: (\*batch, \*event_shape), finite numbers out of the mask.
            mask: True where a value is known; its shape broadcasts to that of ``x``.
        """

    def know(self, x: Tensor, mask: Tensor) -> State:
        r"""Return the state of one who knows the values of x in the mask, both of shape (\*batch, sites)."""
        return x, mask.expand_as(x)

    def learn(self, state: State, site: Tensor, value: Tensor) -> State:
        r"""Return the state after one more value, (\*batch); the number of its site is a tensor of shape (1,)."""
        x, mask = state
        return x.index_copy(-1, site, value.unsqueeze(-1)), mask.index_fill(-1, site, 1)

    def tell(self, state: State, site: Tensor) -> Tensor:
        r"""Return theta of a site given what the state knows, (\*batch, num_params)."""
        theta = self.conditionals(*map(self.from_sites, state)).flatten(-1 - len(self.grid), -2)
        return theta.index_select(-2, site).squeeze(-2)

    def follow(self, state: State, x: Tensor, sites: Tensor) -> Tensor:
        """Return theta of some sites, (n, sites, num_params), each given the state and the sites before it.

        Args:
            state: Of n rows.
            x: Values of these sites, (n, sites).
            sites: Their numbers, in the order in which they come.
        """
        theta = []
        for site, value in zip(sites.split(1), x.unbind(-1), strict=True):
            theta.append(self.tell(state, site))
            state = self.learn(state, site, value)
        return torch.stack(theta, dim=-2)

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        order = self.orders[member]
        theta = []
        for rows in self.to_sites(x).reshape(-1, self.sites).index_select(-1, order).split(self.rows):
            theta.append(self.follow(self._nothing(rows.shape[:1]), rows, order).index_select(-2, order.argsort()))
        return torch.cat(theta).view(*x.shape, self.likelihood.num_params)

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0) -> State:
        return progress(member, 0), *self._nothing(batch_shape)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        (member, done, _), known = state[0].shape, state[1:]
        order = self.orders[member]
        if previous is not None:
            known = self.learn(known, order[done - 1 : done], previous)
        return self.tell(known, order[done : done + 1]), (progress(member, done + 1), *known)

    def _nothing(self, batch_shape: Sequence[int]) -> State:
        """Return the state of one who knows nothing."""
        x = next(self.parameters()).new_zeros(*batch_shape, self.sites)
        return self.know(x, x.bool())

    def condition_on(
        self, observed: Tensor, mask: Tensor | Sequence[Any], wanted: Tensor | Sequence[Any] | None = None
    ) -> Autoregressive:
        r"""Return the distribution of some sites given others: a pass for each of those that are wanted.

        Its vectors hold the wanted sites in the order of their numbers, and it has a member for each of our orders. It
        is the conditional of an order that begins with what is observed, goes on with what is wanted, and ends with the
        rest, which so is summed out.

        Args:
            observed: (\*batch, \*event_shape), any numbers out of the mask; the batch is that of the distribution.
            mask: True where a value is observed, of the shape of one vector or image.
            wanted: True at the sites whose distribution this is, of the same shape; all others by default.

        Raises:
            ValueError: If everything is observed or nothing wanted, what is wanted is observed, or a shape or an
                observed value is impossible.
        """
        conditioned = Conditioned(self, mask, wanted)
        flat = self.to_sites(observed).to(next(self.parameters()).dtype)
        known = flat[..., conditioned.mask]
        if not self.likelihood.support.check(known).all():
            raise ValueError(f"condition_on expects {self.likelihood.values} where the mask is True; got others.")
        return Autoregressive(conditioned, flat.where(conditioned.mask, 0))


class Conditioned(CausalNet):
    r"""What an order-agnostic network says of some sites, given the others as a context.

    Args:
        net: The network.
        mask: True at the sites that the context gives, of the shape of one vector or image.
        wanted: True at the sites of which it says something, of the same shape; all others by default.

    Shape:
        - x: (\*batch, wanted); context: (\*batch, sites), any numbers out of the mask.
        - theta: (\*batch, wanted, num_params).

    Raises:
        ValueError: If no site is unknown or wanted, one is both wanted and given, or a mask has another shape.
    """

    mask: Tensor
    wanted: Tensor
    kept: Tensor

    def __init__(
        self, net: OrderAgnosticNet, mask: Tensor | Sequence[Any], wanted: Tensor | Sequence[Any] | None = None
    ) -> None:
        mask = torch.as_tensor(mask).bool()
        if mask.shape != net.event_shape or mask.all():
            raise ValueError(
                f"Conditioned expects a mask of shape {tuple(net.event_shape)} that leaves a site unknown; got one of "
                f"shape {tuple(mask.shape)} and {int(mask.sum())} observed sites."
            )
        chosen = ~mask if wanted is None else torch.as_tensor(wanted, device=mask.device).bool()
        if chosen.shape != mask.shape or not chosen.any() or (chosen & mask).any():
            raise ValueError(
                f"Conditioned expects as wanted a mask of shape {tuple(mask.shape)} with sites that are not observed; "
                f"got one of shape {tuple(chosen.shape)} and {int(chosen.sum())} sites."
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
        state = self.net.know(self._observed(x.shape[:-1], context).reshape(-1, self.net.sites), self.mask)
        theta = self.net.follow(state, rows, self.wanted[order]).index_select(-2, order.argsort())
        return theta.view(*x.shape, self.likelihood.num_params)

    def start(self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0) -> State:
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
