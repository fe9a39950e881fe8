"""Models, each with data that it can learn from."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    Autoregressive,
    CausalNet,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    GatedPixelCNN,
    ImageTransformer,
    MultiscalePixelCNN,
    MultiScalePixelRNN,
    PixelCNNpp,
    PixelSNAIL,
    RowLSTM,
)
from pyro_exact.distributions import (
    Flow,
    FlowDequantizer,
    FlowPosterior,
    FlowWithAngles,
    StandardNormal,
    UniformBox,
)
from pyro_exact.flows import (
    circular_spline,
    flow_pp_dequantizer,
    iaf,
    idf,
    maf,
    planar,
    sylvester,
    tarflow,
)
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
)
from pyro_exact.models import (
    VAE,
    ConvDRAW,
    Density,
    Dequantized,
    GenerativeModel,
    HierarchicalPixelVAE,
    Mixed,
    OrderAgnostic,
    RepredictingMultiScale,
    ResNetVAE,
    conv_vae,
    dense_vae,
    hierarchical_pixel_vae,
    iaf_vae,
    pixel_vae,
)
from pyro_exact.models.iaf_vae import StochasticLayer
from pyro_exact.nn import (
    DenseDecoder,
    DenseEncoder,
)
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    Bijection,
    Compose,
    Halves,
    Standardize,
)
from registry.layers import dense, small_glow, small_real_nvp


class ModelCase(NamedTuple):
    """A model and data it can learn from."""

    make: Callable[[], GenerativeModel]
    data: Callable[[], Tensor]


def ring() -> Tensor:
    angle = 2 * torch.pi * torch.rand(64)
    return torch.stack((angle.cos(), angle.sin()), dim=-1) + 3 + 0.1 * torch.randn(64, 2)


def blobs() -> Tensor:
    """Images of 4 levels, dark but for one bright pixel."""
    image = torch.zeros(32, 16, dtype=torch.long)
    return image.scatter(1, torch.randint(16, (32, 1)), 3).view(32, 1, 4, 4)


def bars(side: int = 4) -> Tensor:
    """Images of 0 and 1 with one full row."""
    rows = torch.randint(side, (32, 1, 1, 1))
    return (
        (rows == torch.arange(side)[:, None])
        .expand(32, 1, side, side)
        .to(torch.get_default_dtype())
    )


def planar_stack() -> Compose:
    couplings = [dense(Halves(2, swap=swap), Affine(), None) for swap in (False, True)]
    return Compose([ActNorm(2), *couplings])


def learned_noise(flow: Bijection, formula: str) -> Dequantized:
    """A model of images (1, 4, 4) with 4 levels whose guide is a flow."""
    options = {
        "width": 4,
        "depth": 1,
        "components": 2,
        "heads": 2,
        "dropout": 0.0,
        "encoder_width": 2,
    }
    noise = FlowDequantizer(flow_pp_dequantizer((1, 4, 4), 4, formula=formula, **options))
    return Dequantized(Flow(StandardNormal(16), flow.inv), levels=4, noise=noise)


def mixed_rows() -> Tensor:
    """Rows of a real element, an angle in degrees and an integer."""
    x = torch.randn(64)
    return torch.stack([x, (40 * x) % 360, (3 + x).round().clamp(0, 6)], dim=1)


def mixed(discrete: list[bool]) -> Mixed:
    """A model of `mixed_rows` of which the elements beside the angle are discrete or not."""
    degrees = [Standardize(torch.tensor([180.0]), torch.tensor([180 / torch.pi]))]
    angles = Flow(UniformBox(1), Compose([*degrees, circular_spline(1, 1, hidden_dims=(4,))]).inv)
    flow = Flow(StandardNormal(2), maf(2, 2, (8,), context_dim=2).inv)
    both = FlowWithAngles(flow, angles, period=[0.0, 360.0, 0.0])
    return Mixed(both, [discrete[0], False, discrete[1]])


def vae(flow: Bijection | None, likelihood: BernoulliLikelihood | CausalNet) -> VAE:
    """One of images (1, 4, 4) of bits, with a latent of 2 numbers."""
    decoder = (
        torch.nn.Linear(2, 3)
        if isinstance(likelihood, CausalNet)
        else DenseDecoder(2, (1, 4, 4), 1, (6,))
    )
    return VAE(
        DenseEncoder((1, 4, 4), (6,)),
        decoder,
        FlowPosterior(6, 2, flow),
        StandardNormal(2),
        likelihood,
    )


def small_pixel_vae(depth: int, upsample: bool = False) -> VAE:
    """One of images (1, 4, 4) of bits."""
    return pixel_vae(
        (1, 4, 4),
        latent_dim=2,
        decoder_width=6,
        decoder_depth=depth,
        kernel_size=3,
        head_width=6,
        upsample=upsample,
        width=3,
        features=6,
    )


def two_level_vae(levels: int, components: int | None = None) -> HierarchicalPixelVAE:
    """One of images (1, 8, 8), with maps (2, 2, 2) and vectors (2,)."""
    return hierarchical_pixel_vae(
        (1, 8, 8),
        levels,
        latent_dim=2,
        latent_channels=2,
        width=3,
        features=6,
        decoder_width=6,
        decoder_depth=2,
        kernel_size=3,
        head_width=6,
        prior_width=4,
        prior_depth=2,
        components=components,
    )


def two_row_lstms() -> MultiScalePixelRNN:
    """One of images (1, 4, 4) of bits."""
    return MultiScalePixelRNN(
        RowLSTM((1, 2, 2), 2, width=4, depth=1, head_width=6),
        RowLSTM((1, 4, 4), 2, width=4, depth=1, head_width=6, context_shape=(3, 4, 4)),
    )


MODELS: dict[str, ModelCase] = {
    "ConvDRAW": ModelCase(
        lambda: ConvDRAW((1, 4, 4), 2, 2, latent_channels=2, width=4, kernel_size=3, stride=2), bars
    ),
    "ConvDRAW of levels": ModelCase(
        lambda: ConvDRAW(
            (1, 4, 4), 4, 2, latent_channels=2, width=3, depth=2, kernel_size=3, stride=2
        ),
        lambda: blobs().to(torch.get_default_dtype()),
    ),
    "Density": ModelCase(lambda: Density(Flow(StandardNormal(2), planar_stack().inv)), ring),
    "Density diagonal_bilstm": ModelCase(
        lambda: Density(
            Autoregressive(DiagonalBiLSTM((1, 4, 4), 2, width=4, depth=1, head_width=8))
        ),
        bars,
    ),
    "Density gated_pixel_cnn": ModelCase(
        lambda: Density(
            Autoregressive(GatedPixelCNN((1, 4, 4), 2, width=6, depth=1, head_width=6))
        ),
        bars,
    ),
    "Density image_transformer": ModelCase(
        lambda: Density(
            Autoregressive(ImageTransformer((1, 4, 4), 2, width=8, depth=1, heads=2, local=8))
        ),
        bars,
    ),
    "Density idf": ModelCase(
        lambda: Density(idf((1, 4, 4), 4, scales=1, steps=2, width=4, depth=1, components=2)),
        lambda: blobs().to(torch.get_default_dtype()),
    ),
    "Density made": ModelCase(lambda: Density(Autoregressive(MADE((1, 4, 4), (20,)))), bars),
    "Density multiscale_pixel_cnn": ModelCase(
        lambda: Density(
            Autoregressive(
                MultiscalePixelCNN((1, 4, 4), NADE((1, 2, 2), 4), width=6, depth=1, head_width=6)
            )
        ),
        bars,
    ),
    "Density multi_scale_pixel_rnn": ModelCase(
        lambda: Density(Autoregressive(two_row_lstms())), bars
    ),
    "Density pixel_cnn_pp": ModelCase(
        lambda: Density(
            Autoregressive(PixelCNNpp((1, 4, 4), 4, width=4, depth=1, components=2, dropout=0.0))
        ),
        lambda: blobs().to(torch.get_default_dtype()),
    ),
    "Density pixel_snail": ModelCase(
        lambda: Density(
            Autoregressive(PixelSNAIL((1, 4, 4), 4, 6, 1, 1, key_dim=2, components=2, dropout=0.0))
        ),
        lambda: blobs().to(torch.get_default_dtype()),
    ),
    "Density nade": ModelCase(lambda: Density(Autoregressive(NADE((1, 4, 4), 8))), bars),
    "Dequantized": ModelCase(
        lambda: Dequantized(Flow(StandardNormal(16), small_glow(None).inv), levels=4), blobs
    ),
    "Dequantized affine noise": ModelCase(lambda: learned_noise(small_glow(None), "affine"), blobs),
    "Dequantized mixture noise": ModelCase(
        lambda: learned_noise(small_real_nvp(None), "mixture"), blobs
    ),
    "Dequantized logit": ModelCase(
        lambda: Dequantized(
            Flow(StandardNormal(16), small_glow(None, logit_margin=0.05).inv), levels=4
        ),
        blobs,
    ),
    "Dequantized tarflow": ModelCase(
        lambda: Dequantized(
            Flow(StandardNormal(16), tarflow((1, 4, 4), 2, 2, 1, 8, 2, levels=4).inv), levels=4
        ),
        blobs,
    ),
    "HierarchicalPixelVAE mixture": ModelCase(lambda: two_level_vae(4, 2), lambda: 3 * bars(8)),
    "Mixed": ModelCase(lambda: mixed([False, True]), mixed_rows),
    "Mixed exact with an angle": ModelCase(lambda: mixed([False, False]), mixed_rows),
    "OrderAgnostic": ModelCase(
        lambda: OrderAgnostic(DeepNADE((1, 4, 4), (20, 20), orders=2)), bars
    ),
    "OrderAgnostic conv": ModelCase(
        lambda: OrderAgnostic(ConvNADE((1, 4, 4), 4, [2, 2], (20, 20))), bars
    ),
    "RepredictingMultiScale": ModelCase(lambda: RepredictingMultiScale(two_row_lstms()), bars),
    "ResNetVAE": ModelCase(
        lambda: ResNetVAE((1, 4, 4), 2, [StochasticLayer(2, 4, flow=False, top=True)], 4), bars
    ),
    "VAE": ModelCase(lambda: vae(None, BernoulliLikelihood()), bars),
    "VAE autoregressive": ModelCase(lambda: vae(None, MADE((1, 4, 4), (20,), context_dim=3)), bars),
    "VAE iaf": ModelCase(lambda: vae(iaf(2, 2, (6,), 6), BernoulliLikelihood()), bars),
    "VAE pixel_snail": ModelCase(
        lambda: vae(
            None,
            PixelSNAIL((1, 4, 4), 2, 6, 1, 1, key_dim=2, dropout=0.0, context_dim=3),
        ),
        bars,
    ),
    "VAE planar": ModelCase(lambda: vae(planar(2, 3, 6), BernoulliLikelihood()), bars),
    "VAE sylvester": ModelCase(
        lambda: vae(sylvester(2, 2, 2, context_dim=6), BernoulliLikelihood()), bars
    ),
    "conv_vae": ModelCase(
        lambda: conv_vae(
            (1, 4, 4), latent_dim=2, width=3, features=6, flow="planar", flow_layers=2
        ),
        bars,
    ),
    "dense_vae": ModelCase(
        lambda: dense_vae((1, 4, 4), 4, 2, (8,)), lambda: blobs().to(torch.get_default_dtype())
    ),
    "hierarchical_pixel_vae": ModelCase(lambda: two_level_vae(2), lambda: bars(8)),
    "iaf_vae": ModelCase(
        lambda: iaf_vae((1, 8, 8), 2, 2, width=4, scales=2, depth=1), lambda: bars(8)
    ),
    "pixel_vae": ModelCase(lambda: small_pixel_vae(2), bars),
    "pixel_vae independent": ModelCase(lambda: small_pixel_vae(0), bars),
    "pixel_vae upsampled": ModelCase(lambda: small_pixel_vae(1, upsample=True), bars),
}
