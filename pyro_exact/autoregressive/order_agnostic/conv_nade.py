"""ConvNADE: convolutions and a dense companion, which predict any pixel from any other pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_exact.autoregressive.order_agnostic.deep_nade import DeepNADE
from pyro_exact.autoregressive.order_agnostic.net import OrderAgnosticNet, Orders
from pyro_exact.autoregressive.site_inputs import inputs_of_site, site_inputs
from pyro_exact.checks import LARGEST_COUNT, check_elements, check_size, check_sizes
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.conditioner import split_params
from pyro_exact.nn.layout import channels_last


class ConvNADE(OrderAgnosticNet):
    r"""A convolutional order-agnostic network. Use it to predict pixels from any other pixels.

    .. math:: \theta_i = f([x \odot m; m])_i + g([x \odot m, m])_i

    The convolutions :math:`f` see the mask :math:`m` as a second image, and an image for each level
    of a category. Valid convolutions make the
    image smaller, and full convolutions with the same kernels bring it back; all but the last are
    followed by a ReLU. The companion :math:`g` is a `DeepNADE`. A step is a whole pass.

    Args:
        shape: Shape of the images, (C, H, W), whose pixels are read row by row.
        width: Channels of each hidden layer of the convolutions.
        kernels: Kernel size of each valid convolution; the full ones come in the reverse order.
        hidden_dims: Width of each hidden layer of the companion.
        orders: Orders of the ensemble: how many to draw, or permutations of the indices of
            the sites.
        seed: Seed used to draw orders.
        likelihood: Distribution of an element, as an object or by name; the default is Bernoulli.

    Shape:
        - x: (\*batch, C, H, W); theta: (\*batch, C, H, W, likelihood.num_params).

    Raises:
        ValueError: If a size is not positive, the images are too small for the kernels, or a site
            of the likelihood has several elements.

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
        likelihood: AnyLikelihood | None = None,
    ) -> None:
        likelihood = make_likelihood("bernoulli" if likelihood is None else likelihood)
        super().__init__(shape, likelihood, orders, seed)
        kernels = check_sizes("ConvNADE", "kernels", kernels, most=LARGEST_COUNT)
        width = check_size("ConvNADE", "width", width)
        check_elements(
            "ConvNADE",
            width,
            max(width, (inputs_of_site(likelihood) + 1) * self.event_shape[0]),
            *[max(kernels, default=1)] * 2,
        )
        shrunk = sum(kernel - 1 for kernel in kernels)
        if len(self.event_shape) != 3 or shrunk >= min(self.event_shape[1:]):
            raise ValueError(
                f"ConvNADE expects images (C, H, W) of more than {shrunk} pixels a side for "
                f"kernels {list(kernels)}; got {tuple(self.event_shape)}. Choose smaller kernels."
            )
        if not kernels:
            raise ValueError(
                "ConvNADE expects a kernel or more; got none. Use DeepNADE, which has no "
                "convolutions."
            )
        channels, num_params = self.event_shape[0], likelihood.num_params
        inputs = (inputs_of_site(likelihood) + 1) * channels
        down = [inputs, *[width] * len(kernels)]
        up = [*[width] * len(kernels), channels * num_params]

        layers: list[nn.Module] = []
        for sizes, kernel in zip(pairwise(down), kernels, strict=True):
            layers += [nn.Conv2d(*sizes, kernel), nn.ReLU()]
        for sizes, kernel in zip(pairwise(up), kernels[::-1], strict=True):
            layers += [nn.ConvTranspose2d(*sizes, kernel), nn.ReLU()]
        *layers, last, _ = layers
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

        self.convolutions = nn.Sequential(*layers, last)
        self.companion = DeepNADE(shape, hidden_dims, likelihood=likelihood)

    def conditionals(self, x: Tensor, mask: Tensor) -> Tensor:
        known = mask.expand_as(x).to(x.dtype).unsqueeze(-4)
        values = site_inputs(x, self.likelihood, dim=-4)
        images = torch.cat((values * known, known), dim=-4).flatten(-4, -3)
        images = channels_last(images.reshape(-1, *images.shape[-3:]))

        # f + g
        theta = split_params(self.convolutions(images), self.likelihood.num_params, x)
        return self.companion.conditionals(x, mask) + theta

    def initialize(self, x: Tensor) -> None:
        """Set the output bias of the companion using the marginal distributions of a batch."""
        self.companion.initialize(x)

    def extra_repr(self) -> str:
        return f"{tuple(self.event_shape)}, orders={len(self.orders)}"
