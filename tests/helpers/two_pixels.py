"""Two pixels whose likelihood under noise is an integral over their cells."""

import math

import torch
from registry import dense

from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models import Dequantized
from pyro_exact.transforms import Affine, Compose, FixedAffine, Flatten, Halves


def perturb(module, std):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def two_pixels():
    """A model of images (1, 1, 2) whose density bends inside a cell, so that the bound is not tight."""
    couplings = [dense(Halves(2, swap=swap), Affine(), None) for swap in (False, True)]
    flow = Compose([FixedAffine(1.0, -2.0), Flatten((1, 1, 2)), *couplings])
    return Dequantized(Flow(StandardNormal(2), perturb(flow, 0.3).inv), levels=4)


def exact_log_likelihood(model, images, n=128):
    """log P(x) of each image, by the midpoint rule on its cell."""
    corner = (torch.arange(n) + 0.5) / n
    offsets = torch.cartesian_prod(corner, corner).view(-1, 1, 1, 1, 2)
    log_density = model.flow().log_prob(images.double() + offsets)
    return log_density.logsumexp(0) - math.log(n * n)


def bounds(model, images, k, repeats):
    """Independent draws of the importance-weighted bound with k samples, of shape (repeats, number of images)."""
    many = images.repeat(repeats * k, 1, 1, 1)
    with torch.no_grad():
        weights = model.log_weight(many).view(repeats, k, len(images))
    return weights.logsumexp(1) - math.log(k)
