"""ConvNADE: convolutions, and a fully connected companion, of any pixel given any others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.order_agnostic.deep_nade import DeepNADE
from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet, Orders
from pyro_exact.checks import LARGEST_COUNT, check_elements, check_size, check_sizes
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.nn.layout import channels_last


class ConvNADE(OrderAgnosticNet):
    r"""The convolutional order-agnostic neural autoregressive distribution estimator of binary images.

    .. math:: p(x_i = 1 \mid x_m) = \sigma\left(f([x \odot m; m])_i + g([x \odot m, m])_i\right)

    The convolutions :math:`f` see the mask as a second image. Valid ones make it smaller, and full
    ones of the same kernels bring it back; all but the last are followed by a relu. The companion
    :math:`g` is a `DeepNADE`. A step is a whole pass.

    Args:
        shape: Shape of the images, (C, H, W), whose pixels are numbered row by row.
        width: Channels of each hidden layer of the convolutions.
        kernels: Kernel size of each valid convolution; the full ones come in the reverse order.
        hidden_dims: Width of each hidden layer of the companion.
        orders: Number of orders in the ensemble, or the orders themselves: permutations of the
            numbers of the sites.
        seed: Of orders that are drawn.

    Shape:
        - x: (\*batch, C, H, W), zeros and ones; theta, logits: (\*batch, C, H, W, 1).

    Raises:
        ValueError: On sizes that are not positive, or kernels that an image is too small for.

    Reference:
        Uria, Côté, Gregor, Murray and Larochelle (2016), Neural Autoregressive Distribution
        Estimation, section 6.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> net = ConvNADE((1, 4, 4), width=3, kernels=[2, 3], hidden_dims=(10, 10))
        >>> Autoregressive(net).sample((5,)).shape
        torch.Size([5, 1, 4, 4])
    """

    rows = 64

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 64,
        kernels: Sequence[int] = (8, 4, 6, 7),
        hidden_dims: Sequence[int] = (500, 500),
        orders: Orders = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(shape, BernoulliLikelihood(), orders, seed)
        kernels = check_sizes("ConvNADE", "kernels", kernels, most=LARGEST_COUNT)
        width = check_size("ConvNADE", "width", width)
        check_elements(
            "ConvNADE",
            width,
            max(width, 2 * self.event_shape[0]),
            *[max(kernels, default=1)] * 2,
        )
        shrunk = sum(kernel - 1 for kernel in kernels)
        if len(self.event_shape) != 3 or shrunk >= min(self.event_shape[1:]):
            raise ValueError(
                f"ConvNADE expects images (C, H, W) of more than {shrunk} pixels a side for kernels {list(kernels)}; "
                f"got {tuple(self.event_shape)}. Choose smaller kernels."
            )
        if not kernels:
            raise ValueError(
                "ConvNADE expects a kernel or more; got none. Use DeepNADE, which has no convolutions."
            )
        colours = self.event_shape[0]
        down = [2 * colours, *[width] * len(kernels)]
        up = [*[width] * len(kernels), colours]
        valid = [
            nn.Conv2d(*sizes, kernel) for sizes, kernel in zip(pairwise(down), kernels, strict=True)
        ]
        full = [
            nn.ConvTranspose2d(*sizes, kernel)
            for sizes, kernel in zip(pairwise(up), kernels[::-1], strict=True)
        ]
        for parameter in full[-1].parameters():
            nn.init.zeros_(parameter)
        self.convolutions = nn.Sequential(
            *[m for layer in (*valid, *full) for m in (layer, nn.ReLU())][:-1]
        )
        self.companion = DeepNADE(shape, hidden_dims)

    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        known = mask.expand_as(x).to(x.dtype)
        images = torch.cat((x * known, known), dim=-3).reshape(-1, 2 * x.shape[-3], *x.shape[-2:])
        images = channels_last(images)
        logits = self.convolutions(images).reshape(x.shape).unsqueeze(-1)
        return self.companion.conditionals(x, mask) + logits

    def initialize(self, x: Tensor) -> None:
        """Set the output bias of the companion to the marginal logits of a batch."""
        self.companion.initialize(x)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, orders={len(self.orders)}"
