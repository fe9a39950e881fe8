"""The multi-scale architecture as a bijection from an image to a vector."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from pyro_exact.checks import check_sizes
from pyro_exact.nn.conditioner import Conditioner
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.partition import Channels
from pyro_exact.transforms.parts import common_context_shape, context_for


class FactorOut(Bijection):
    r"""Keep half of the channels as noise, and transform only the other half further.

    Use it for multi-scale flows of images.

    With the halves :math:`a` (first) and :math:`b` (second) of the channels,

    .. math:: y = \big(\mathrm{rest}(a),\; (b - t(a))\, e^{-s(a)}\big), \qquad
        \log|\det \partial y/\partial x| = \log|\det \partial\,\mathrm{rest}/\partial a| - \sum s(a)

    This affine map followed by N(0, 1) is the learned prior :math:`N(t(a), e^{2 s(a)})`, as in
    Glow, so that the base of the whole multi-scale flow is a standard normal vector: temperature is
    the scale of the base, an interpolation is a line between vectors, and a round trip loses
    nothing. Use `per_scale` to see the noise of each scale.

    Args:
        shape: (C, H, W), with at least two channels.
        rest: A bijection from (C // 2, H, W) to a vector.
        prior: A network ``theta = g(a, context)`` of shape (\*batch, C - C // 2, H, W, 2) as in
            `Coupling`; `None` for no learned prior.
        elementwise: The formula that uses theta (default ``Affine()``); the inverse takes :math:`b`
            to noise.

    Cost:
        - forward: an evaluation of the prior and of the rest.
        - inverse: the inverse of the rest, then an evaluation of the prior.

    Shape:
        - x: (\*batch, C, H, W); y: (\*batch, C H W); ladj: (\*batch).

    Raises:
        ValueError: If an event has another shape, or ``rest`` does not map half of it to a vector.

    Reference:
        Dinh, Sohl-Dickstein and Bengio (2017), Real NVP, equations 14-16; Kingma and Dhariwal
        (2018), Glow, official code (`split2d`).

    Example:
        >>> FactorOut((4, 2, 2), rest=Flatten((2, 2, 2)))(torch.zeros(7, 4, 2, 2)).shape
        torch.Size([7, 16])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        rest: Bijection,
        prior: Conditioner | None = None,
        elementwise: Affine | None = None,
    ) -> None:
        channels, height, width = check_sizes("FactorOut", "shape", shape, length=3)
        shape = channels, height, width
        context_shape = common_context_shape(
            "FactorOut",
            (
                rest.context_shape,
                None if prior is None else prior.context_shape,
            ),
        )
        super().__init__(shape, (prod(shape),), context_shape)
        if channels < 2:
            raise ValueError(
                f"FactorOut expects at least two channels in a shape (C, H, W); got "
                f"{tuple(shape)}. Start with Squeeze."
            )

        self.shape = (channels, height, width)
        self.partition = Channels(channels)
        self.rest = rest
        self.prior = prior
        self.elementwise = Affine() if elementwise is None else elementwise
        kept = (self.partition.fixed_size, height, width)
        self.rest_dim = prod(kept)
        if tuple(rest.forward_shape(kept)) != (self.rest_dim,):
            raise ValueError(
                f"FactorOut expects a rest that maps {kept} to a vector of {self.rest_dim}; got "
                f"one that maps it to "
                f"{tuple(rest.forward_shape(kept))}. End the rest with Flatten or another "
                f"FactorOut."
            )

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        kept, out = self.partition.split(x)
        noise, ladj = self.rest.transform(kept, context_for(self.rest, context))

        if self.prior is not None:
            theta = self.elementwise.check_theta(self.prior(kept, context), out)
            out, ladj_out = self.elementwise.inverse_and_ladj(out, theta)
            ladj = ladj + ladj_out.sum((-3, -2, -1))

        return torch.cat((noise, out.flatten(-3)), dim=-1), ladj

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        noise, out = self._split(y)
        kept, ladj = self.rest.invert(noise, context_for(self.rest, context))
        out = out.unflatten(-1, (self.partition.free_size, *self.shape[1:]))

        if self.prior is not None:
            theta = self.elementwise.check_theta(self.prior(kept, context), out)
            out, ladj_out = self.elementwise.forward_and_ladj(out, theta)
            ladj = ladj + ladj_out.sum((-3, -2, -1))

        return self.partition.join(kept, out), ladj

    def data_init(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        kept, out = self.partition.split(x)
        noise = self.rest.data_init(kept, context_for(self.rest, context))

        if self.prior is not None:
            self.prior.initialize(kept, context)
            theta = self.elementwise.check_theta(self.prior(kept, context), out)
            out, _ = self.elementwise.inverse_and_ladj(out, theta)

        return torch.cat((noise, out.flatten(-3)), dim=-1)

    def per_scale(self, y: Tensor) -> list[Tensor]:
        """Return the noise of each scale, (*batch, dimension of the scale), the coarsest first."""
        kept, out = self._split(y)
        last = getattr(self.rest, "parts", [self.rest])[-1]
        coarser = last.per_scale(kept) if isinstance(last, FactorOut) else [kept]
        return [*coarser, out]

    def _split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise of the kept channels, and of those that are factored out."""
        out_dim = y.shape[-1] - self.rest_dim
        kept, out = y.split([self.rest_dim, out_dim], dim=-1)
        return kept, out

    def extra_repr(self) -> str:
        return f"{self.shape}"
