"""The base class of networks that predict any site from any other sites."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet, check_scalar_sites
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.order_agnostic.completion import Completion
from pyro_exact.autoregressive.order_agnostic.conditional import ConditionalNet, mask_of
from pyro_exact.checks import LARGEST_COUNT, check_seed, check_size
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import StepState

Orders = int | Iterable[Any]
Features = tuple[Tensor, ...]


class OrderAgnosticNet(CausalNet):
    r"""The base class of networks that predict any site given any other sites.

    .. math:: \theta_i = g_i(x \odot m, m), \qquad m_i = 0, \qquad
        \log p_o(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k}), \quad m = \{o_1, \dots, o_{k-1}\}

    The same weights serve every order. The members of the ensemble are orders, drawn at random or
    given, and saved with the weights, although the weights do not depend on the orders: set
    ``net.orders`` to use other orders. `forward` takes a pass for each site, so train the network
    by `pyro_exact.models.OrderAgnostic`, which needs one pass.

    A subclass must define `conditionals`. When another known value costs less than a new pass, it
    should define `init_features`, `observe` and `predict` as well; everything else, such as the
    steps of `CausalNet` and `condition_on`, is built on these three.

    Args:
        shape: Size of a vector, or shape of an image, whose sites are read row by row.
        likelihood: Distribution of an element.
        orders: Orders of the ensemble: how many to draw, or permutations of the indices of
            the sites.
        seed: Seed used to draw orders.

    Shape:
        - x: (\*batch, \*shape); theta: (\*batch, \*shape, likelihood.num_params).

    Raises:
        ValueError: If there is no order, an order is not a permutation, or a site of the likelihood
            has several elements.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, sections 3 and
        4.
    """

    # Rows that `forward` takes through all sites together: products of many rows are fast, few rows
    # fit into the cache of a processor.
    rows = 512
    ensemble: Tensor

    def __init__(
        self,
        shape: int | Sequence[int],
        likelihood: Likelihood,
        orders: Orders = 1,
        seed: int = 0,
    ) -> None:
        name = type(self).__name__
        super().__init__(shape, check_scalar_sites(name, likelihood))
        if not isinstance(orders, Iterable):
            count = check_size(name, "orders", orders, most=LARGEST_COUNT)
            generator = torch.Generator().manual_seed(check_seed(name, seed))
            drawn = (torch.randperm(self.sites, generator=generator) for _ in range(count))
            orders = [order.tolist() for order in drawn]
        self.register_buffer("ensemble", permutations(orders, self.sites, name))

    @property
    def orders(self) -> Tensor:
        return self.ensemble

    @orders.setter
    def orders(self, orders: Iterable[Any]) -> None:
        new = permutations(orders, self.sites, type(self).__name__)
        self.ensemble = new.to(self.ensemble.device)

    # For subclasses
    # ---------------------------------------------------------------------------------------------

    @abstractmethod
    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        r"""Return the parameters of every site given the values of ``x`` in the mask.

        The parameters of sites in the mask have no meaning.

        Args:
            x: (\*batch, \*event_shape), with any finite values outside of the mask.
            mask: True where a value is known; this mask must broadcast to ``x``.
        """

    def init_features(self, x: Tensor, mask: Tensor) -> Features:
        r"""Return features of the known values; ``x`` and ``mask`` are (\*batch, sites)."""
        return x, mask.expand_as(x)

    def observe(self, features: Features, site: Tensor, value: Tensor) -> Features:
        r"""Return the features after another value.

        Args:
            features: Features so far.
            site: Index of the site, (1).
            value: Value of this site, (\*batch).
        """
        x, mask = features
        return x.index_copy(-1, site, value.unsqueeze(-1)), mask.index_fill(-1, site, 1)

    def predict(self, features: Features, site: Tensor) -> Tensor:
        r"""Return the parameters of a site, (\*batch, num_params), given the known values."""
        x, mask = (self.from_sites(part) for part in features)
        theta = self.conditionals(x, mask).flatten(-1 - len(self.grid), -2)
        return theta.index_select(-2, site).squeeze(-2)

    # The contract of CausalNet
    # ---------------------------------------------------------------------------------------------

    def predict_in_order(self, features: Features, x: Tensor, sites: Tensor) -> Tensor:
        """Return the parameters of some sites, each given the features and the sites before it.

        Args:
            features: Features of n rows.
            x: Values of the sites, (n, sites).
            sites: Indices of the sites, in their order.

        Returns:
            (n, sites, num_params).
        """
        theta = []
        for site, value in zip(sites.split(1), x.unbind(-1), strict=True):
            theta.append(self.predict(features, site))
            features = self.observe(features, site, value)
        return torch.stack(theta, dim=-2)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        order = self.orders[member]
        flat = self.to_sites(self.check_input(x)).reshape(-1, self.sites)

        theta = []
        for rows in flat.index_select(-1, order).split(self.rows):
            nothing = self._nothing(rows.shape[:1])
            in_order = self.predict_in_order(nothing, rows, order)
            theta.append(in_order.index_select(-2, order.argsort()))
        return torch.cat(theta).view(*x.shape, self.likelihood.num_params)

    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        return StepState(member, 0, self._nothing(batch_shape))

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        features, order = state.cache, self.orders[state.member]
        if previous is not None:
            known = order[self.group(state.done - 1)]
            features = self.observe(features, known, previous.squeeze(-1))

        theta = self.predict(features, order[self.group(state.done)])
        return theta.unsqueeze(-2), state.next(features)

    def _nothing(self, batch_shape: Sequence[int]) -> Features:
        """Return the features when no value is known."""
        x = next(self.parameters()).new_zeros(*batch_shape, self.sites)
        return self.init_features(x, x.bool())

    # Conditional distributions
    # ---------------------------------------------------------------------------------------------

    def condition_on(
        self,
        observed: Tensor,
        mask: Tensor | Sequence[Any],
        wanted: Tensor | Sequence[Any] | None = None,
    ) -> Autoregressive | Completion:
        r"""Return the distribution of some sites given other sites, using a pass for each site.

        This is the conditional distribution under an order that begins with the observed sites and
        continues with the wanted sites; the remaining sites are summed out. With several orders it
        is the mixture of the conditionals of all orders.

        When all rows use the same mask, a value is the vector of the wanted sites in the order of
        their indices. When each row uses another mask, as in data with missing values, a value is a
        whole vector or image: see `Completion`.

        Args:
            observed: (\*batch, \*event_shape), with any values outside of the mask; this batch is
                also the batch of the distribution.
            mask: True where a value is observed: (\*event_shape), or (\*batch, \*event_shape).
            wanted: True at the sites to predict, of either shape; by default all sites that are not
                observed.

        Raises:
            TypeError: If a mask has another type, or ``observed`` is not a tensor.
            ValueError: If all sites are observed, no site is wanted, a wanted site is observed, a
                shape is wrong, or an observed value is outside of the support.
        """
        known = mask_of("mask", mask)
        chosen = None if wanted is None else mask_of("wanted", wanted)
        x = self.check_input(observed)

        dims = max(known.dim(), 0 if chosen is None else chosen.dim())
        if dims > len(self.event_shape):  # a mask for each row
            return Completion(self, x, known, chosen)

        conditioned = ConditionalNet(self, known, chosen)
        flat = self.to_sites(x)
        seen = flat[..., conditioned.mask]
        if not (self.likelihood.support.check(seen) & seen.isfinite()).all():
            raise ValueError(
                f"condition_on expects {self.likelihood.values} where the mask is True; got "
                "others. Compare the data with the mask."
            )
        return Autoregressive(conditioned, flat.where(conditioned.mask, 0))
