"""The autoregressive layer over tokens."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from pyro_exact.nn.precision import full_precision
from pyro_exact.nn.token_conditioner import TokenConditioner
from pyro_exact.ops.functorch import functorch_active
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.parts import check_conditioner

Solver = Literal["auto", "steps", "passes"]

ROUNDING = 16  # units in the last place: two evaluations of a network differ by as much


class TokenAutoregressive(Bijection):
    r"""Transform each token, with parameters computed from the tokens before.

    Use this layer with a transformer, for example.

    .. math::
        y_t = f(x_t;\, g(x_{<t}, \mathrm{context})), \qquad
        \log|\det \partial y/\partial x| = \sum_t \sum_i \log|f'_{t, i}|

    A token is a vector, all of whose elements come at once; `Tokens` makes tokens of an image. The
    forward direction is an evaluation of :math:`g`, for all tokens at once. The inverse is exact,
    and computed using either of two methods:

    - ``"steps"``: token by token, by the ``start`` and ``step`` of the conditioner.
    - ``"passes"``: Jacobi iterations :math:`x \leftarrow f^{-1}(y;\, g(x))` of all tokens at once.
      Each pass makes another token final, so that all are final after as many passes as there are
      tokens. The passes usually end far earlier, when no element changes by more than rounding
      errors. There is no gradient.

    The default, ``"auto"``, uses passes on a CUDA device, where a pass takes hardly longer than a
    step, and steps elsewhere. Gradients, `torch.compile` and transforms of `torch.func` always use
    steps.

    Args:
        elementwise: The formula :math:`f`, for example ``Affine()``.
        conditioner: The network :math:`g`. This layer uses the same ``context_shape``.
        reverse: If true, the tokens come from the last to the first.
        solver: The method of the inverse.

    Attributes:
        passes: Evaluations of the network for all tokens that the last inverse took; `None` if it
            took steps.

    Cost:
        - forward: an evaluation of :math:`g` and of the formula.
        - inverse: exact in :math:`T` steps, or in at most :math:`T` evaluations of :math:`g`, for
          :math:`T` tokens.

    Shape:
        - x, y: (\*batch, tokens, token_dim); ladj: (\*batch).

    Raises:
        ValueError: On an event of another shape, or the output of the conditioner does not have the
            required shape.
        TypeError: If the conditioner is not of type `pyro_exact.nn.TokenConditioner`.

    Reference:
        Zhai, Zhang, Nakkiran, Berthelot, Gu, Zheng, Chen, Bautista, Jaitly and Susskind (2024),
        Normalizing Flows are Capable Generative Models, equations 4 to 6; Song, Meng, Liao and
        Ermon (2021), Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving,
        for the passes.

    Example:
        >>> from pyro_exact.nn import TransformerConditioner
        >>> net = TransformerConditioner(4, 3, Affine.num_params, width=8, depth=1, heads=2)
        >>> layer = TokenAutoregressive(Affine(), net)
        >>> layer(torch.zeros(5, 4, 3)).shape
        torch.Size([5, 4, 3])
    """

    def __init__(
        self,
        elementwise: Elementwise,
        conditioner: TokenConditioner,
        reverse: bool = False,
        solver: Solver = "auto",
    ) -> None:
        check_conditioner("TokenAutoregressive", conditioner, TokenConditioner)
        if solver not in get_args(Solver):
            raise ValueError(
                f"TokenAutoregressive expects solver 'auto', 'steps' or 'passes'; got {solver!r}. "
                f"Choose one of them."
            )

        event = conditioner.tokens, conditioner.token_dim
        super().__init__(event, context_dim=conditioner.context_shape)
        self.elementwise = elementwise
        self.conditioner = conditioner
        self.reverse = reverse
        self.solver = solver
        self.passes: int | None = None

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = self._in_order(x)

        # y_t = f(x_t; g(x_{<t}))
        with full_precision(x):
            theta = self.conditioner(x, context)
            theta = self.elementwise.check_theta(theta, x)
            y, ladj = self.elementwise.forward_and_ladj(x, theta)

        return self._in_order(y), ladj.sum((-2, -1))

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = self._in_order(y)
        solve = self._by_passes if self._takes_passes(y, context) else self._by_steps
        with full_precision(y):
            x, ladj = solve(y, context)

        return self._in_order(x), ladj

    def _by_steps(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Solve token by token."""
        found = []
        ladj = y.new_zeros(y.shape[:-2])
        previous: Tensor | None = None

        state = self.conditioner.start(y.shape[:-2], context)
        for token in y.unbind(-2):
            theta, state = self.conditioner.step(state, previous)
            theta = self.elementwise.check_theta(theta, token)

            # x_t = f^-1(y_t; g(x_{<t}))
            previous, token_ladj = self.elementwise.inverse_and_ladj(token, theta)
            found.append(previous)
            ladj = ladj + token_ladj.sum(-1)

        self.passes = None

        return torch.stack(found, dim=-2), ladj

    def _by_passes(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Solve for all tokens at once, again and again, until nothing changes beyond rounding."""
        x = y
        ladj = torch.zeros_like(y)
        self.passes = 0

        for _ in range(self.conditioner.tokens):
            self.passes += 1
            before = x

            # x <- f^-1(y; g(x))
            theta = self.conditioner(before, context)
            theta = self.elementwise.check_theta(theta, y)
            x, ladj = self.elementwise.inverse_and_ladj(y, theta)

            if not _differ(before, x):
                break

        return x, ladj.sum((-2, -1))

    def _takes_passes(self, y: Tensor, context: Tensor | None) -> bool:
        """Return whether the inverse is to be solved by passes."""
        if self.solver == "steps" or torch.compiler.is_compiling() or functorch_active(y):
            return False

        inputs = [y, *self.parameters()]
        if context is not None:
            inputs.append(context)

        if torch.is_grad_enabled() and any(each.requires_grad for each in inputs):
            return False

        return self.solver == "passes" or y.is_cuda

    def _in_order(self, x: Tensor) -> Tensor:
        """Return the tokens in the order in which they come, or back in the order of the event."""
        return x.flip(-2) if self.reverse else x

    def extra_repr(self) -> str:
        return f"reverse={self.reverse}, solver={self.solver!r}"


def _differ(before: Tensor, after: Tensor) -> bool:
    """Return whether any element differs by more than rounding errors, NaN excepted."""
    unit = torch.finfo(after.dtype).eps * after.abs().clamp_min(1)
    change = (after - before).abs()
    return bool((change > ROUNDING * unit).any())
