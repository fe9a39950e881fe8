"""NADE: a hidden layer for each dimension, all of them with the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import check_elements, check_size
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import State, progress
from pyro_exact.ops.transformed import transformed


class NADE(CausalNet):
    r"""The neural autoregressive distribution estimator of binary vectors.

    .. math::
        p(x_{o_d} = 1 \mid x_{o_{<d}}) = \sigma(b_d + V_d h_d), \qquad h_d = \sigma(a_d), \qquad
        a_1 = c, \quad a_{d+1} = a_d + W_d\, x_{o_d}

    The pre-activation :math:`a_d` is carried from one dimension to the next, so that the
    probability of a vector, and a sample, cost :math:`O(D H)`. The gradient carries it back:
    neither direction holds more than one hidden layer. Second derivatives, and the transforms of
    `torch.func`, hold all D; there is no other forward mode. As the gradient takes the inputs off
    again, it is meant for float32 or
    float64: in bfloat16 it errs about twice as much as that of autograd.

    Args:
        shape: Size of the vectors, or the shape of images, whose pixels come row by row.
        width: Number of hidden units, :math:`H`.
        order: The order :math:`o`, a permutation of 0, ..., D - 1; `None` for that one. Row
            :math:`d` of W, V and b belongs to the dimension that comes at place d.

    Shape:
        - x: (\*batch, \*shape), zeros and ones; theta, logits: (\*batch, \*shape, 1).

    Raises:
        ValueError: If there is no hidden unit, or ``order`` is no permutation.

    Reference:
        Larochelle and Murray (2011), The Neural Autoregressive Distribution Estimator, algorithm 1;
        Uria, Côté, Gregor, Murray and Larochelle (2016), Neural Autoregressive Distribution
        Estimation, section 2.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(NADE(4, width=8))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    order: Tensor

    def __init__(
        self, shape: int | Sequence[int], width: int = 500, order: Sequence[int] | None = None
    ) -> None:
        super().__init__(shape, BernoulliLikelihood())
        width = check_size("NADE", "width", width)
        check_elements("NADE", self.sites, width)
        orders = permutations(range(self.sites) if order is None else order, self.sites, "NADE")
        if len(orders) > 1:
            raise ValueError(f"NADE expects one order; got {len(orders)}. MADE takes several.")
        self.register_buffer("order", orders[0])
        self.W = nn.Parameter(0.01 * torch.randn(self.sites, width))
        self.V = nn.Parameter(0.01 * torch.randn(self.sites, width))
        self.b = nn.Parameter(torch.zeros(self.sites))
        self.c = nn.Parameter(torch.zeros(width))

    @property
    def orders(self) -> Tensor:
        return self.order[None]

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        flat = self.to_sites(self.values(x))
        inputs = flat.reshape(-1, self.sites).index_select(-1, self.order)
        with torch.autocast(x.device.type, enabled=False):
            sums = _sums if transformed() else Recursion.apply
            activity: Tensor = sums(inputs, self.W, self.V, self.c)
        logits = (activity + self.b).index_select(-1, self.order.argsort())
        return logits.view(*x.shape, 1)

    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        return progress(0, 0), self.c.expand(*batch_shape, -1)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        d, a = state[0].shape[1], state[1]
        if previous is not None:
            a = torch.addcmul(a, previous.unsqueeze(-1), self.W[d - 1])
        theta = a.sigmoid() @ self.V[d] + self.b[d]
        return theta.unsqueeze(-1), (progress(0, d + 1), a)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set b to the marginal logits of a batch."""
        self.b.copy_(
            self.likelihood.marginal(self.examples(x).index_select(-1, self.order)).squeeze(-1)
        )

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, width={len(self.c)}"


class Recursion(torch.autograd.Function):
    r"""The sums :math:`V_d h_d` of NADE for all :math:`d`, with memory for one hidden layer.

    Autograd would hold all D of them. Here forward leaves the last pre-activation, and backward
    takes the inputs off it again, one after the other, while it adds up what the later dimensions
    have asked of :math:`a`. An input that is zero in the whole batch, such as a pixel at the
    border, changes no hidden unit,
    and is passed
    over.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, V: Tensor, c: Tensor) -> Tensor:
        """Return the sums: (n, D), (D, H), (D, H), (H) -> (n, D)."""
        columns = x.T.contiguous()
        changes: list[bool] = columns.any(1).tolist()
        a, sums = c.repeat(len(x), 1), torch.empty_like(columns)
        h = a.sigmoid()
        for d, change in enumerate(changes):
            torch.mv(h, V[d], out=sums[d])
            if change:
                torch.sigmoid(a.addcmul_(columns[d, :, None], W[d]), out=h)
        ctx.save_for_backward(x, W, V, c, a)
        ctx.changes = changes
        return sums.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, W, V and c."""
        *inputs, a = ctx.saved_tensors
        if torch.is_grad_enabled() or transformed(
            grad
        ):  # the gradient is to be differentiated, or comes in batches
            return _differentiable_gradient(inputs, grad)
        x, W, V, _ = inputs
        columns, grad, a = x.T.contiguous(), grad.T.contiguous(), a.clone()
        grad_x = torch.empty_like(columns) if ctx.needs_input_grad[0] else None
        grad_W, grad_V, grad_a = torch.zeros_like(W), torch.empty_like(V), torch.zeros_like(a)
        h = a.sigmoid()
        slope = h - h * h
        for d in reversed(range(len(W))):
            if grad_x is not None:
                torch.mv(grad_a, W[d], out=grad_x[d])
            if ctx.changes[d]:
                torch.mv(grad_a.T, columns[d], out=grad_W[d])
                torch.sigmoid(a.addcmul_(columns[d, :, None], W[d], value=-1), out=h)
                torch.addcmul(h, h, h, value=-1, out=slope)
            torch.mv(h.T, grad[d], out=grad_V[d])
            grad_a.addcmul_(grad[d, :, None], slope * V[d])
        return None if grad_x is None else grad_x.T, grad_W, grad_V, grad_a.sum(0)


def _sums(x: Tensor, W: Tensor, V: Tensor, c: Tensor) -> Tensor:
    """Return what `Recursion` does, as autograd and its transforms understand it: with memory for all D."""
    a = c + F.pad((x.T[:-1, :, None] * W[:-1, None]).cumsum(0), (0, 0, 0, 0, 1, 0))
    return (a.sigmoid() * V[:, None]).sum(-1).T


def _differentiable_gradient(inputs: Sequence[Tensor], grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of `Recursion` as autograd finds them."""
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(_sums(*inputs), wanted, grad, create_graph=True))
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)
