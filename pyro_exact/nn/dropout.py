"""Dropout as a module."""

from __future__ import annotations

from torch import Tensor, nn

from pyro_exact.checks import check_share
from pyro_exact.ops.dropout import dropout


class Dropout(nn.Module):
    """Dropout that is fast on a CPU; see `pyro_exact.ops.dropout`. Use it like `torch.nn.Dropout`.

    Args:
        p: Probability with which an element is dropped in training, in [0, 1).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = check_share("Dropout", "p", p)

    def forward(self, x: Tensor) -> Tensor:
        """Return the elements, some of which are replaced by zero in training."""
        return dropout(x, self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"{self.p}"
