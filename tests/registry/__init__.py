"""Cases of the laws, each on one line. The first word of a name is the exported name that it tests.

A new layer, formula, distribution or model needs a line in the file of its room, and gets every law
of its kind; a test compares the names with what the packages export.
"""

from registry.autoregressive import NETS, SHUFFLED, net
from registry.distributions import DISTRIBUTIONS, flow, iaf_step, vae_posterior
from registry.formulas import ELEMENTWISE, PARTITIONS, monotone_network
from registry.layers import (
    Case,
    batch_norm,
    by_tokens,
    conv,
    dense,
    evaluated_real_nvp,
    gin,
    logits,
    masked,
    pixels,
    small_dequantizer,
    small_flow_pp,
    small_glow,
    small_real_nvp,
    small_spline_coupling,
    stack,
)
from registry.likelihoods import LIKELIHOODS
from registry.models import (
    MODELS,
    ModelCase,
    bars,
    blobs,
    learned_noise,
    planar_stack,
    ring,
    small_pixel_vae,
    two_level_vae,
    vae,
)
from registry.transforms import TO_TOLERANCE, TRANSFORMS

__all__ = [
    "DISTRIBUTIONS",
    "ELEMENTWISE",
    "LIKELIHOODS",
    "MODELS",
    "NETS",
    "PARTITIONS",
    "SHUFFLED",
    "TO_TOLERANCE",
    "TRANSFORMS",
    "Case",
    "ModelCase",
    "bars",
    "batch_norm",
    "blobs",
    "by_tokens",
    "conv",
    "dense",
    "evaluated_real_nvp",
    "flow",
    "gin",
    "iaf_step",
    "learned_noise",
    "logits",
    "masked",
    "monotone_network",
    "net",
    "pixels",
    "planar_stack",
    "ring",
    "small_dequantizer",
    "small_flow_pp",
    "small_glow",
    "small_pixel_vae",
    "small_real_nvp",
    "small_spline_coupling",
    "stack",
    "two_level_vae",
    "vae",
    "vae_posterior",
]
