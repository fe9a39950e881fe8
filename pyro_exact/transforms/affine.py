"""The affine formula of RealNVP, MAF and Glow, with a bounded log-scale."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_number
from pyro_exact.transforms.elementwise import (
    Elementwise,
    soft_bounded,
    tanh_bounded,
)
from pyro_exact.transforms.numerics import (
    LARGEST_LOG_SCALE,
    at_least_float32,
    limited,
)

Scale = Literal["tanh", "softsign", "sigmoid", "learned"]
BOUNDED = ("tanh", "softsign")  # the scales that use ``bound``

NEAR_BOUND = 0.95  # share of the bound of a log-scale, above which its gradient is small
LEAST_GATE = -4.0  # log-scale of a sigmoid gate that is all but closed

AT_BOUND = "log-scale at its bound"
CLOSED_GATE = "sigmoid gate closed"


class Affine(Elementwise):
    r"""Scale and shift each element. It is the default formula of most flows.

    .. math:: y = x\, e^{s} + t, \qquad \log|\partial y/\partial x| = s

    The two parameters are the shift :math:`t` and :math:`r`, which is used to compute the log-scale
    :math:`s`:

    - ``"tanh"``: :math:`s = b \tanh(r / b)`, so that :math:`|s| < b`;
    - ``"softsign"``: :math:`s = r / (1 + |r| / b)`, so that :math:`|s| < b` too. It approaches the
      bound more slowly, and is cheaper to compute;
    - ``"sigmoid"``: :math:`s = \log\sigma(r + 2)`, as in Glow's official code. It only contracts,
      so it should be used together with `ActNorm`. The inverse, the direction of samples, stretches
      without a practical bound;
    - ``"learned"``: :math:`s = a \tanh r`, as in RealNVP, with a learned parameter :math:`a` for
      the layer. It starts at 1: at 0, and after a conditioner that starts at zero, neither would
      get a gradient.

    With zero parameters, this formula is the identity, except for ``"sigmoid"``. The last two are
    cut at :math:`|s| = 64`, where :math:`e^{|s|}` is finite in float32. The formula is computed in
    float32 or better.

    Args:
        scale: The type of the log-scale (default ``"tanh"``).
        bound: :math:`b`, in nats per element, at most 64 (default 3); for ``"tanh"`` and
            ``"softsign"``.
        shift_first: If true, shift before scaling, :math:`y = (x + t)\, e^{s}`, as the official
            code of Glow does (default false). It also keeps the digits of :math:`x` where the scale
            is tiny, which adding :math:`t` to :math:`x e^{s}` rounds off.

    Cost:
        - forward: an exponential for each element.
        - inverse: closed form, the same.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, equation 4, and
        section 4.1 for the learned multiple; Papamakarios, Pavlakou and Murray (2017), Masked
        Autoregressive Flow, section 3.1; Kingma and Dhariwal (2018), Glow, table 1 and the authors'
        code for the sigmoid and for ``shift_first``.

    Example:
        >>> y, ladj = Affine().forward_and_ladj(torch.ones(3), torch.zeros(3, 2))
        >>> y, ladj
        (tensor([1., 1., 1.]), tensor([0., 0., 0.]))
    """

    num_params = 2
    separate = True

    def __init__(
        self,
        scale: Scale = "tanh",
        bound: float = 3.0,
        shift_first: bool = False,
    ) -> None:
        super().__init__()
        if scale not in get_args(Scale):
            raise ValueError(
                f"Affine expects scale 'tanh', 'softsign', 'sigmoid' or 'learned'; got {scale!r}. "
                "Choose one of these."
            )

        self.scale = scale
        self.bound = check_number("Affine", "bound", bound, least=1e-6, most=LARGEST_LOG_SCALE)
        self.shift_first = shift_first
        if scale == "learned":
            self.multiple = nn.Parameter(torch.ones(()))

    def forward_and_ladj(
        self,
        x: Tensor,
        theta: Tensor,
        raw: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, raw = _parts(theta) if raw is None else (theta, raw)
        x, shift, raw = at_least_float32(x, shift, raw)
        log_scale = self._log_scale(raw, 1)

        if self.shift_first:
            return (x + shift) * log_scale.exp(), log_scale

        return x * log_scale.exp() + shift, log_scale  # x e^s + t

    def inverse_and_ladj(
        self,
        y: Tensor,
        theta: Tensor,
        raw: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        shift, raw = _parts(theta) if raw is None else (theta, raw)
        y, shift, raw = at_least_float32(y, shift, raw)
        ladj = self._log_scale(raw, -1)

        if self.shift_first:
            return y * ladj.exp() - shift, ladj

        return (y - shift) * ladj.exp(), ladj

    def _log_scale(self, raw: Tensor, sign: int) -> Tensor:
        """Return the log-scale of each element, or the negative for a sign of -1."""
        match self.scale:
            case "tanh":
                return tanh_bounded(raw, self.bound, sign)
            case "softsign":
                return soft_bounded(raw, self.bound, sign)
            case "sigmoid":
                return sign * limited(F.logsigmoid(raw + 2))
            case "learned":
                return limited(self.multiple * tanh_bounded(raw, 1.0, sign))

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        log_scale = self.forward_and_ladj(torch.zeros_like(x), theta)[1]
        if self.scale == "sigmoid":
            return {CLOSED_GATE: log_scale < LEAST_GATE}

        bound = self.multiple.abs() if self.scale == "learned" else self.bound
        return {AT_BOUND: log_scale.abs() > NEAR_BOUND * bound}

    def extra_repr(self) -> str:
        options = [repr(self.scale)]
        if self.scale in BOUNDED:
            options.append(f"bound={self.bound}")

        if self.shift_first:
            options.append("shift_first=True")

        return ", ".join(options)


def _parts(theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shift, and the parameter of the log-scale."""
    # In memory, a dense network has all shifts before all scales: their gradients are put together
    # fastest along that dimension.
    shift, raw = theta.mT.unbind(-2) if theta.dim() > 1 else theta.unbind(-1)
    return shift, raw
