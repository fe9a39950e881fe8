"""DeepNADE: a deep network of any site given any others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet, Orders
from pyro_exact.checks import check_elements, check_sizes
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.nn.dropout import Dropout
from pyro_exact.nn.step_state import State

# Sites that become known move a hidden unit together, and Adam would throw it about: 0.1 scales
# their weights down.
MASK_SCALE = 0.1


class DeepNADE(OrderAgnosticNet):
    r"""The order-agnostic neural autoregressive distribution estimator of binary vectors, deep.

    .. math::
        p(x_i = 1 \mid x_m) = \sigma(b_i + V_i h^L), \qquad h^l = \mathrm{relu}(c^l + W^l h^{l-1}),
        \qquad h^0 = [x \odot m,\, 0.1\, m]

    The mask :math:`m` tells an unknown zero from a known one. Along an order, what a new value adds
    to the first layer is one column of the weights; only the layers above are computed anew. An
    ensemble of orders is the paper's EoNADE.

    Args:
        shape: Size of the vectors, or the shape of images, whose pixels are numbered row by row.
        hidden_dims: Width of each of the :math:`L` hidden layers.
        orders: Number of orders in the ensemble, or the orders themselves: permutations of the
            numbers of the sites.
        seed: Of orders that are drawn.
        dropout: Share of the hidden units that `conditionals` leaves out in training; steps leave
            out none.

    Shape:
        - x: (\*batch, \*shape), zeros and ones; theta, logits: (\*batch, \*shape, 1).

    Raises:
        ValueError: On sizes that are not positive, and on a ``dropout`` outside [0, 1).

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, sections 3 and
        4; Uria, Côté, Gregor, Murray and Larochelle (2016), Neural Autoregressive Distribution
        Estimation, section 4.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = DeepNADE(4, hidden_dims=(8, 8), orders=3)
        >>> Autoregressive(net).sample((5,)).shape
        torch.Size([5, 4])
        >>> rest = net.condition_on(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([True, True, False, False]))
        >>> rest.log_prob(torch.tensor([0.0, 1.0])).shape
        torch.Size([])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden_dims: Sequence[int] = (500, 500),
        orders: Orders = 1,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(shape, BernoulliLikelihood(), orders, seed)
        hidden_dims = check_sizes("DeepNADE", "hidden_dims", hidden_dims)
        if not hidden_dims:
            raise ValueError(
                "DeepNADE expects hidden_dims of at least one layer; got (). Give a width or more."
            )
        for below, above in pairwise((2 * self.sites, *hidden_dims, self.sites)):
            check_elements("DeepNADE", below, above)
        self.hidden_dims = tuple(hidden_dims)
        first = nn.Linear(2 * self.sites, hidden_dims[0])
        self.W = nn.Parameter(
            first.weight.detach().T.unflatten(0, (2, self.sites)).contiguous()
        )  # of values, of mask
        self.c = nn.Parameter(first.bias.detach())
        self.upper = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(hidden_dims))
        self.dropout = Dropout(dropout)
        self.V = nn.Parameter(torch.zeros(self.sites, hidden_dims[-1]))
        self.b = nn.Parameter(torch.zeros(self.sites))

    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        state = self.know(self.to_sites(x), self.to_sites(mask.expand_as(x)))
        return self.from_sites(self._logits(state, self.V, self.b, self.dropout)).unsqueeze(-1)

    def know(self, x: Tensor, mask: Tensor) -> State:
        known = mask.expand_as(x).to(x.dtype)
        return (
            F.linear(
                torch.cat((x * known, MASK_SCALE * known), dim=-1), self.W.flatten(0, 1).T, self.c
            ),
        )

    def learn(self, state: State, site: Tensor, value: Tensor) -> State:
        of_value, of_mask = self.W.index_select(1, site).squeeze(1)
        return (torch.addcmul(state[0] + MASK_SCALE * of_mask, value.unsqueeze(-1), of_value),)

    def tell(self, state: State, site: Tensor) -> Tensor:
        return self._logits(
            state, self.V.index_select(0, site), self.b.index_select(0, site), nn.Identity()
        )

    def _logits(self, state: State, V: Tensor, b: Tensor, dropout: nn.Module) -> Tensor:
        """Return the logits of some sites from the pre-activation of the first layer, under autocast too in full."""
        h = dropout(state[0].relu())
        for layer in self.upper:
            h = dropout(layer(h).relu())
        with torch.autocast(h.device.type, enabled=False):
            return F.linear(h.to(V.dtype), V, b)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set b to the marginal logits of a batch."""
        self.b.copy_(self.likelihood.marginal(self.examples(x)).squeeze(-1))

    def extra_repr(self) -> str:
        return (
            f"{tuple(self.event_shape)}, hidden_dims={self.hidden_dims}, orders={len(self.orders)}"
        )
