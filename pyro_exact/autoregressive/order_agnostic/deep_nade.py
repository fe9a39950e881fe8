"""DeepNADE: a deep network that predicts any element from any other elements."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.order_agnostic.net import Features, OrderAgnosticNet, Orders
from pyro_exact.autoregressive.site_inputs import inputs_of_site, rows_of_levels, site_inputs
from pyro_exact.checks import check_elements, check_sizes
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.dropout import Dropout

# All known sites move a hidden unit the same way, and Adam gives each weight the same step: without
# this factor most units fall silent in training.
MASK_SCALE = 0.1


def _unchanged(h: Tensor) -> Tensor:
    """Return a layer without dropout."""
    return h


class DeepNADE(OrderAgnosticNet):
    r"""DeepNADE, a deep order-agnostic network. Use it to predict elements from any other elements.

    .. math::
        \theta_i = b_i + V_i h^L, \qquad h^l = \mathrm{relu}(c^l + W^l h^{l-1}),
        \qquad h^0 = [x \odot m,\, 0.1\, m]

    The parameter of a bit is the logit. The input of a category, an element with more than two
    levels, is one-hot. The mask :math:`m` distinguishes an unknown zero from a
    known zero. Along an order, a new value adds a column of the weights to the first layer, and
    only the layers above are computed again. An ensemble of orders is the EoNADE of the paper.

    Args:
        shape: Size of the vectors, or the shape of images, whose pixels are read row by row.
        hidden_dims: Width of each of the :math:`L` hidden layers.
        orders: Orders of the ensemble: how many to draw, or permutations of the indices of
            the sites.
        seed: Seed used to draw orders.
        dropout: Probability with which `conditionals` drops a hidden unit in training; steps drop
            none.
        likelihood: Distribution of an element, as an object or by name; the default is Bernoulli.

    Shape:
        - x: (\*batch, \*shape); theta: (\*batch, \*shape, likelihood.num_params).

    Raises:
        ValueError: If a size is not positive, there is no hidden layer, ``dropout`` is outside of
            [0, 1), or a site of the likelihood has several elements.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, sections 3 and
        4; Uria, Côté, Gregor, Murray and Larochelle (2016), Neural Autoregressive Distribution
        Estimation, section 4.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = DeepNADE(4, hidden_dims=(8, 8), orders=3)
        >>> Autoregressive(net).sample((5,)).shape
        torch.Size([5, 4])
        >>> known = torch.tensor([True, True, False, False])
        >>> rest = net.condition_on(torch.tensor([1.0, 0.0, 0.0, 0.0]), known)
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
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        likelihood = make_likelihood("bernoulli" if likelihood is None else likelihood)
        super().__init__(shape, likelihood, orders, seed)
        hidden_dims = check_sizes("DeepNADE", "hidden_dims", hidden_dims)
        if not hidden_dims:
            raise ValueError(
                "DeepNADE expects hidden_dims of at least one layer; got (). Pass at least one "
                "width."
            )
        num_params = self.likelihood.num_params
        inputs = inputs_of_site(self.likelihood) + 1
        sizes = inputs * self.sites, *hidden_dims, self.sites * num_params
        for below, above in pairwise(sizes):
            check_elements("DeepNADE", below, above)
        self.hidden_dims = tuple(hidden_dims)

        # W[:-1] is for the values, W[-1] for the mask. Of the inputs of a site two at most are not
        # zero, so that the scale is the scale of a layer of two inputs.
        first = nn.Linear(inputs * self.sites, hidden_dims[0])
        by_input = first.weight.detach().T.unflatten(0, (inputs, self.sites))
        self.W = nn.Parameter((by_input * math.sqrt(inputs / 2)).contiguous())
        self.c = nn.Parameter(first.bias.detach())
        self.upper = nn.ModuleList(nn.Linear(*widths) for widths in pairwise(hidden_dims))
        self.dropout = Dropout(dropout)
        self.V = nn.Parameter(torch.zeros(self.sites, num_params, hidden_dims[-1]))
        self.b = nn.Parameter(torch.zeros(self.sites, num_params))

    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        known = self.to_sites(mask.expand_as(x))
        features = self.init_features(self.to_sites(x), known)
        theta = self._theta(features, self.V, self.b, self.dropout)
        return theta.unflatten(-2, self.grid)

    def init_features(self, x: Tensor, mask: Tensor) -> Features:
        # c^1 + W^1 [x * m, 0.1 m]
        known = mask.expand_as(x).to(x.dtype).unsqueeze(-2)
        values = site_inputs(x, self.likelihood, dim=-2)
        inputs = torch.cat((values * known, MASK_SCALE * known), dim=-2)
        return (F.linear(inputs.flatten(-2), self.W.flatten(0, 1).T, self.c),)

    def observe(self, features: Features, site: Tensor, value: Tensor) -> Features:
        # One more value adds one column of W^1 for the value, and one for the mask.
        column = self.W.index_select(1, site).squeeze(1)
        of_value, of_mask = column[:-1], column[-1]
        a = features[0] + MASK_SCALE * of_mask
        if len(of_value) == 1:
            return (torch.addcmul(a, value.unsqueeze(-1), of_value[0]),)
        return (a + rows_of_levels(of_value, value),)

    def predict(self, features: Features, site: Tensor) -> Tensor:
        V, b = self.V.index_select(0, site), self.b.index_select(0, site)
        return self._theta(features, V, b).squeeze(-2)

    def _theta(
        self,
        features: Features,
        V: Tensor,
        b: Tensor,
        dropout: Callable[[Tensor], Tensor] = _unchanged,
    ) -> Tensor:
        """Return parameters, (*batch, sites, num_params), using the first pre-activation."""
        h = dropout(features[0].relu())
        for layer in self.upper:
            h = dropout(layer(h).relu())

        # Sums of logits need full precision, also under autocast.
        with torch.autocast(h.device.type, enabled=False):
            theta = F.linear(h.to(V.dtype), V.flatten(0, 1), b.flatten())
        return theta.unflatten(-1, b.shape)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set b to the parameters of the marginal distributions of a batch."""
        self.b.copy_(self.likelihood.marginal(self.check_data(x)))

    def extra_repr(self) -> str:
        return (
            f"{tuple(self.event_shape)}, hidden_dims={self.hidden_dims}, orders={len(self.orders)}"
        )
