"""Sizes and numbers that layers and builders are built with: any integer type is one, and nothing absurd is built."""

import math

import numpy as np
import pytest
import torch

from pyro_exact import flows
from pyro_exact.transforms import (
    ActNorm,
    Affine,
    BatchNorm,
    Channels,
    Checkerboard,
    Columns,
    Conv1x1,
    DiagonalAffine,
    FactorOut,
    FixedAffine,
    Flatten,
    Halves,
    Householder,
    LinearLU,
    Logit,
    MixtureCDF,
    Permute,
    Planar,
    Radial,
    SigmoidToCell,
    Spline,
    Squeeze,
    Sylvester,
)

SMALL_GLOW = {"levels": 4, "scales": 1, "steps": 1, "width": 2}

SMALL_FLOW_PP = {"levels": 4, "width": 2, "depth": 1, "components": 1, "heads": 1}

SMALL_SPLINE = {"steps": 1, "levels": 4, "scales": 1, "width": 2, "depth": 1}

IMAGE = (1, 4, 4)

SIZES = {
    "ActNorm channels": ActNorm,
    "ActNorm event_dim": lambda n: ActNorm(2, n),
    "BatchNorm channels": BatchNorm,
    "BatchNorm event_dim": lambda n: BatchNorm(2, n),
    "Channels": Channels,
    "Checkerboard": Checkerboard,
    "Columns": Columns,
    "Conv1x1": Conv1x1,
    "FactorOut": lambda n: FactorOut((4, n, 1), Flatten((2, n, 1))),
    "Flatten": lambda n: Flatten((2, n)),
    "Halves": Halves,
    "Householder dim": Householder,
    "Householder reflections": lambda n: Householder(2, n),
    "LinearLU": LinearLU,
    "Logit levels": Logit,
    "MixtureCDF": MixtureCDF,
    "Planar dim": Planar,
    "Planar layers": lambda n: Planar(2, layers=n),
    "Radial dim": Radial,
    "Radial layers": lambda n: Radial(2, layers=n),
    "Spline bins": Spline,
    "Squeeze": Squeeze,
    "Sylvester dim": lambda n: Sylvester(n, 1),
    "Sylvester rank": lambda n: Sylvester(4, n),
    "Sylvester reflections": lambda n: Sylvester(4, 2, "householder", reflections=n),
    "DiagonalAffine": lambda n: DiagonalAffine((2, n)),
    "couplings shape": lambda n: flows.couplings(n, Affine(), 1, (2,)),
    "couplings context": lambda n: flows.couplings(2, Affine(), 1, (2,), context_dim=n),
    "couplings hidden": lambda n: flows.couplings(2, Affine(), 1, (2, n)),
    "couplings layers": lambda n: flows.couplings(2, Affine(), n, (2,)),
    "flow_pp levels": lambda n: flows.flow_pp(IMAGE, **{**SMALL_FLOW_PP, "levels": n}),
    "flow_pp width": lambda n: flows.flow_pp(IMAGE, **{**SMALL_FLOW_PP, "width": n}),
    "flow_pp depth": lambda n: flows.flow_pp(IMAGE, **{**SMALL_FLOW_PP, "depth": n}),
    "flow_pp components": lambda n: flows.flow_pp(IMAGE, **{**SMALL_FLOW_PP, "components": n}),
    "flow_pp heads": lambda n: flows.flow_pp(IMAGE, **{**SMALL_FLOW_PP, "heads": n}),
    "flow_pp_dequantizer steps": lambda n: flows.flow_pp_dequantizer(
        IMAGE, **SMALL_FLOW_PP, steps=n
    ),
    "flow_pp_dequantizer encoder_width": lambda n: flows.flow_pp_dequantizer(
        IMAGE, **SMALL_FLOW_PP, encoder_width=n
    ),
    "glow shape": lambda n: flows.glow((n, 4, 4), **SMALL_GLOW),
    "glow levels": lambda n: flows.glow(IMAGE, **{**SMALL_GLOW, "levels": n}),
    "glow scales": lambda n: flows.glow(IMAGE, **{**SMALL_GLOW, "scales": n}),
    "glow context": lambda n: flows.glow(IMAGE, **SMALL_GLOW, context_dim=n),
    "glow steps": lambda n: flows.glow(IMAGE, **{**SMALL_GLOW, "steps": n}),
    "glow width": lambda n: flows.glow(IMAGE, **{**SMALL_GLOW, "width": n}),
    "iaf shape": lambda n: flows.iaf(n, 1, (4,)),
    "iaf context": lambda n: flows.iaf(2, 1, (4,), n),
    "iaf hidden": lambda n: flows.iaf(1, 1, (4, n)),
    "iaf layers": lambda n: flows.iaf(2, n, (4,)),
    "maf layers": lambda n: flows.maf(2, n, (4,)),
    "nice shape": lambda n: flows.nice(n, 1, (2,)),
    "nice layers": lambda n: flows.nice(2, n, (2,)),
    "image_nice levels": lambda n: flows.image_nice((1, 2, 2), n, 1, (2,)),
    "planar shape": lambda n: flows.planar(n, 1),
    "planar layers": lambda n: flows.planar(2, n),
    "radial layers": lambda n: flows.radial(2, n),
    "image_real_nvp context": lambda n: flows.image_real_nvp(
        IMAGE, levels=4, scales=1, width=2, depth=1, context_dim=n
    ),
    "real_nvp layers": lambda n: flows.real_nvp(2, n, (2,)),
    "image_real_nvp scales": lambda n: flows.image_real_nvp(
        IMAGE, levels=4, scales=n, width=2, depth=1
    ),
    "image_real_nvp width": lambda n: flows.image_real_nvp(
        IMAGE, levels=4, scales=1, width=n, depth=1
    ),
    "image_real_nvp depth": lambda n: flows.image_real_nvp(
        IMAGE, levels=4, scales=1, width=2, depth=n
    ),
    "spline_coupling bins": lambda n: flows.spline_coupling(2, 1, n),
    "image_spline_coupling steps": lambda n: flows.image_spline_coupling(
        IMAGE, **{**SMALL_SPLINE, "steps": n}
    ),
    "image_spline_coupling scales": lambda n: flows.image_spline_coupling(
        IMAGE, **{**SMALL_SPLINE, "scales": n}
    ),
    "image_spline_coupling width": lambda n: flows.image_spline_coupling(
        IMAGE, **{**SMALL_SPLINE, "width": n}
    ),
    "image_spline_coupling depth": lambda n: flows.image_spline_coupling(
        IMAGE, **{**SMALL_SPLINE, "depth": n}
    ),
    "sylvester shape": lambda n: flows.sylvester(n, 1),
    "sylvester layers": lambda n: flows.sylvester(2, n, 1),
    "sylvester rank": lambda n: flows.sylvester(2, 1, n),
}

