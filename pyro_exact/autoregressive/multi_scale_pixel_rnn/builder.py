"""Build a Multi-Scale PixelRNN from sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pyro_exact.autoregressive.multi_scale_pixel_rnn.net import MultiScalePixelRNN
from pyro_exact.autoregressive.pixel_rnn import DiagonalBiLSTM, RowLSTM
from pyro_exact.checks import check_choice, check_size, check_sizes

LAYERS = {"diagonal_bilstm": DiagonalBiLSTM, "row_lstm": RowLSTM}


def multi_scale_pixel_rnn(
    shape: Sequence[int],
    levels: int = 256,
    factor: int = 4,
    layers: Literal["diagonal_bilstm", "row_lstm"] = "diagonal_bilstm",
    width: int = 128,
    depth: int = 12,
    head_width: int = 1024,
    map_width: int = 32,
    base_width: int = 128,
    base_depth: int = 12,
    base_head_width: int = 1024,
) -> MultiScalePixelRNN:
    r"""Build a `MultiScalePixelRNN` of two PixelRNNs.

    Args:
        shape: (C, H, W), with sides that ``factor`` divides.
        levels: Levels of a pixel; two make bits.
        factor: Ratio of the sides of the image and of the small image.
        layers: Type of both networks: ``"diagonal_bilstm"`` or ``"row_lstm"``.
        width: Size of the states of the large network.
        depth: LSTM layers of the large network.
        head_width: Channels of the last convolutions of the large network.
        map_width: Channels of the map that the small image is enlarged to.
        base_width: Size of the states of the network of the small image.
        base_depth: LSTM layers of this network.
        base_head_width: Channels of its last convolutions.

    Raises:
        ValueError: If the factor does not divide the sides.

    Example:
        >>> sizes = {"width": 3, "depth": 1, "head_width": 4, "base_width": 3, "base_depth": 1}
        >>> net = multi_scale_pixel_rnn((1, 4, 4), 2, factor=2, base_head_width=4, **sizes)
        >>> net.base.event_shape
        torch.Size([1, 2, 2])
    """
    name = "multi_scale_pixel_rnn"
    channels, height, image_width = check_sizes(name, "shape", shape, length=3)
    levels = check_size(name, "levels", levels, least=2)
    factor = check_size(name, "factor", factor, least=2)
    map_width = check_size(name, "map_width", map_width)
    kind = LAYERS[check_choice(name, "layers", layers, list(LAYERS))]

    if height % factor or image_width % factor:
        raise ValueError(
            f"{name} expects sides that the factor divides, {factor}; got {(height, image_width)}. "
            "Choose another factor, or pad the images."
        )

    small = channels, height // factor, image_width // factor
    base = kind(small, levels, base_width, base_depth, base_head_width)
    large = kind(
        (channels, height, image_width),
        levels,
        width,
        depth,
        head_width,
        context_shape=(map_width, height, image_width),
    )
    return MultiScalePixelRNN(base, large)
