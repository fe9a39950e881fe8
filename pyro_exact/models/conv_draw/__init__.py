"""Convolutional DRAW: an image is drawn on a canvas, step by step, from a latent map each."""

from pyro_exact.models.conv_draw.model import ConvDRAW

__all__ = ["ConvDRAW"]
