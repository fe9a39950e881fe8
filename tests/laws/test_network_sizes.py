"""Sizes of networks and models: every integer type is accepted; NaN, infinite, negative and huge sizes are errors."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from pyro_exact import autoregressive, distributions, likelihoods, models, nn
from pyro_exact.autoregressive.pixel_cnn_pp.shifted_convolution import ShiftedConv2d
from pyro_exact.autoregressive.pixel_rnn.conv_lstm import ConvLSTM

IMAGE, WIDE = (1, 4, 4), (1, 8, 8)

# A constructor, with its other arguments, and those that are sizes with a small one each.
BUILDERS = {
    "MADE": (
        partial(autoregressive.MADE, 3),
        {"hidden_dims": (4,), "masks": 1, "context_dim": 2},
    ),
    "NADE": (partial(autoregressive.NADE), {"shape": 3, "width": 4}),
    "DeepNADE": (partial(autoregressive.DeepNADE, 3), {"hidden_dims": (4,), "orders": 2}),
    "ConvNADE": (
        partial(autoregressive.ConvNADE, IMAGE, kernels=[2]),
        {"width": 2, "hidden_dims": (4,)},
    ),
    "PixelCNN": (
        partial(autoregressive.PixelCNN, IMAGE),
        {"levels": 4, "width": 2, "depth": 1, "head_width": 2},
    ),
    "GatedPixelCNN": (
        partial(autoregressive.GatedPixelCNN, IMAGE),
        {
            "levels": 4,
            "width": 2,
            "depth": 1,
            "kernel_size": 3,
            "head_width": 2,
            "context_shape": 2,
        },
    ),
    "PixelCNNpp": (
        partial(autoregressive.PixelCNNpp, IMAGE),
        {"levels": 4, "width": 2, "depth": 1, "components": 1, "context_dim": 2},
    ),
    "RowLSTM": (
        partial(autoregressive.RowLSTM, IMAGE),
        {"levels": 4, "width": 2, "depth": 1, "head_width": 2},
    ),
    "DiagonalBiLSTM": (
        partial(autoregressive.DiagonalBiLSTM, IMAGE),
        {"levels": 4, "width": 2, "depth": 1, "head_width": 2},
    ),
    "ImageTransformer": (
        partial(autoregressive.ImageTransformer, IMAGE),
        {
            "levels": 4,
            "width": 4,
            "depth": 1,
            "heads": 2,
            "head_dim": 2,
            "dense_width": 4,
            "local": 8,
            "block_shape": (2, 2),
            "context_dim": 2,
        },
    ),
    "PixelSNAIL": (
        partial(autoregressive.PixelSNAIL, IMAGE),
        {
            "levels": 4,
            "width": 2,
            "depth": 1,
            "resnets": 1,
            "key_dim": 2,
            "value_dim": 2,
            "pool": 2,
            "components": 1,
            "context_dim": 2,
        },
    ),
    "CategoricalLikelihood": (likelihoods.CategoricalLikelihood, {"levels": 4}),
    "DiscretizedLogisticMixture": (
        likelihoods.DiscretizedLogisticMixture,
        {"channels": 1, "levels": 4, "components": 2},
    ),
    "GaussianLikelihood": (likelihoods.GaussianLikelihood, {"channels": 2}),
    "StandardNormal": (distributions.StandardNormal, {"dim": 2}),
    "FlowPosterior": (distributions.FlowPosterior, {"features": 2, "dim": 2}),
    "pixel_vae": (
        partial(models.pixel_vae, IMAGE),
        {
            "levels": 4,
            "latent_dim": 2,
            "decoder_depth": 1,
            "decoder_width": 2,
            "kernel_size": 3,
            "head_width": 2,
            "width": 2,
            "features": 2,
        },
    ),
    "iaf_vae": (
        partial(models.iaf_vae, WIDE),
        {"levels": 4, "latent_channels": 2, "width": 4, "scales": 1, "depth": 1},
    ),
    "hierarchical_pixel_vae": (
        partial(models.hierarchical_pixel_vae, WIDE, decoder_width=2, head_width=2, prior_depth=1),
        {
            "levels": 4,
            "latent_dim": 2,
            "latent_channels": 2,
            "width": 2,
            "features": 2,
            "decoder_depth": 1,
            "prior_width": 2,
        },
    ),
    "conv_vae": (
        partial(models.conv_vae, IMAGE),
        {"levels": 4, "latent_dim": 2, "width": 2, "features": 2},
    ),
    "AttentionConditioner": (
        partial(nn.AttentionConditioner, 1, size=(2, 2)),
        {
            "out_channels": 1,
            "num_params": 2,
            "width": 4,
            "depth": 1,
            "heads": 2,
            "context_channels": 1,
        },
    ),
    "ResidualConditioner": (
        nn.ResidualConditioner,
        {
            "in_channels": 1,
            "out_channels": 1,
            "num_params": 2,
            "width": 2,
            "depth": 1,
            "context_dim": 2,
        },
    ),
    "CausalTransformer": (
        nn.CausalTransformer,
        {
            "grid": 4,
            "width": 4,
            "depth": 1,
            "heads": 2,
            "head_dim": 2,
            "dense_width": 4,
            "local": 2,
            "context_dim": 2,
        },
    ),
    "TransformerConditioner": (
        nn.TransformerConditioner,
        {
            "tokens": 3,
            "token_dim": 2,
            "num_params": 2,
            "width": 4,
            "depth": 1,
            "heads": 2,
            "context_dim": 2,
        },
    ),
    "ScaledConv2d": (nn.ScaledConv2d, {"in_channels": 1, "out_channels": 1, "kernel_size": 3}),
    "RescaledConv2d": (nn.RescaledConv2d, {"in_channels": 1, "out_channels": 1, "kernel_size": 3}),
    "WeightNormConv2d": (
        nn.WeightNormConv2d,
        {"in_channels": 1, "out_channels": 1, "kernel_size": 3},
    ),
    "ShiftedConv2d": (
        partial(ShiftedConv2d, kernel_size=(2, 3), centred=True),
        {"in_channels": 1, "out_channels": 1, "stride": 1},
    ),
    "MaskedConvNet": (
        nn.MaskedConvNet,
        {"channels": 1, "num_params": 2, "width": 2, "depth": 1},
    ),
    "ConvLSTM": (ConvLSTM, {"width": 2, "taps": 2, "maps": 1}),
    "DenseDecoder": (partial(nn.DenseDecoder, shape=IMAGE), {"latent_dim": 2, "num_params": 1}),
    "GatedConvDecoder": (
        partial(nn.GatedConvDecoder, shape=IMAGE),
        {"latent_dim": 2, "num_params": 1, "width": 2},
    ),
    "GatedConvEncoder": (
        partial(nn.GatedConvEncoder, IMAGE),
        {"features": 2, "width": 2, "levels": 2},
    ),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_networks_take_every_integer_type(name):
    build, sizes = BUILDERS[name]
    torch.manual_seed(0)
    expected = build(**sizes)
    torch.manual_seed(0)
    found = build(**{size: np.int64(value) for size, value in sizes.items()})
    if isinstance(expected, torch.nn.Module):
        assert all(
            torch.equal(p, q)
            for p, q in zip(found.parameters(), expected.parameters(), strict=True)
        )
    else:
        assert found.num_params == expected.num_params


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name, (_, sizes) in BUILDERS.items() for size in sizes]
)
def test_networks_refuse_a_size_that_is_none(name, size):
    build, sizes = BUILDERS[name]
    for bad in (math.nan, math.inf, -1, 10**9, 2.5, "3"):
        with pytest.raises((TypeError, ValueError), match=r"expects? .*; got"):
            build(**{**sizes, size: bad})


@pytest.mark.parametrize(
    "build",
    [
        lambda gain: nn.WeightNormConv2d(1, 1, 3, magnitude=gain),
        lambda gain: ShiftedConv2d(1, 1, (2, 3), True, gain=gain),
        lambda gain: nn.RescaledConv2d(1, 1, 3, gain=gain),
        lambda gain: nn.ScaledConv2d(1, 1, 3, log_scale_factor=gain),
    ],
    ids=["WeightNormConv2d", "ShiftedConv2d", "RescaledConv2d", "ScaledConv2d"],
)
def test_networks_take_any_finite_number_as_a_gain(build):
    for gain in (1, np.float32(1), 1.0):
        assert all(p.is_floating_point() for p in build(gain).parameters())
    for gain in (math.nan, math.inf, "1"):
        with pytest.raises(
            (TypeError, ValueError), match=r"expects .* number; got|as a finite number; got"
        ):
            build(gain)


@pytest.mark.parametrize(
    "build",
    [
        lambda: autoregressive.NADE(10**6, width=10**7),
        lambda: autoregressive.DeepNADE(10**6, hidden_dims=(10**7, 10**7)),
        lambda: autoregressive.MADE(10**6, hidden_dims=(10**7,)),
        lambda: autoregressive.ConvNADE(IMAGE, width=10**7, kernels=[2]),
        lambda: autoregressive.ImageTransformer(IMAGE, width=10**7, heads=1),
        lambda: autoregressive.PixelSNAIL(IMAGE, width=10**6),
        lambda: nn.CausalTransformer(10**7, width=10**4, depth=1, heads=1),
        lambda: nn.DenseDecoder(10**7, (10,), hidden_dims=[10**6]),
        lambda: nn.DenseEncoder((10**6,), hidden_dims=[10**7]),
        lambda: nn.GatedConvEncoder(IMAGE, width=10**6),
        lambda: nn.WeightNormConv2d(10**6, 10**6, 3),
        lambda: nn.ScaledConv2d(10**6, 10**6),
        lambda: nn.RescaledConv2d(10**6, 10**6, 3),
        lambda: ShiftedConv2d(10**6, 10**6, (2, 3), centred=True),
        lambda: ConvLSTM(width=10**6, taps=2),
    ],
    ids=[
        "NADE",
        "DeepNADE",
        "MADE",
        "ConvNADE",
        "ImageTransformer",
        "PixelSNAIL",
        "CausalTransformer",
        "DenseDecoder",
        "DenseEncoder",
        "GatedConvEncoder",
        "WeightNormConv2d",
        "ScaledConv2d",
        "RescaledConv2d",
        "ShiftedConv2d",
        "ConvLSTM",
    ],
)
def test_networks_refuse_a_weight_too_large_for_any_memory(build):
    with pytest.raises(
        ValueError, match=r"expects a weight of at most \d+ elements; got .* Choose smaller sizes"
    ):
        build()


def test_masked_networks_check_their_context_seed_and_weights():
    for make, message in (
        (
            lambda: nn.MaskedDense(3, 2, context_dim=10**9),
            "MaskedDense expects each of the context from 0 to",
        ),
        (lambda: nn.MaskedDense(3, 2, (10**6, 10**6)), "MaskedDense expects a weight of at most"),
        (
            lambda: nn.DenseConditioner(2, 2, 2, (10**6, 10**6)),
            "A network expects a weight of at most",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="MaskedDense expects seed"):
        nn.MaskedDense(3, 2, seed="a")
