"""Formulas of elements, and partitions of events."""

from collections.abc import Callable

import torch

from pyro_exact.transforms import (
    Additive,
    Affine,
    Bernstein,
    Channels,
    Checkerboard,
    CircularSpline,
    Columns,
    DeepSigmoidal,
    DenseSigmoidal,
    Elementwise,
    Halves,
    LambertW,
    LinearRationalSpline,
    MixtureCDF,
    MonotoneNetwork,
    NormalMixtureCDF,
    Partition,
    SignedPower,
    SinhArcsinh,
    Spline,
    SumOfSquares,
)

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


def monotone_network(**settings: object) -> MonotoneNetwork:
    """One whose integrand is not constant."""
    made = MonotoneNetwork(3, (4, 4), **settings)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


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
