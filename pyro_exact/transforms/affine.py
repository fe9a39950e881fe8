"""The affine formula of RealNVP and Glow, with a smoothly bounded scale."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.checks import check_number
from pyro_exact.transforms.elementwise import Elementwise, bounded
from pyro_exact.transforms.numerics import LARGEST_LOG_SCALE, at_least_float32, limited

NEAR_BOUND = 0.95  # share of the bound of a log-scale, above which its gradient is small
LEAST_GATE = -4.0  # log-scale of a sigmoid gate that is all but closed

AT_BOUND = "log-scale at its bound"
CLOSED_GATE = "sigmoid gate closed"


class Affine(Elementwise):
    r"""Scale and shift each number.

    .. math:: y = (x + t)\, e^{s}, \qquad \log|\partial y/\partial x| = s

    The two parameters are :math:`t` and :math:`r`, and :math:`s` is smoothly bounded:

    - ``"tanh"``: :math:`s = b \tanh(r / b)`, so that :math:`|s| < b`, and zero parameters give the
      identity;
    - ``"sigmoid"``: :math:`s = \log\sigma(r + 2)`, Glow's official choice. It only contracts: pair
      it with `ActNorm`. Its inverse, the direction of samples, stretches without a bound that a
      sample would notice;
    - ``"learned"``: :math:`s = a \tanh r`, RealNVP's choice, with one learned number :math:`a` for
      the layer. It starts at 1: at 0, and after a conditioner that starts at zero, neither would
      get a gradient.

    The last two are cut at :math:`|s| = 64`, where :math:`e^{|s|}` still is a number in float32.
    All of it is computed in float32 or better.

    Args:
        scale: Which bound.
        bound: :math:`b`, in nats per element, at most 64; used by ``"tanh"``.

    Cost:
        - forward: one exponential a number.
        - inverse: closed form, the same.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Density estimation using Real NVP, equation 4, and
        section 4.1 for the learned multiple; Kingma and Dhariwal (2018), Glow, table 1 and the
        authors' code for the sigmoid and the order of shift and scale.

    Example:
        >>> y, ladj = Affine().forward_and_ladj(torch.ones(3), torch.zeros(3, 2))
        >>> y, ladj
        (tensor([1., 1., 1.]), tensor([0., 0., 0.]))
    """

    num_params = 2

    def __init__(
        self, scale: Literal["tanh", "sigmoid", "learned"] = "tanh", bound: float = 3.0
    ) -> None:
        super().__init__()
        if scale not in ("tanh", "sigmoid", "learned"):
            raise ValueError(f"Affine expects scale 'tanh', 'sigmoid' or 'learned'; got {scale!r}.")
        self.scale = scale
        self.bound = check_number("Affine", "bound", bound, least=1e-6, most=LARGEST_LOG_SCALE)
        if scale == "learned":
            self.multiple = nn.Parameter(torch.ones(()))

    def forward_and_ladj(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, theta = at_least_float32(x, theta)
        shift, log_scale = self._parts(theta, 1)
        return (x + shift) * log_scale.exp(), log_scale

    def inverse_and_ladj(self, y: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        y, theta = at_least_float32(y, theta)
        shift, ladj = self._parts(theta, -1)
        return y * ladj.exp() - shift, ladj

    def _parts(self, theta: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        """Return the shift, and sign times the log-scale."""
        # A dense network has the parameters of a vector one after the other: quickest to put their
        # gradients together.
        shift, raw = theta.mT.unbind(-2) if theta.dim() > 1 else theta.unbind(-1)
        if self.scale == "sigmoid":
            return shift, sign * limited(F.logsigmoid(raw + 2))
        if self.scale == "learned":
            return shift, limited(self.multiple * bounded(raw, 1.0, sign))
        return shift, bounded(raw, self.bound, sign)

    def saturation(self, x: Tensor, theta: Tensor) -> dict[str, Tensor]:
        log_scale = self.forward_and_ladj(torch.zeros_like(x), theta)[1]
        if self.scale == "sigmoid":
            return {CLOSED_GATE: log_scale < LEAST_GATE}

        bound = self.multiple.abs() if self.scale == "learned" else self.bound
        return {AT_BOUND: log_scale.abs() > NEAR_BOUND * bound}

    def extra_repr(self) -> str:
        return f"{self.scale!r}" + (f", bound={self.bound}" if self.scale == "tanh" else "")
