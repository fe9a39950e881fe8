"""NADE: a hidden layer for each dimension, with shared weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet, check_scalar_sites
from pyro_exact.autoregressive.site_inputs import inputs_of_site, rows_of_levels, site_inputs
from pyro_exact.checks import check_elements, check_size
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import StepState
from pyro_exact.ops.nade_recursion import nade_recursion


class NADE(CausalNet):
    r"""NADE, the neural autoregressive distribution estimator. Use it for vectors of moderate size.

    .. math::
        \theta_{o_d} = b_d + V_d\, h_d, \qquad h_d = \sigma(a_d), \qquad
        a_1 = c, \quad a_{d+1} = a_d + W_d\, x_{o_d}

    The parameter of a bit is the logit. The input of a category, an element with more than two
    levels, is one-hot, so that :math:`W_d` has a column for each level.

    The pre-activation :math:`a_d` is carried from each dimension to the next, so that the
    probability of a vector, and a sample, cost :math:`O(D H)`.
    The gradient carries it back: neither direction holds more than one hidden layer in memory.
    Second derivatives, and the transforms of `torch.func`, hold all D hidden layers.

    The backward pass reconstructs the pre-activations by subtraction. This should be used in
    float32 or float64, because in bfloat16 the error is about twice the error of autograd.

    Args:
        shape: Size of the vectors, or shape of images, whose pixels are read row by row.
        width: Hidden units, :math:`H`.
        order: The order :math:`o`, a permutation of 0, ..., D - 1; by default the identity. Row
            :math:`d` of W, V and b belongs to the dimension at place d of the order.
        likelihood: Distribution of an element, as an object or by name; the default is Bernoulli.
            Use `CategoricalLikelihood` for categories.

    Shape:
        - x: (\*batch, \*shape); theta: (\*batch, \*shape, likelihood.num_params).

    Raises:
        ValueError: If there is no hidden unit, ``order`` is not a permutation, or a site of the
            likelihood has several elements.

    Reference:
        Larochelle and Murray (2011), The Neural Autoregressive Distribution Estimator, algorithm 1;
        Uria, Côté, Gregor, Murray and Larochelle (2016), Neural Autoregressive Distribution
        Estimation, sections 2 and 3.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(NADE(4, width=8))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    order: Tensor

    def __init__(
        self,
        shape: int | Sequence[int],
        width: int = 500,
        order: Sequence[int] | None = None,
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        likelihood = make_likelihood("bernoulli" if likelihood is None else likelihood)
        super().__init__(shape, check_scalar_sites("NADE", likelihood))
        num_params = likelihood.num_params
        width = check_size("NADE", "width", width)
        inputs = inputs_of_site(likelihood)
        check_elements("NADE", self.sites, max(num_params, inputs), width)

        orders = permutations(range(self.sites) if order is None else order, self.sites, "NADE")
        if len(orders) > 1:
            raise ValueError(
                f"NADE expects one order; got {len(orders)}. Use MADE for several orders."
            )
        self.register_buffer("order", orders[0])

        levels = () if inputs == 1 else (inputs,)
        self.W = nn.Parameter(0.01 * torch.randn(self.sites, *levels, width))
        self.V = nn.Parameter(0.01 * torch.randn(self.sites, num_params, width))
        self.b = nn.Parameter(torch.zeros(self.sites, num_params))
        self.c = nn.Parameter(torch.zeros(width))

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        flat = self.to_sites(self.check_input(x))
        inputs = flat.reshape(-1, self.sites).index_select(-1, self.order)

        # theta_d = b_d + V_d h_d, in the order of the network
        one_hot = site_inputs(inputs, self.likelihood)
        W = self.W.view(self.sites, one_hot.shape[-1], -1)
        with torch.autocast(x.device.type, enabled=False):
            theta = nade_recursion(one_hot, W, self.V, self.c) + self.b

        theta = theta.index_select(-2, self.order.argsort())
        return theta.view(*x.shape, self.likelihood.num_params)

    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        return StepState(member, 0, self.c.expand(*batch_shape, -1))

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        d, a = state.done, state.cache

        # a_d = a_{d-1} + W_{d-1} x_{d-1}
        if previous is not None:
            W = self.W[d - 1]
            if W.dim() == 1:
                a = torch.addcmul(a, previous, W)
            else:
                a = a + rows_of_levels(W, previous.squeeze(-1))

        # theta_d = b_d + V_d sigmoid(a_d)
        theta = F.linear(a.sigmoid(), self.V[d], self.b[d])
        return theta.unsqueeze(-2), state.next(a)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set b to the parameters of the marginal distributions of a batch."""
        ordered = self.check_data(x).index_select(-1, self.order)
        self.b.copy_(self.likelihood.marginal(ordered))

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, width={len(self.c)}"
