"""Multi-Scale PixelRNN as in the paper: the large network predicts all pixels."""

from __future__ import annotations

import pyro
import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_exact.autoregressive import Autoregressive, MultiScalePixelRNN
from pyro_exact.models.generative_model import (
    GenerativeModel,
    checked_count,
    refuse_temperature,
)
from pyro_exact.nn.precision import cast, weight_of


class RepredictingMultiScale(GenerativeModel):
    r"""A `MultiScalePixelRNN` whose large network predicts the pixels of the small image again.

    .. math::
        p(x) = \sum_{s} p(s)\, p(x \mid \mathrm{map}(s)) \ge p(x^0)\, p(x \mid \mathrm{map}(x^0))

    This is the model of the paper. The small image s is a latent: what the large network draws need
    not agree with it. The guide takes the small image :math:`x^0` of the data, every f-th row and
    column, so that the loss is a bound of the likelihood of this model. With the same weights it is
    also a bound of the exact density of `MultiScalePixelRNN`, which leaves the known pixels out of
    the product. Use it only to compare with the paper.

    Args:
        net: The two networks, without a context.

    Shape:
        - x: (N, C, H, W), integers 0, ..., levels - 1; ``small``: (N, C, h, w).

    Raises:
        ValueError: If the network takes a context; on data that are no levels.

    Reference:
        Van den Oord, Kalchbrenner and Kavukcuoglu (2016), Pixel Recurrent Neural Networks, section
        3.6.

    Example:
        >>> from pyro_exact.autoregressive import multi_scale_pixel_rnn
        >>> sizes = {"width": 3, "depth": 1, "head_width": 4, "base_width": 3, "base_depth": 1}
        >>> net = multi_scale_pixel_rnn((1, 4, 4), 2, factor=2, base_head_width=4, **sizes)
        >>> model = RepredictingMultiScale(net)
        >>> model.log_weight(model.sample(5)).shape
        torch.Size([5])
    """

    def __init__(self, net: MultiScalePixelRNN) -> None:
        super().__init__()
        if net.context_shape is not None:
            raise ValueError(
                "RepredictingMultiScale expects a network without a context; got a context of "
                f"shape {net.context_shape}. Use Density for a network with a context."
            )
        self.net = net

    @property
    def event_shape(self) -> torch.Size:
        """(C, H, W) of the images."""
        return self.net.event_shape

    def check(self, x: Tensor) -> None:
        super().check(x)
        Autoregressive(self.net).check_value(x)

    def generate(self, x: Tensor | None = None) -> Tensor:
        small = pyro.sample("small", Autoregressive(self.net.base))
        large = Autoregressive(self.net.large, self._map_of(small))
        sample: Tensor = pyro.sample("x", large, obs=x)
        return sample

    def infer(self, x: Tensor) -> None:
        factor = self.net.factor
        small = cast(x, weight_of(self))[..., ::factor, ::factor]
        pyro.sample("small", Delta(small, event_dim=3))

    def initialize(self, x: Tensor) -> None:
        super().initialize(x)
        self.net.initialize(x)

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` images; there is no temperature."""
        refuse_temperature(temperature)
        n = checked_count(self, n)
        small = Autoregressive(self.net.base).sample((n,))
        return Autoregressive(self.net.large, self._map_of(small)).sample()

    def _map_of(self, small: Tensor) -> Tensor:
        """Return the map of small images of any batch shape."""
        maps = self.net.map_of(small.reshape(-1, *small.shape[-3:]), None)
        return maps.reshape(*small.shape[:-3], *maps.shape[-3:])
