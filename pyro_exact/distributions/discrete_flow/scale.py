"""A scale of an integer flow: couplings, and the channels that leave the flow there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_exact.distributions.discrete_flow.coupling import IntegerCoupling
from pyro_exact.nn.conditioner import Conditioner
from pyro_exact.transforms.squeeze import Squeeze


class IntegerScale(nn.Module):
    """A squeeze, couplings, and a split into channels for the next scale and latents.

    Args:
        couplings: Couplings of the squeezed channels.
        kept: Channels that go to the next scale; 0 in the last scale.
        levels: Levels of an element.
        prior: A network from the kept channels to the parameters of the latents; in the last scale
            it is `None`, and the parameters are those of `start`.
        start: Parameters of the latents that are learned, or added to those of the network,
            (channels, 1, 1, num_params).
    """

    def __init__(
        self,
        couplings: Sequence[IntegerCoupling],
        kept: int,
        levels: int,
        prior: Conditioner | None,
        start: Tensor,
    ) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        parts = nn.ModuleList(couplings)
        self.couplings: Sequence[IntegerCoupling] = parts  # type: ignore[assignment]
        self.kept, self.levels = kept, levels
        self.prior = prior
        self.start = nn.Parameter(start)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels for the next scale, and the latents."""
        x, _ = self.squeeze.transform(x)
        for coupling in self.couplings:
            x = coupling(x)
        return x[:, : self.kept], x[:, self.kept :]

    def inverse(self, kept: Tensor, latents: Tensor) -> Tensor:
        """Return the input, exactly."""
        x = torch.cat((kept, latents), dim=1)
        for coupling in reversed(self.couplings):
            x = coupling.inverse(x)
        return self.squeeze.invert(x)[0]

    def theta(self, kept: Tensor) -> Tensor:
        """Return the parameters of the latents, (N, channels, H, W, num_params)."""
        if self.prior is None:
            n, _, height, width = kept.shape
            return self.start.expand(n, -1, height, width, -1)

        plain = kept.clone(memory_format=torch.contiguous_format)
        return self.start + self.prior(plain / self.levels)
