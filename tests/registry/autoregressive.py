"""Causal networks."""

from collections.abc import Callable

import torch

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    CausalNet,
    ConditionalNet,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    DiagonalPixelCNN,
    GatedPixelCNN,
    ImageTransformer,
    MultiscalePixelCNN,
    MultiScalePixelRNN,
    PixelCNN,
    PixelCNNpp,
    PixelSNAIL,
    RowLSTM,
    scans,
)
from pyro_exact.likelihoods import (
    CategoricalLikelihood,
    DiscretizedLogisticMixture,
    GaussianLikelihood,
)

SHUFFLED = [3, 7, 0, 9, 4, 1, 8, 2, 6, 5]


NETS: dict[str, Callable[[], CausalNet]] = {
    "DiagonalBiLSTM": lambda: DiagonalBiLSTM((1, 3, 3), 2, width=4, depth=2, head_width=8),
    "DiagonalBiLSTM categorical": lambda: DiagonalBiLSTM(
        (1, 2, 2), 4, width=4, depth=1, head_width=8
    ),
    "DiagonalBiLSTM colours": lambda: DiagonalBiLSTM((3, 1, 2), 3, width=6, depth=2, head_width=24),
    "DiagonalPixelCNN": lambda: DiagonalPixelCNN(
        PixelCNN((1, 2, 4), 2, width=4, depth=2, head_width=5)
    ),
    "DiagonalPixelCNN colours": lambda: DiagonalPixelCNN(
        PixelCNN((3, 3, 1), 2, width=7, depth=2, head_width=17)
    ),
    "DiagonalBiLSTM conditional": lambda: DiagonalBiLSTM(
        (1, 3, 2), 2, width=4, depth=1, head_width=8, context_shape=2
    ),
    "DiagonalBiLSTM conditional on a map": lambda: DiagonalBiLSTM(
        (1, 2, 4), 2, width=4, depth=2, head_width=8, context_shape=(3, 2, 4)
    ),
    "GatedPixelCNN": lambda: GatedPixelCNN((1, 2, 5), 2, width=5, depth=2, head_width=8),
    "GatedPixelCNN categorical": lambda: GatedPixelCNN(
        (1, 2, 2), 4, width=4, depth=1, kernel_size=3, head_width=5
    ),
    "GatedPixelCNN gaussian": lambda: GatedPixelCNN(
        (2, 2, 3),
        None,
        width=5,
        depth=1,
        head_width=8,
        context_shape=(2, 2, 3),
        likelihood=GaussianLikelihood(2),
    ),
    "GatedPixelCNN of one layer": lambda: GatedPixelCNN(
        (1, 3, 4), 2, width=5, depth=0, head_width=8
    ),
    "GatedPixelCNN whole pixels": lambda: GatedPixelCNN(
        (2, 2, 2), 2, width=5, depth=2, head_width=8, likelihood=DiscretizedLogisticMixture(2, 2, 2)
    ),
    "GatedPixelCNN colours": lambda: GatedPixelCNN((3, 2, 1), 3, width=7, depth=2, head_width=17),
    "GatedPixelCNN conditional": lambda: GatedPixelCNN(
        (1, 5, 2), 2, width=4, depth=2, head_width=8, context_shape=3
    ),
    "GatedPixelCNN conditional on a map": lambda: GatedPixelCNN(
        (3, 2, 1), 3, width=6, depth=1, kernel_size=3, head_width=18, context_shape=(2, 2, 1)
    ),
    "ConditionalNet": lambda: ConditionalNet(
        DeepNADE(13, (20, 20), orders=2), torch.arange(13) % 4 == 2
    ),
    "ConvNADE": lambda: ConvNADE((1, 2, 5), 4, [2], (15,)),
    "ConvNADE categorical": lambda: ConvNADE(
        (1, 2, 2), 4, [2], (15,), likelihood=CategoricalLikelihood(4)
    ),
    "ConvNADE ensemble": lambda: ConvNADE((1, 3, 3), 4, [2, 2], (15, 15), orders=2),
    "DeepNADE": lambda: DeepNADE(10, (20, 20)),
    "DeepNADE categorical": lambda: DeepNADE(3, (9, 9), likelihood=CategoricalLikelihood(4)),
    "DeepNADE ensemble": lambda: DeepNADE(10, (20, 20, 20), orders=3, seed=5),
    "DeepNADE image": lambda: DeepNADE((1, 2, 5), (20,)),
    "DeepNADE of one site": lambda: DeepNADE(1, (3, 3)),
    "ImageTransformer": lambda: ImageTransformer((1, 2, 5), 2, width=4, depth=2, heads=2, local=4),
    "ImageTransformer categorical colours": lambda: ImageTransformer(
        (2, 1, 2), 4, width=4, depth=1, heads=1, norm="pre", positions="learned"
    ),
    "ImageTransformer conditional": lambda: ImageTransformer(
        (1, 3, 3), 2, width=4, depth=2, heads=2, local=4, dropout=0.1, context_dim=3
    ).eval(),
    "ImageTransformer rectangles": lambda: ImageTransformer(
        (1, 2, 4), 2, width=4, depth=1, heads=2, block_shape=(2, 2), activation="gelu"
    ),
    "ImageTransformer whole pixels": lambda: ImageTransformer(
        (2, 2, 2), 2, width=4, depth=1, heads=2, local=3, components=2
    ),
    "MADE": lambda: MADE(10, (9,)),
    "MADE categorical": lambda: MADE(3, (9,), likelihood=CategoricalLikelihood(4)),
    "MADE conditional": lambda: MADE(10, (9, 9), context_dim=2),
    "MADE conditional ensemble": lambda: MADE(10, (9,), masks=2, context_dim=2),
    "MADE conditional gaussian": lambda: MADE(
        3, (5,), order=[2, 0, 1], likelihood=GaussianLikelihood(), context_dim=2
    ),
    "MADE deep image": lambda: MADE((1, 2, 5), (8, 8, 8), order=SHUFFLED),
    "MADE ensemble": lambda: MADE(10, (9, 9), masks=3, seed=5),
    "MADE ensemble of one order": lambda: MADE(10, (9, 9), masks=2, order=SHUFFLED),
    "MADE gaussian": lambda: MADE(4, (9, 9), likelihood=GaussianLikelihood()),
    "MADE of an order": lambda: MADE(10, (12, 12), order=SHUFFLED),
    "MADE of one site": lambda: MADE(1, (3,)),
    "MADE scans": lambda: MADE((1, 2, 4), (9, 9), masks=8, order=scans((1, 2, 4))),
    "MultiScalePixelRNN": lambda: MultiScalePixelRNN(
        RowLSTM((1, 2, 2), 2, width=4, depth=1, head_width=8),
        DiagonalBiLSTM((1, 4, 4), 2, width=4, depth=1, head_width=8, context_shape=(2, 4, 4)),
    ),
    "MultiScalePixelRNN colours conditional": lambda: MultiScalePixelRNN(
        MADE((2, 1, 1), (9,), context_dim=2),
        GatedPixelCNN((2, 2, 2), 2, width=6, depth=1, head_width=16, context_shape=(3, 2, 2)),
    ),
    "MultiscalePixelCNN": lambda: MultiscalePixelCNN(
        (1, 4, 4),
        GatedPixelCNN((1, 2, 2), 2, width=4, depth=1, head_width=16),
        width=6,
        depth=1,
        head_width=16,
    ),
    "MultiscalePixelCNN colours conditional": lambda: MultiscalePixelCNN(
        (2, 2, 2), MADE((2, 1, 1), (9,), context_dim=2), width=6, depth=1, head_width=24
    ),
    "MultiscalePixelCNN of an ensemble": lambda: MultiscalePixelCNN(
        (1, 2, 4), MADE((1, 1, 2), (9,), masks=2), width=6, depth=1, head_width=16
    ),
    "MultiscalePixelCNN whole pixels": lambda: MultiscalePixelCNN(
        (2, 2, 4),
        ImageTransformer((2, 1, 2), 2, width=4, depth=1, heads=2, components=2),
        width=6,
        depth=1,
        head_width=16,
    ),
    "NADE": lambda: NADE(10, 7),
    "NADE categorical": lambda: NADE(3, 7, [1, 2, 0], CategoricalLikelihood(4)),
    "NADE image": lambda: NADE((1, 2, 5), 7, SHUFFLED),
    "NADE of one site": lambda: NADE(1, 3),
    "PixelCNN": lambda: PixelCNN((1, 5, 2), 2, width=4, depth=2, head_width=5),
    "PixelCNN categorical": lambda: PixelCNN((1, 2, 2), 4, width=4, depth=1, head_width=5),
    "PixelCNN colours": lambda: PixelCNN((3, 1, 2), 3, width=7, depth=2, head_width=17),
    "PixelCNNpp": lambda: PixelCNNpp((1, 4, 4), 2, width=2, depth=1, components=2).eval(),
    "PixelCNNpp conditional": lambda: PixelCNNpp(
        (1, 4, 4), 2, width=3, depth=1, components=1, dropout=0.0, context_dim=2
    ),
    "PixelSNAIL": lambda: PixelSNAIL((1, 2, 5), 2, width=4, depth=2, resnets=1, key_dim=2).eval(),
    "PixelSNAIL conditional": lambda: PixelSNAIL(
        (1, 3, 3), 2, width=4, depth=1, resnets=2, key_dim=2, dropout=0.1, context_dim=3
    ).eval(),
    "PixelSNAIL of squares": lambda: PixelSNAIL(
        (1, 6, 2), 2, width=4, depth=1, resnets=2, key_dim=2, pool=2
    ).eval(),
    "PixelSNAIL whole pixels": lambda: PixelSNAIL(
        (2, 2, 2), 2, width=4, depth=1, resnets=0, key_dim=2, components=2
    ).eval(),
    "RowLSTM": lambda: RowLSTM((1, 2, 4), 2, width=4, depth=2, head_width=8),
    "RowLSTM conditional on a map": lambda: RowLSTM(
        (1, 2, 4), 2, width=4, depth=2, head_width=8, context_shape=(3, 2, 4)
    ),
    "RowLSTM categorical": lambda: RowLSTM((1, 2, 2), 4, width=4, depth=1, head_width=8),
    "RowLSTM colours": lambda: RowLSTM((3, 2, 1), 3, width=6, depth=2, head_width=24),
}


def net(name: str) -> CausalNet:
    """A network of the registry with weights away from their initial values."""
    made = NETS[name]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made
