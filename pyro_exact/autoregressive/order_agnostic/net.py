"""Networks that compute any site from any others, in every order with the same weights."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.order_agnostic.completion import Completion
from pyro_exact.autoregressive.order_agnostic.conditional import Conditioned, mask_of
from pyro_exact.checks import LARGEST_COUNT, check_seed, check_size
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import State, progress

Orders = int | Iterable[Any]


class OrderAgnosticNet(CausalNet):
    r"""A network of any site given any others, where the same weights serve every order.

    .. math:: \theta_i = g_i(x \odot m, m), \qquad m_i = 0, \qquad
        \log p_o(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k}), \quad m = \{o_1, \dots, o_{k-1}\}

    Its members are orders, drawn at random or given, and saved with the weights, which do not
    depend on them: to score or draw in others, set ``net.orders``. A `forward` takes a pass for
    each site, so train the network by `pyro_exact.models.OrderAgnostic`, for which one pass is
    enough.

    A subclass writes `conditionals`. Where one more value costs less than a new pass, it writes
    `know`, `learn` and `tell` as well: all else, such as the steps of `CausalNet`, is made of these
    three.

    Args:
        shape: Size of a vector, or the shape of an image, whose sites are numbered row by row.
        likelihood: What ``theta`` means.
        orders: Number of orders in the ensemble, or the orders themselves: permutations of the
            numbers of the sites.
        seed: Of orders that are drawn.

    Shape:
        - x: (\*batch, \*shape); theta: (\*batch, \*shape, likelihood.num_params).

    Raises:
        ValueError: If there is no order, or one is no permutation.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, sections 3 and
        4.
    """

    rows = 512  # that `forward` takes through all the sites together: many for a fast product, few for the cache
    ensemble: Tensor

    def __init__(
        self, shape: int | Sequence[int], likelihood: Likelihood, orders: Orders = 1, seed: int = 0
    ) -> None:
        super().__init__(shape, likelihood)
        if not isinstance(orders, Iterable):
            count = check_size(type(self).__name__, "orders", orders, most=LARGEST_COUNT)
            generator = torch.Generator().manual_seed(check_seed(type(self).__name__, seed))
            orders = [
                torch.randperm(self.sites, generator=generator).tolist() for _ in range(count)
            ]
        self.register_buffer("ensemble", permutations(orders, self.sites, type(self).__name__))

    @property
    def orders(self) -> Tensor:
        return self.ensemble

    @orders.setter
    def orders(self, orders: Iterable[Any]) -> None:
        self.ensemble = permutations(orders, self.sites, type(self).__name__).to(
            self.ensemble.device
        )

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
        for rows in (
            self.to_sites(self.values(x))
            .reshape(-1, self.sites)
            .index_select(-1, order)
            .split(self.rows)
        ):
            theta.append(
                self.follow(self._nothing(rows.shape[:1]), rows, order).index_select(
                    -2, order.argsort()
                )
            )
        return torch.cat(theta).view(*x.shape, self.likelihood.num_params)

    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
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
        self,
        observed: Tensor,
        mask: Tensor | Sequence[Any],
        wanted: Tensor | Sequence[Any] | None = None,
    ) -> Autoregressive | Completion:
        r"""Return the distribution of some sites given others: a pass for each of those that are wanted.

        It is the conditional of an order that begins with what is observed, goes on with what is
        wanted, and ends with the rest, which so is summed out; and the mixture of those of all our
        orders.

        With one mask for all rows its vectors hold the wanted sites in the order of their numbers.
        With a mask for each row, as of data of which some are missing, they are whole vectors or
        images: see `Completion`.

        Args:
            observed: (\*batch, \*event_shape), any numbers out of the mask; the batch is that of
                the distribution.
            mask: True where a value is observed, of the shape of one vector or image, or of as many
                as there are rows.
            wanted: True at the sites whose distribution this is, of either shape; all others by
                default.

        Raises:
            TypeError: If a mask is none, or what is observed is no tensor.
            ValueError: If everything is observed or nothing wanted, what is wanted is observed, or
                a shape or an observed value is impossible.
        """
        known, chosen = mask_of("mask", mask), None if wanted is None else mask_of("wanted", wanted)
        x = self.values(observed)
        if max(known.dim(), 0 if chosen is None else chosen.dim()) > len(self.event_shape):
            return Completion(self, x, known, chosen)

        conditioned = Conditioned(self, known, chosen)
        flat = self.to_sites(x)
        seen = flat[..., conditioned.mask]
        if not (self.likelihood.support.check(seen) & seen.isfinite()).all():
            raise ValueError(
                f"condition_on expects {self.likelihood.values} where the mask is True; got others. Compare the data "
                f"with the mask."
            )
        return Autoregressive(conditioned, flat.where(conditioned.mask, 0))
