"""What the laws run over, one line a case. The first word of a name is the exported name that it tests.

A new layer, formula, distribution or model needs a line here, and gets every law of its kind; a
test compares the names with what the packages export.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.transforms import AffineTransform, IndependentTransform, SigmoidTransform
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.autoregressive import (
    MADE,
    NADE,
    Autoregressive,
    CausalNet,
    ConditionalNet,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    GatedPixelCNN,
    ImageTransformer,
    PixelCNN,
    PixelCNNpp,
    PixelSNAIL,
    RowLSTM,
    scans,
)
from pyro_exact.distributions import (
    Flow,
    FlowDequantizer,
    FlowPosterior,
    IndependentSites,
    InverseAutoregressive,
    LowRankNormal,
    Mixture,
    NormalMixture,
    StandardNormal,
    StudentNoise,
    Subset,
    UniformBox,
    UniformDequantizer,
)
from pyro_exact.flows import (
    bernstein,
    bnaf,
    bounded,
    circular_spline,
    constrained,
    couplings,
    flow_pp,
    flow_pp_dequantizer,
    gaussianization,
    glow,
    iaf,
    image_nice,
    image_real_nvp,
    image_spline_coupling,
    maf,
    naf,
    nice,
    nsf,
    planar,
    radial,
    real_nvp,
    sos,
    spline_coupling,
    sylvester,
    tarflow,
    umnn,
)
from pyro_exact.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretizedLogisticMixture,
    GaussianLikelihood,
    Likelihood,
)
from pyro_exact.models import (
    VAE,
    Density,
    Dequantized,
    GenerativeModel,
    HierarchicalPixelVAE,
    OrderAgnostic,
    ResNetVAE,
    conv_vae,
    dense_vae,
    hierarchical_pixel_vae,
    iaf_vae,
    pixel_vae,
)
from pyro_exact.models.iaf_vae import StochasticLayer
from pyro_exact.nn import (
    ConvConditioner,
    DenseConditioner,
    DenseDecoder,
    DenseEncoder,
    MaskedConvNet,
    MaskedDense,
    PriorConditioner,
    TransformerConditioner,
)
from pyro_exact.transforms import (
    GIN,
    ActNorm,
    Additive,
    Affine,
    BatchNorm,
    Bernstein,
    Bijection,
    BlockAutoregressive,
    Channels,
    Checkerboard,
    CircularSpline,
    Columns,
    Compose,
    Conv1x1,
    Coupling,
    DeepSigmoidal,
    DenseSigmoidal,
    DiagonalAffine,
    DiscreteCosine,
    Elementwise,
    Exponential,
    FactorOut,
    FixedAffine,
    Flatten,
    Haar,
    HaarSqueeze,
    Halves,
    Householder,
    Interval,
    LambertW,
    LinearLowRank,
    LinearLU,
    LinearQR,
    LinearRationalSpline,
    LinearSVD,
    LinearTriangular,
    Logit,
    Marginal,
    MaskedAutoregressive,
    MatrixExponential,
    MixtureCDF,
    MonotoneNetwork,
    NormalMixtureCDF,
    Parallel,
    Partition,
    PeriodicConv,
    Permute,
    Planar,
    Radial,
    Rotation,
    SigmoidToCell,
    SignedPower,
    SinhArcsinh,
    SoftClip,
    Softplus,
    Spline,
    Squeeze,
    Stock,
    SumOfSquares,
    Sylvester,
    TokenAutoregressive,
    Tokens,
)


class Case(NamedTuple):
    """A layer: `make(context_dim)` for events of `shape`, plain (None) and, where it can be, `conditional` as well.

    `draw(shape)` makes inputs where the layer is defined, and `std` is how far the weights are
    moved. The official Glow contracts without a bound, sigmoid(r) for any r: with large weights its
    second step adds a shift of order 1 to numbers of order e^-40, and float64 forgets them;
    likewise a logit beyond 36 is a
    pixel at the
    very end.
    """

    make: Callable[[int | None], Bijection]
    shape: tuple[int, ...]
    conditional: bool = False
    draw: Callable[[tuple[int, ...]], Tensor] = torch.randn
    std: float = 0.5


def dense(partition: Partition, formula: Elementwise, context_dim: int | None) -> Coupling:
    sizes = partition.fixed_size, partition.free_size
    return Coupling(
        partition, formula, DenseConditioner(*sizes, formula.num_params, (6,), context_dim)
    )


def conv(partition: Partition, formula: Elementwise, context_dim: int | None) -> Coupling:
    sizes = partition.fixed_size, partition.free_size
    return Coupling(partition, formula, ConvConditioner(*sizes, formula.num_params, 6, context_dim))


def masked(dim: int, formula: Elementwise, context_dim: int | None) -> MaskedAutoregressive:
    """One that takes its dimensions in reverse order."""
    reverse = range(dim - 1, -1, -1)
    return MaskedAutoregressive(
        formula, MaskedDense(dim, formula.num_params, (6, 5), context_dim, reverse)
    )


def by_tokens(
    formula: Elementwise, context_dim: int | None, reverse: bool = False
) -> TokenAutoregressive:
    """One of 3 tokens of 2 numbers."""
    net = TransformerConditioner(3, 2, formula.num_params, 4, 1, 2, context_dim)
    return TokenAutoregressive(formula, net, reverse)


def stack(context_dim: int | None, recompute: bool = False) -> Compose:
    """Every kind of layer for vectors of 3 numbers, the conditional ones between plain ones."""
    couplings = (
        dense(Halves(3), Affine(), context_dim),
        dense(Halves(3, swap=True), Affine("sigmoid"), context_dim),
    )
    return Compose(
        [couplings[0], Permute([2, 0, 1]), ActNorm(3, context_dim=context_dim), couplings[1]],
        recompute,
    )


def small_glow(context_dim: int | None, **settings: object) -> Bijection:
    options = {
        "levels": 4,
        "scales": 2,
        "steps": 1,
        "width": 6,
        "context_dim": context_dim,
        **settings,
    }
    return glow((1, 4, 4), **options)


def small_flow_pp(**settings: object) -> Bijection:
    """One that has seen data, in evaluation: its dropout would change from one call to the next."""
    options = {"levels": 4, "width": 4, "depth": 1, "components": 2, "heads": 2, **settings}
    made = flow_pp((1, 4, 4), **options).eval()
    made.initialize(pixels((50, 1, 4, 4)))
    return made


def small_dequantizer(context: Tensor | None, **settings: object) -> Bijection:
    """In evaluation, with its context, an image of 4 levels, bound where one is given."""
    options = {
        "levels": 4,
        "width": 4,
        "depth": 1,
        "components": 2,
        "heads": 2,
        "encoder_width": 2,
        **settings,
    }
    made = flow_pp_dequantizer((1, 2, 4), **options).eval()
    return made if context is None else made.condition(context)


def small_real_nvp(context_dim: int | None, **settings: object) -> Bijection:
    options = {
        "levels": 4,
        "scales": 2,
        "width": 3,
        "depth": 1,
        "context_dim": context_dim,
        **settings,
    }
    return image_real_nvp((1, 4, 4), **options)


def small_spline_coupling(context_dim: int | None) -> Bijection:
    return image_spline_coupling((1, 4, 4), 4, 2, 1, 3, width=3, depth=1, context_dim=context_dim)


def evaluated_real_nvp(**settings: object) -> Bijection:
    """One with batch normalisation that has seen data, in evaluation."""
    made = small_real_nvp(None, batch_norm=True, **settings)
    made.initialize(pixels((50, 1, 4, 4)))
    return made.eval()


def batch_norm(channels: int, event_dim: int) -> BatchNorm:
    """One that has seen data, in evaluation: in training it is no bijection of one event."""
    layer = BatchNorm(channels, event_dim).eval()
    layer.running_mean.normal_()
    layer.running_variance.uniform_(0.5, 2)
    return layer


def pixels(shape: tuple[int, ...]) -> Tensor:
    """Dequantised pixels of 4 levels."""
    return 4 * torch.rand(shape)


def logits(shape: tuple[int, ...]) -> Tensor:
    """Numbers that a sigmoid does not round to an end of the interval."""
    return torch.randn(shape)


TRANSFORMS: dict[str, Case] = {
    "ActNorm": Case(lambda c: ActNorm(3, context_dim=c), (3,), True),
    "ActNorm image": Case(lambda c: ActNorm(3, 3, c), (3, 2, 2), True),
    "BatchNorm": Case(lambda c: batch_norm(3, 1), (3,)),
    "BatchNorm image": Case(lambda c: batch_norm(3, 3), (3, 2, 2)),
    "Compose": Case(stack, (3,), True),
    "Compose recompute": Case(lambda c: stack(c, recompute=True), (3,), True),
    "Compose inv": Case(lambda c: stack(c).inv, (3,), True),
    "Conv1x1": Case(lambda c: Conv1x1(3, c), (3, 2, 2), True),
    "Conv1x1 near the identity": Case(lambda c: Conv1x1(3, c, rotated=False), (3, 2, 2), True),
    "Conv1x1 plain": Case(lambda c: Conv1x1(3, c, factorized=False), (3, 2, 2), True),
    "Conv1x1 inv": Case(lambda c: Conv1x1(3, c).inv, (3, 2, 2), True),
    "Coupling dense": Case(lambda c: dense(Halves(4), Affine(), c), (4,), True),
    "Coupling dense odd sigmoid": Case(
        lambda c: dense(Halves(5), Affine("sigmoid"), c), (5,), True
    ),
    "Coupling dense swap": Case(lambda c: dense(Halves(5, swap=True), Affine(), c), (5,), True),
    "Coupling dense of one number": Case(lambda c: dense(Halves(1), Affine(), c), (1,), True),
    "Coupling conv": Case(lambda c: conv(Channels(4), Affine(), c), (4, 2, 2), True),
    "Coupling conv odd swap sigmoid": Case(
        lambda c: conv(Channels(3, True), Affine("sigmoid"), c), (3, 2, 3), True, std=0.2
    ),
    "Coupling additive": Case(lambda c: dense(Halves(4), Additive(), c), (4,), True),
    "Coupling checkerboard": Case(lambda c: conv(Checkerboard(2), Affine(), c), (2, 4, 2), True),
    "Coupling columns": Case(lambda c: conv(Columns(2), Affine("learned"), c), (2, 2, 4), True),
    "Coupling checkerboard swap additive": Case(
        lambda c: conv(Checkerboard(1, True), Additive(), c), (1, 2, 4), True
    ),
    "Coupling mixture": Case(lambda c: dense(Halves(3), MixtureCDF(4), c), (3,), True),
    "Coupling mixture checkerboard": Case(
        lambda c: conv(Checkerboard(1), MixtureCDF(2), c), (1, 2, 2), True, std=0.2
    ),
    "Coupling spline": Case(lambda c: dense(Halves(3), Spline(5), c), (3,), True),
    "Coupling spline channels": Case(
        lambda c: conv(Channels(2), Spline(3), c), (2, 2, 2), True, std=0.2
    ),
    "FactorOut": Case(lambda c: FactorOut((4, 2, 2), Flatten((2, 2, 2))), (4, 2, 2)),
    "FactorOut prior": Case(
        lambda c: FactorOut(
            (4, 2, 2),
            Compose([DiagonalAffine((2, 2, 2), c), Flatten((2, 2, 2))]),
            PriorConditioner(2, 2),
        ),
        (4, 2, 2),
        True,
    ),
    "FactorOut conditional prior": Case(
        lambda c: FactorOut((3, 2, 2), Flatten((1, 2, 2)), ConvConditioner(1, 2, 2, 6, c)),
        (3, 2, 2),
        True,
    ),
    "Flatten": Case(lambda c: Flatten((2, 2, 3)), (2, 2, 3)),
    "Householder": Case(lambda c: Householder(4, 3, c), (4,), True),
    "LinearLU": Case(lambda c: LinearLU(4, c), (4,), True),
    "Logit": Case(lambda c: Logit(4), (1, 2, 2), draw=pixels),
    "Logit without margin": Case(lambda c: Logit(4, margin=0, event_dim=1), (3,), draw=pixels),
    "Logit inv": Case(lambda c: Logit(4).inv, (1, 2, 2), draw=logits),
    "MaskedAutoregressive": Case(lambda c: masked(4, Affine(), c), (4,), True),
    "MaskedAutoregressive mixture": Case(lambda c: masked(3, MixtureCDF(3), c), (3,), True),
    "MaskedAutoregressive spline": Case(lambda c: masked(3, Spline(4), c), (3,), True),
    "Parallel": Case(
        lambda c: Parallel(Channels(4), ActNorm(2, 3, c), Conv1x1(2, c)), (4, 2, 2), True
    ),
    "Parallel columns": Case(
        lambda c: Parallel(Columns(2), Conv1x1(2), ActNorm(2, 3, c)), (2, 2, 4), True
    ),
    "Permute": Case(lambda c: Permute([2, 0, 1]), (3,)),
    "Permute channels": Case(lambda c: Permute(torch.tensor([2, 0, 1]), event_dim=3), (3, 2, 2)),
    "SigmoidToCell of numbers": Case(lambda c: SigmoidToCell(1), (3,)),
    "SigmoidToCell inv": Case(lambda c: SigmoidToCell().inv, (1, 2, 2), draw=torch.rand),
    "SigmoidToCell of numbers inv": Case(lambda c: SigmoidToCell(1).inv, (3,), draw=torch.rand),
    "Planar": Case(lambda c: Planar(4, c), (4,), True),
    "Planar long": Case(lambda c: Planar(3, c, layers=3), (3,), True),
    "Planar of one number": Case(lambda c: Planar(1, c), (1,), True),
    "Planar paper": Case(lambda c: Planar(4, c, "paper"), (4,), True),
    "Radial": Case(lambda c: Radial(4, c), (4,), True),
    "Radial long": Case(lambda c: Radial(3, c, layers=3), (3,), True),
    "Radial of one number": Case(lambda c: Radial(1, c), (1,), True),
    "FixedAffine": Case(lambda c: FixedAffine(-0.25, 0.5), (1, 2, 2)),
    "Squeeze": Case(lambda c: Squeeze(), (2, 4, 2)),
    "Squeeze by 3": Case(lambda c: Squeeze(3), (1, 3, 6)),
    "Sylvester": Case(lambda c: Sylvester(5, 3, context_dim=c), (5,), True),
    "Sylvester householder": Case(
        lambda c: Sylvester(4, 2, "householder", c, reflections=3), (4,), True
    ),
    "Sylvester of one number": Case(lambda c: Sylvester(1, 1, "triangular", c), (1,), True),
    "Sylvester triangular": Case(lambda c: Sylvester(4, 4, "triangular", c), (4,), True),
    "Sylvester triangular reverse": Case(
        lambda c: Sylvester(4, 3, "triangular", c, reverse=True), (4,), True
    ),
    "TokenAutoregressive": Case(lambda c: by_tokens(Affine(), c), (3, 2), True, std=0.2),
    "TokenAutoregressive reverse": Case(
        lambda c: by_tokens(Affine("sigmoid"), c, reverse=True), (3, 2), True, std=0.2
    ),
    "TokenAutoregressive spline": Case(lambda c: by_tokens(Spline(3), c), (3, 2), True, std=0.1),
    "Tokens": Case(lambda c: Tokens((2, 4, 6), 2), (2, 4, 6)),
    "Tokens of a vector": Case(lambda c: Tokens(6, 2), (6,)),
    "DiagonalAffine": Case(lambda c: DiagonalAffine((2, 2, 2), c), (2, 2, 2), True),
    "couplings": Case(lambda c: couplings(3, MixtureCDF(2), 2, (5,), c), (3,), True, std=0.2),
    "flow_pp": Case(lambda c: small_flow_pp(), (1, 4, 4), draw=pixels, std=0.02),
    "flow_pp affine checkerboard": Case(
        lambda c: small_flow_pp(formula="affine", checkerboard=True),
        (1, 4, 4),
        draw=pixels,
        std=0.02,
    ),
    "flow_pp_dequantizer inv": Case(
        lambda c: small_dequantizer(torch.zeros(1, 2, 4)).inv, (1, 2, 4), draw=torch.rand, std=0.1
    ),
    "glow": Case(small_glow, (1, 4, 4), True, pixels, std=0.1),
    "glow recompute": Case(
        lambda c: small_glow(c, recompute=True), (1, 4, 4), True, pixels, std=0.1
    ),
    "glow logit": Case(
        lambda c: small_glow(c, logit_margin=0.05, factorized=True),
        (1, 4, 4),
        True,
        pixels,
        std=0.1,
    ),
    "glow official": Case(
        lambda c: small_glow(c, scale="sigmoid"), (1, 4, 4), True, pixels, std=0.1
    ),
    "glow additive": Case(lambda c: small_glow(c, scale=None), (1, 4, 4), True, pixels, std=0.1),
    "iaf": Case(lambda c: iaf(3, 2, (6,), c), (3,), True, std=0.2),
    "maf": Case(lambda c: maf(3, 2, (6,), c), (3,), True, std=0.2),
    "nice": Case(lambda c: nice(3, 3, (5,), c), (3,), True, std=0.2),
    "image_nice": Case(
        lambda c: image_nice((1, 2, 3), 4, 3, (5,), c), (1, 2, 3), True, pixels, std=0.2
    ),
    "nsf": Case(lambda c: nsf(3, 2, 4, 3.0, (6,), c), (3,), True, std=0.2),
    "planar": Case(lambda c: planar(3, 4, c), (3,), True),
    "radial": Case(lambda c: radial(3, 2, c), (3,), True),
    "real_nvp": Case(lambda c: real_nvp(3, 2, (5,), c), (3,), True, std=0.2),
    "image_real_nvp": Case(small_real_nvp, (1, 4, 4), True, pixels, std=0.1),
    "image_real_nvp of batch_norm": Case(
        lambda c: evaluated_real_nvp(), (1, 4, 4), draw=pixels, std=0.1
    ),
    "spline_coupling": Case(lambda c: spline_coupling(3, 2, 4, 3.0, (5,), c), (3,), True, std=0.2),
    "image_spline_coupling": Case(small_spline_coupling, (1, 4, 4), True, pixels, std=0.1),
    "sylvester": Case(lambda c: sylvester(3, 2, 2, "triangular", c), (3,), True),
    "tarflow": Case(
        lambda c: tarflow((1, 4, 4), 2, 2, 1, 4, 2, 4, c), (1, 4, 4), True, pixels, std=0.1
    ),
    "tarflow of a vector": Case(
        lambda c: tarflow(3, 1, 2, 1, 4, 2, context_dim=c), (3,), True, std=0.2
    ),
}

ELEMENTWISE: dict[str, Callable[[], Elementwise]] = {
    "Affine": Affine,
    "Affine small bound": lambda: Affine(bound=0.5),
    "Affine shift first": lambda: Affine(shift_first=True),
    "Affine softsign": lambda: Affine("softsign"),
    "Affine learned": lambda: Affine("learned"),
    "Affine sigmoid": lambda: Affine("sigmoid"),
    "Additive": Additive,
    "MixtureCDF": lambda: MixtureCDF(8),
    "MixtureCDF of one component": lambda: MixtureCDF(1),
    "MixtureCDF wide": lambda: MixtureCDF(3, min_log_scale=-2, spread=5),
    "Spline": Spline,
    "Spline of one bin": lambda: Spline(1),
    "Spline small bound": lambda: Spline(
        12, bound=0.5, min_width=1e-2, min_height=1e-2, min_derivative=0.1
    ),
}

# Formulas of one element, each also as a layer of its own


def monotone_network(**settings: object) -> MonotoneNetwork:
    """One whose integrand is not constant."""
    made = MonotoneNetwork(3, (4, 4), **settings)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def gin(partition: Partition, context_dim: int | None) -> GIN:
    sizes = partition.fixed_size, partition.free_size
    net = ConvConditioner if partition.event_dim == 3 else DenseConditioner
    return GIN(partition, net(*sizes, 2, 6 if net is ConvConditioner else (6,), context_dim))


ELEMENTWISE |= {
    "Bernstein": Bernstein,
    "Bernstein identity": lambda: Bernstein(9, bound=2.0, tails="identity"),
    "Bernstein of the least degree": lambda: Bernstein(5, bound=0.5),
    "CircularSpline": lambda: CircularSpline(5),
    "CircularSpline of one bin": lambda: CircularSpline(1, bound=4.0),
    "DeepSigmoidal": DeepSigmoidal,
    "DeepSigmoidal deep": lambda: DeepSigmoidal(4, 3),
    "DenseSigmoidal": DenseSigmoidal,
    "DenseSigmoidal deep": lambda: DenseSigmoidal(3, 3, units=2),
    "LambertW": LambertW,
    "LinearRationalSpline": LinearRationalSpline,
    "LinearRationalSpline of one bin": lambda: LinearRationalSpline(1),
    "MonotoneNetwork": monotone_network,
    "MonotoneNetwork small bound": lambda: monotone_network(bound=0.5),
    "NormalMixtureCDF": NormalMixtureCDF,
    "NormalMixtureCDF of one component": lambda: NormalMixtureCDF(1),
    "SignedPower": SignedPower,
    "SinhArcsinh": SinhArcsinh,
    "SumOfSquares": SumOfSquares,
    "SumOfSquares small bound": lambda: SumOfSquares(1, 2, bound=0.5),
}
TRANSFORMS |= {
    "BlockAutoregressive": Case(lambda c: BlockAutoregressive(3, 3, 1, c), (3,), True),
    "BlockAutoregressive deep": Case(lambda c: BlockAutoregressive(2, 2, 3, c), (2,), True),
    "BlockAutoregressive of one element": Case(
        lambda c: BlockAutoregressive(1, 4, 1, c), (1,), True
    ),
    "DiscreteCosine": Case(lambda c: DiscreteCosine(5), (5,)),
    "Exponential": Case(lambda c: Exponential(), (3,)),
    "Exponential of an image": Case(lambda c: Exponential(3), (1, 2, 2)),
    "GIN": Case(lambda c: gin(Halves(5), c), (5,), True),
    "GIN of an image": Case(lambda c: gin(Channels(2, swap=True), c), (2, 2, 2), True, std=0.2),
    "Haar": Case(lambda c: Haar(8), (8,)),
    "Haar odd": Case(lambda c: Haar(7), (7,)),
    "Haar of one element": Case(lambda c: Haar(1), (1,)),
    "HaarSqueeze": Case(lambda c: HaarSqueeze(), (2, 4, 2)),
    "Interval": Case(lambda c: Interval(-1.0, 2.0, 3), (3,)),
    "Interval inv": Case(lambda c: Interval(0.0, 1.0, (1, 2)).inv, (1, 2), draw=torch.rand),
    "LinearLowRank": Case(lambda c: LinearLowRank(5, 2, c), (5,), True),
    "LinearLowRank of full rank": Case(lambda c: LinearLowRank(3, 3, c), (3,), True),
    "LinearQR": Case(lambda c: LinearQR(4, context_dim=c), (4,), True),
    "LinearQR few": Case(lambda c: LinearQR(3, 1, c), (3,), True),
    "LinearSVD": Case(lambda c: LinearSVD(4, context_dim=c), (4,), True),
    "LinearSVD few": Case(lambda c: LinearSVD(3, 1, c), (3,), True),
    "LinearTriangular": Case(lambda c: LinearTriangular(4, context_dim=c), (4,), True),
    "LinearTriangular upper": Case(lambda c: LinearTriangular(3, True, c), (3,), True),
    "Marginal": Case(lambda c: Marginal(Spline(4), (2, 3), c), (2, 3), True),
    "Marginal affine": Case(lambda c: Marginal(Affine("learned"), 3, c), (3,), True),
    "Marginal bernstein": Case(lambda c: Marginal(Bernstein(7), 3, c), (3,), True),
    "Marginal circular_spline": Case(
        lambda c: Marginal(CircularSpline(4, bound=8.0), 3, c), (3,), True
    ),
    "Marginal deep_sigmoidal": Case(lambda c: Marginal(DeepSigmoidal(4, 2), 3, c), (3,), True),
    "Marginal dense_sigmoidal": Case(lambda c: Marginal(DenseSigmoidal(3, 2, 2), 3, c), (3,), True),
    "Marginal lambert_w": Case(lambda c: Marginal(LambertW(), 3, c), (3,), True),
    "Marginal linear_rational_spline": Case(
        lambda c: Marginal(LinearRationalSpline(4), 3, c), (3,), True
    ),
    "Marginal monotone_network": Case(
        lambda c: Marginal(MonotoneNetwork(2, (4,)), 3, c), (3,), True
    ),
    "Marginal normal_mixture_cdf": Case(lambda c: Marginal(NormalMixtureCDF(4), 3, c), (3,), True),
    "Marginal signed_power": Case(lambda c: Marginal(SignedPower(), 3, c), (3,), True),
    "Marginal sinh_arcsinh": Case(lambda c: Marginal(SinhArcsinh(), 3, c), (3,), True),
    "Marginal sum_of_squares": Case(lambda c: Marginal(SumOfSquares(2, 3), 3, c), (3,), True),
    "MatrixExponential": Case(lambda c: MatrixExponential(4, c), (4,), True),
    "MatrixExponential of one element": Case(lambda c: MatrixExponential(1, c), (1,), True),
    "PeriodicConv": Case(lambda c: PeriodicConv(2, 3, c), (2, 4, 3), True, std=0.1),
    "PeriodicConv of pixels": Case(lambda c: PeriodicConv(3, 1, c), (3, 1, 2), True, std=0.2),
    "Rotation": Case(lambda c: Rotation(4, c), (4,), True),
    "SoftClip": Case(lambda c: SoftClip(2.0), (3,)),
    "SoftClip of an image": Case(lambda c: SoftClip(0.5, 3), (1, 2, 2)),
    "Softplus": Case(lambda c: Softplus(), (3,)),
    "Softplus inv": Case(lambda c: Softplus().inv, (3,), draw=torch.rand),
    "Stock": Case(lambda c: Stock(AffineTransform(1.0, -2.0), (2, 2)), (2, 2)),
    "Stock of vectors": Case(
        lambda c: Stock(IndependentTransform(AffineTransform(1.0, 2.0), 1), 4), (4,)
    ),
    "Stock inv": Case(lambda c: Stock(SigmoidTransform(), 3).inv, (3,), draw=torch.rand),
    "bernstein": Case(lambda c: bernstein(3, 1, 6, 3.0, (6,), c), (3,), True, std=0.2),
    "bnaf": Case(lambda c: bnaf(3, 2, 3, 1, c), (3,), True, std=0.2),
    "bounded": Case(
        lambda c: bounded(maf(2, 1, (6,), c), 0.0, torch.tensor([1.0, 2.0])),
        (2,),
        True,
        torch.rand,
        std=0.2,
    ),
    "circular_spline": Case(lambda c: circular_spline(3, 2, 4, 8.0, (6,), c), (3,), True, std=0.2),
    "constrained": Case(
        lambda c: constrained(maf(2, 1, (6,), c), constraints.positive),
        (2,),
        True,
        torch.rand,
        std=0.2,
    ),
    "gaussianization": Case(lambda c: gaussianization(3, 2, 3, c), (3,), True, std=0.2),
    "naf": Case(lambda c: naf(3, 1, 4, 1, 1, (6,), c), (3,), True, std=0.2),
    "naf dense": Case(lambda c: naf(2, 1, 2, 2, 3, (6,), c), (2,), True, std=0.2),
    "sos": Case(lambda c: sos(3, 1, 2, 2, 3.0, (6,), c), (3,), True, std=0.2),
    "umnn": Case(lambda c: umnn(3, 1, 3, (4,), (6,), c), (3,), True, std=0.2),
}

PARTITIONS: dict[str, Callable[[], Partition]] = {
    "Channels": lambda: Channels(4),
    "Channels odd swap": lambda: Channels(5, swap=True),
    "Checkerboard": lambda: Checkerboard(3),
    "Checkerboard swap": lambda: Checkerboard(2, swap=True),
    "Columns": lambda: Columns(2),
    "Columns swap": lambda: Columns(3, swap=True),
    "Halves": lambda: Halves(4),
    "Halves odd": lambda: Halves(5),
    "Halves odd swap": lambda: Halves(5, swap=True),
    "Halves of one number": lambda: Halves(1),
}


def flow(context_dim: int | None = None) -> Flow:
    """A flow over vectors of 3 numbers that is not the identity."""
    made = Flow(StandardNormal(3), stack(context_dim).inv)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def vae_posterior(flows: bool = True) -> FlowPosterior:
    """A posterior of 2 numbers given 6 features, with a flow or without."""
    made = FlowPosterior(6, 2, planar(2, 3, context_dim=6) if flows else None)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "BernoulliLikelihood": BernoulliLikelihood,
    "CategoricalLikelihood": lambda: CategoricalLikelihood(4),
    "DiscretizedLogisticMixture": lambda: DiscretizedLogisticMixture(3, 4, 2),
    "GaussianLikelihood": GaussianLikelihood,
    "GaussianLikelihood of channels": lambda: GaussianLikelihood(3),
}

SHUFFLED = [3, 7, 0, 9, 4, 1, 8, 2, 6, 5]

NETS: dict[str, Callable[[], CausalNet]] = {
    "DiagonalBiLSTM": lambda: DiagonalBiLSTM((1, 3, 3), 2, width=4, depth=2, head_width=8),
    "DiagonalBiLSTM categorical": lambda: DiagonalBiLSTM(
        (1, 2, 2), 4, width=4, depth=1, head_width=8
    ),
    "DiagonalBiLSTM colours": lambda: DiagonalBiLSTM((3, 1, 2), 3, width=6, depth=2, head_width=24),
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
    "ConvNADE ensemble": lambda: ConvNADE((1, 3, 3), 4, [2, 2], (15, 15), orders=2),
    "DeepNADE": lambda: DeepNADE(10, (20, 20)),
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
    "NADE": lambda: NADE(10, 7),
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
    "RowLSTM categorical": lambda: RowLSTM((1, 2, 2), 4, width=4, depth=1, head_width=8),
    "RowLSTM colours": lambda: RowLSTM((3, 2, 1), 3, width=6, depth=2, head_width=24),
}


def net(name: str) -> CausalNet:
    """A network of the registry with weights away from their initial values."""
    made = NETS[name]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def iaf_step(*batch: int) -> InverseAutoregressive:
    """One of maps (2, 2, 3) that is not near the identity."""
    net = MaskedConvNet(2, Affine.num_params, width=4)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    context, mean = torch.randn(*batch, 2, 3, 4), torch.randn(*batch, 2, 2, 3)
    return InverseAutoregressive(mean, mean.exp(), partial(net, context=context), Affine())


DISTRIBUTIONS: dict[str, Callable[[], TorchDistribution]] = {
    "Autoregressive": lambda: Autoregressive(net("NADE image")),
    "Autoregressive conditional": lambda: Autoregressive(
        net("MADE conditional"), torch.randn(3, 2)
    ),
    "Autoregressive conditional ensemble": lambda: Autoregressive(
        net("MADE conditional ensemble"), torch.randn(3, 2)
    ),
    "Autoregressive ensemble": lambda: Autoregressive(net("MADE ensemble")),
    "Autoregressive by class": lambda: Autoregressive(
        net("GatedPixelCNN conditional"), torch.eye(3)
    ),
    "Autoregressive gaussian": lambda: Autoregressive(net("MADE gaussian")),
    "Autoregressive whole pixels": lambda: Autoregressive(net("PixelCNNpp")),
    "Flow": lambda: flow()(),
    "Flow cold": lambda: flow()(temperature=0.5),
    "Flow conditional": lambda: flow(2).condition(torch.randn(3, 2)),
    "FlowDequantizer": lambda: FlowDequantizer(small_dequantizer(None))(
        torch.randint(4, (3, 1, 2, 4))
    ),
    "FlowPosterior": lambda: vae_posterior(flows=False)(torch.randn(3, 6)),
    "FlowPosterior planar": lambda: vae_posterior()(torch.randn(3, 6)),
    "IndependentSites": lambda: IndependentSites(
        torch.randn(3, 1, 2, 2, 1), BernoulliLikelihood(), grid_dim=3
    ),
    "IndependentSites gaussian": lambda: IndependentSites(
        torch.randn(4, 2), GaussianLikelihood(), grid_dim=1
    ),
    "InverseAutoregressive": lambda: iaf_step(2),
    "InverseAutoregressive without a batch": lambda: iaf_step(),
    "StandardNormal": lambda: StandardNormal(3)(),
    "Subset": lambda: Subset((1, 2, 3)),
    "UniformDequantizer": lambda: UniformDequantizer(
        torch.randint(4, (3, 1, 2, 2)).to(torch.get_default_dtype())
    ),
}


DISTRIBUTIONS |= {
    "LowRankNormal": lambda: LowRankNormal(4, 2)(),
    "Mixture": lambda: Mixture([flow(), flow()])(),
    "Mixture conditional": lambda: Mixture([flow(2), flow(2)]).condition(torch.randn(3, 2)),
    "NormalMixture": lambda: NormalMixture(3, 2)(),
    "StudentNoise": lambda: StudentNoise(3)(),
    "UniformBox": lambda: UniformBox(2, -1.0, 3.0)(),
}


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


MODELS: dict[str, ModelCase] = {
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
    "Density made": ModelCase(lambda: Density(Autoregressive(MADE((1, 4, 4), (20,)))), bars),
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
    "OrderAgnostic": ModelCase(
        lambda: OrderAgnostic(DeepNADE((1, 4, 4), (20, 20), orders=2)), bars
    ),
    "OrderAgnostic conv": ModelCase(
        lambda: OrderAgnostic(ConvNADE((1, 4, 4), 4, [2, 2], (20, 20))), bars
    ),
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