OF_VECTORS = {f"{name} shape" for name in ("couplings", "iaf", "nice", "planar", "sylvester")}

NO_SIZES = [0, -1, 10**9, 2**70, 1.5, math.nan, math.inf, -math.inf, "3", [1], 1j, True]

HAS_DEFAULT = {"Householder reflections", "Sylvester rank", "sylvester rank"} | {
    n for n in SIZES if "context" in n
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_may_be_of_any_integer_type(name):
    for one in (1, np.int64(1), torch.tensor(1)):
        SIZES[name](one)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_that_are_none_are_refused_before_anything_is_built(name):
    for bad in NO_SIZES if name in HAS_DEFAULT else [*NO_SIZES, None]:
        if bad == [1] and name in OF_VECTORS:
            continue  # this is the shape of a vector
        with pytest.raises((ValueError, TypeError), match=r"expects .*; got .+\. [A-Z].+"):
            SIZES[name](bad)


NUMBERS = {
    "ActNorm floor": lambda x: ActNorm(2, floor=x),
    "Affine bound": lambda x: Affine(bound=x),
    "BatchNorm momentum": lambda x: BatchNorm(2, momentum=x),
    "BatchNorm epsilon": lambda x: BatchNorm(2, epsilon=x),
    "Logit margin": lambda x: Logit(4, x),
    "MixtureCDF min_log_scale": lambda x: MixtureCDF(2, x),
    "MixtureCDF spread": lambda x: MixtureCDF(2, spread=x),
    "FixedAffine scale": FixedAffine,
    "FixedAffine shift": lambda x: FixedAffine(1.0, x),
    "Spline bound": lambda x: Spline(bound=x),
    "Spline min_width": lambda x: Spline(min_width=x),
    "Spline min_height": lambda x: Spline(min_height=x),
    "Spline min_derivative": lambda x: Spline(min_derivative=x),
    "flow_pp_dequantizer dropout": lambda x: flows.flow_pp_dequantizer(
        IMAGE, **SMALL_FLOW_PP, dropout=x
    ),
    "flow_pp dropout": lambda x: flows.flow_pp(IMAGE, **SMALL_FLOW_PP, dropout=x),
    "flow_pp logit_margin": lambda x: flows.flow_pp(IMAGE, **SMALL_FLOW_PP, logit_margin=x),
    "glow log_scale_factor": lambda x: flows.glow(IMAGE, **SMALL_GLOW, log_scale_factor=x),
    "glow logit_margin": lambda x: flows.glow(IMAGE, **SMALL_GLOW, logit_margin=x),
    "spline_coupling bound": lambda x: flows.spline_coupling(2, 1, bound=x),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_are_none_are_refused(name):
    for bad in (math.nan, math.inf, -math.inf, "3", [1.0], 1j, True):
        with pytest.raises((ValueError, TypeError), match=r"expects .*; got .+\. [A-Z].+"):
            NUMBERS[name](bad)


@pytest.mark.parametrize(
    "make",
    [lambda n: Logit(4, event_dim=n), lambda n: FixedAffine(2.0, event_dim=n), SigmoidToCell],
)
def test_events_of_a_layer_of_single_elements(make):
    assert make(np.int64(0)).domain.event_dim == 0
    for bad in (-1, 10**9, 1.5, None):
        with pytest.raises((ValueError, TypeError), match=r"expects event_dim .*; got"):
            make(bad)


@pytest.mark.parametrize(
    "order",
    ["ab", 3, [0.0, 1.0], [None], torch.zeros(2), [1, 2], [0, 10**9], [True, False]],
    ids=str,
)
def test_permute_refuses_what_is_no_permutation(order):
    with pytest.raises((ValueError, TypeError), match=r"Permute expects .*; got"):
        Permute(order)


def test_permute_takes_an_array_or_a_range():
    for order in (np.array([1, 0]), range(1, -1, -1), torch.tensor([1, 0]), (np.int64(1), 0)):
        assert Permute(order)(torch.tensor([10.0, 11.0])).tolist() == [11, 10]
