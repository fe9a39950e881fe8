"""A block of PixelSNAIL: gated residual layers, then attention."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pyro_exact.autoregressive.pixel_snail.attention import PixelAttention
from pyro_exact.autoregressive.pixel_snail.gated_residual import ConvResidual, PixelResidual


class SnailBlock(nn.Module):
    """Gated residual layers, attention to all pixels before, and a layer that merges the two.

    Args:
        attention: The attention.
        width: Channels of the features.
        resnets: Gated residual layers of this block.
        dropout: Probability of dropping a hidden element in training.
        context_dim: Size of a context vector.

    Shape:
        - image: (N, H, W, channels); features, and the output: (N, H, W, width).
    """

    def __init__(
        self,
        attention: PixelAttention,
        width: int,
        resnets: int,
        dropout: float,
        context_dim: int | None,
    ) -> None:
        super().__init__()
        self.residuals: Sequence[ConvResidual] = nn.ModuleList(  # type: ignore[assignment]
            ConvResidual(width, dropout, context_dim) for _ in range(resnets)
        )
        self.attention = attention
        self.merge = PixelResidual(width, dropout, context_dim, side=attention.value_dim)

    def forward(self, image: Tensor, features: Tensor, context: Tensor | None) -> Tensor:
        """Return the features after the block."""
        for residual in self.residuals:
            features = residual(features, context)

        attended = self.attention(image, features, context)
        merged: Tensor = self.merge(features, context, attended)
        return merged
