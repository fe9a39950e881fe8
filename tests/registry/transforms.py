"""Layers and builders of flows, plain and with a context."""

import torch
from pyro.distributions.transforms import AffineTransform, IndependentTransform, SigmoidTransform
from torch.distributions import constraints

from pyro_exact.flows import (
    bernstein,
    bnaf,
    bounded,
    circular_spline,
    cnf,
    constrained,
    couplings,
    gaussianization,
    iaf,
    image_nice,
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
from pyro_exact.nn import (
    ConvConditioner,
    PriorConditioner,
)
from pyro_exact.transforms import (
    ActNorm,
    Additive,
    Affine,
    Bernstein,
    BlockAutoregressive,
    Channels,
    Checkerboard,
    CircularSpline,
    Columns,
    Compose,
    ContinuousFlow,
    Conv1x1,
    DeepSigmoidal,
    DenseSigmoidal,
    DiagonalAffine,
    DiscreteCosine,
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
    Limits,
    LinearLowRank,
    LinearLU,
    LinearQR,
    LinearRationalSpline,
    LinearSVD,
    LinearTriangular,
    Logit,
    Marginal,
    MatrixExponential,
    MixtureCDF,
    MonotoneNetwork,
    NormalMixtureCDF,
    Parallel,
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
    Standardize,
    Stock,
    SumOfSquares,
    Sylvester,
    Tokens,
)
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

# Limits on both sides, on one side, and none.
ENDS = (
    torch.tensor([-1.0, -0.5, -torch.inf, -torch.inf]),
    torch.tensor([2.0, torch.inf, 3.0, torch.inf]),
)

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
    "Standardize": Case(
        lambda c: Standardize(torch.tensor([-1.0, 0.0, 4.0]), torch.tensor([0.5, 1.0, 3.0])), (3,)
    ),
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
    "Limits": Case(lambda c: Limits(*ENDS), (4,)),
    "Limits inv": Case(lambda c: Limits(*ENDS).inv, (4,), draw=torch.rand),
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
    "maf of a graph": Case(
        lambda c: maf(3, 2, (6,), c, adjacency=[[0, 0, 1], [1, 0, 1], [0, 0, 0]]), (3,), True
    ),
    "naf": Case(lambda c: naf(3, 1, 4, 1, 1, (6,), c), (3,), True, std=0.2),
    "naf dense": Case(lambda c: naf(2, 1, 2, 2, 3, (6,), c), (2,), True, std=0.2),
    "sos": Case(lambda c: sos(3, 1, 2, 2, 3.0, (6,), c), (3,), True, std=0.2),
    "umnn": Case(lambda c: umnn(3, 1, 3, (4,), (6,), c), (3,), True, std=0.2),
}

# Exact only to the tolerance of a solver: tests/transforms/test_continuous_flow.py has the laws.
TO_TOLERANCE: dict[str, Case] = {
    "ContinuousFlow": Case(lambda c: ContinuousFlow(3, (6,), c), (3,), True),
    "cnf": Case(lambda c: cnf(3, (6,), c), (3,), True),
}
