"""A periodic convolution that no parameter makes singular: the exponential of a convolution."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_exact.checks import check_elements, check_kernel, check_size
from pyro_exact.nn.parameters import Parameters
from pyro_exact.nn.precision import full_precision
from pyro_exact.transforms.bijection import Bijection
from pyro_exact.transforms.numerics import LARGEST_MATRIX


class PeriodicConv(Bijection):
    r"""Convolve an image by the exponential of a kernel, around the borders.

    Use this layer to mix positions and channels.

    .. math::
        y = e^{M} x = x + M * x + \tfrac12 M * M * x + \dots, \qquad
        \log|\det \partial y/\partial x| = H W\, \mathrm{tr}\, M_{0}

    where :math:`M *` is a convolution of the channels with a :math:`k \times k` kernel that wraps
    around, and :math:`M_0` the matrix in the centre of the kernel. The exponential is computed via
    the Fourier domain, where the convolution is a matrix for each frequency, in double precision.
    So the layer is exact, invertible for any parameters, and the log-determinant is a trace. The
    inverse is :math:`e^{-M}`. Zero parameters give the identity.

    Args:
        channels: Channels of the image.
        kernel_size: :math:`k`, odd.
        context_dim: Size of an optional context vector, used to compute the kernel; a batch of
            contexts has a corresponding batch of kernels.

    Cost:
        - forward: :math:`O(C^2 H W + C H W \log H W)`, and :math:`O(C^3 H W)` for the matrices.
        - inverse: the same.

    Shape:
        - x, y: (\*batch, channels, H, W); ladj: (\*batch).

    Raises:
        ValueError: If an input does not have this many channels, or a kernel that is larger than
            the image.

    Reference:
        Hoogeboom, van den Berg and Welling (2019), Emerging Convolutions for Generative Normalizing
        Flows, section 3.2, for the Fourier domain; Hoogeboom, Garcia Satorras, Tomczak and Welling
        (2020), The Convolution Exponential and Generalized Sylvester Flows, section 3.

    Example:
        >>> layer, x = PeriodicConv(2), torch.randn(5, 2, 4, 6)
        >>> torch.allclose(layer.inv(layer(x).clone()), x, atol=1e-5)
        True
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int = 3,
        context_dim: int | None = None,
    ) -> None:
        channels = check_size("PeriodicConv", "channels", channels, most=LARGEST_MATRIX)
        self.kernel_size = check_kernel("PeriodicConv", "kernel_size", kernel_size)
        check_elements("PeriodicConv", kernel_size, kernel_size, channels, channels)
        super().__init__((channels, None, None), context_dim=context_dim)
        self.channels = channels

        bound = 0.1 / (self.kernel_size * channels**0.5)
        kernel = torch.empty(self.kernel_size, self.kernel_size, channels, channels)
        self.theta = Parameters({"kernel": kernel.uniform_(-bound, bound)}, context_dim)

    def transform(
        self,
        x: Tensor,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        return self._convolved(x, context, 1)

    def invert(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._convolved(y, context, -1)

    def _convolved(
        self,
        x: Tensor,
        context: Tensor | None,
        sign: int,
    ) -> tuple[Tensor, Tensor]:
        """Return exp(sign M) x, and the log-determinant."""
        self._check_size(x)
        with full_precision(x):
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            (kernel,) = self.theta(context)
            kernel = sign * kernel.to(x.dtype)

            # log|det| = H W tr M_0
            height, width = x.shape[-2:]
            middle = self.kernel_size // 2
            centre = kernel[..., middle, middle, :, :]
            trace = centre.diagonal(dim1=-2, dim2=-1).sum(-1)
            ladj = (height * width * trace).expand(x.shape[:-3])

            # A Fourier transform takes no empty batch.
            if not x.numel():
                return x.clone(), ladj

            # In the Fourier domain the convolution is a matrix for each frequency.
            spectrum = self._spectrum(kernel.double(), height, width)
            matrices = torch.linalg.matrix_exp(spectrum)
            frequencies = torch.fft.rfft2(x.double()).movedim(-3, -1)
            product = (matrices @ frequencies.unsqueeze(-1)).squeeze(-1)

            y = torch.fft.irfft2(product.movedim(-1, -3), s=(height, width))
            return y.to(x.dtype), ladj

    def _spectrum(self, kernel: Tensor, height: int, width: int) -> Tensor:
        r"""Return the matrix of each frequency, (\*batch, H, W // 2 + 1, C, C)."""
        # sum over the shifts (a, b) of M_ab exp(2 pi i (u a / H + v b / W))
        shift = torch.arange(self.kernel_size, device=kernel.device) - self.kernel_size // 2
        rows = torch.arange(height, device=kernel.device)
        columns = torch.arange(width // 2 + 1, device=kernel.device)

        row_turns = (rows[:, None] * shift).to(kernel.dtype)
        column_turns = (columns[:, None] * shift).to(kernel.dtype)
        row_angle = 2 * math.pi / height * row_turns
        column_angle = 2 * math.pi / width * column_turns
        angle = row_angle[:, None, :, None] + column_angle[None, :, None, :]

        phase = torch.complex(angle.cos(), angle.sin())
        phase = phase.flatten(-2).flatten(0, 1)
        matrices = kernel.flatten(-2).flatten(-3, -2).to(phase.dtype)

        spectrum = phase @ matrices
        spectrum = spectrum.unflatten(-2, (height, -1))

        return spectrum.unflatten(-1, (self.channels, self.channels))

    def _check_size(self, x: Tensor) -> None:
        """Check that the kernel does not wrap around onto itself."""
        if min(x.shape[-2:]) < self.kernel_size:
            raise ValueError(
                f"PeriodicConv expects images of at least {self.kernel_size} x {self.kernel_size}; "
                f"got "
                f"{tuple(x.shape[-2:])}. Use a smaller kernel_size."
            )

    def extra_repr(self) -> str:
        return f"{self.channels}, kernel_size={self.kernel_size}"
