"""Look at a flow on data: the function `flow_report`."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_finite, check_seed, check_size, check_tensor
from pyro_exact.diagnostics.flow_summary import FlowReport, LayerReport
from pyro_exact.diagnostics.flow_trace import Call, FlowTrace
from pyro_exact.diagnostics.jacobian import EXACT_DIM, Stretch, stretch
from pyro_exact.distributions import Flow
from pyro_exact.models import GenerativeModel
from pyro_exact.nn.finite import first_non_finite_weight
from pyro_exact.nn.precision import weight_of
from pyro_exact.transforms import Bijection, Elementwise
from pyro_exact.transforms.conditioned import Conditioned
from pyro_exact.transforms.inverse import Inverse

JACOBIANS = 16  # data at which Jacobians are computed
ESTIMATED = 2  # data at which they are estimated, where they are large


def flow_report(
    flow: nn.Module,
    data: Tensor,
    context: Tensor | None = None,
    jacobians: int = JACOBIANS,
    seed: int = 0,
) -> FlowReport:
    r"""Return a report on each layer of a flow. Use it when a flow does not train or invert.

    The data go to noise in float32, and each layer is inverted there. Jacobians are computed in
    float64: in full for events of at most 64 elements, and for larger events estimated via a power
    iteration using :math:`J v` and :math:`J^\top v`, for the layer and for the inverse. This report
    uses copies in evaluation mode: the flow and the random state do not change.

    Args:
        flow: A `Flow`, a model of a flow, such as `Density` or `Dequantized`, or a `Bijection` from
            data to noise (use ``bijection.inv`` when a bijection goes from noise to data). A model
            of your own must define `noise_map`.
        data: A batch of shape (N, \*event), at least 2; pixel levels for a `Dequantized` model.
        context: The context of a conditional flow, or the classes of a class-conditional model.
        jacobians: How many data are used to compute Jacobians; the default is 16, or 2 when
            Jacobians are estimated.
        seed: Seed of the dequantisation noise, and of the power iteration.

    Raises:
        TypeError: If ``flow`` has another type, or the data are not a tensor of a real type.
        ValueError: If the data have another shape, are fewer than two, or are not finite.

    Example:
        >>> from pyro_exact.distributions import Flow, StandardNormal
        >>> report = flow_report(Flow(StandardNormal(2), ActNorm(2).inv), torch.randn(100, 2))
        >>> report.verdict
        'Nothing unusual was found.'
    """
    jacobians = check_size("flow_report", "jacobians", jacobians)
    seed = check_seed("flow_report", seed)
    advice = "Repair them, or leave them out"
    check_finite("flow_report", "data", check_tensor("flow_report", "data", data), advice)
    bound = _to_noise(flow, data, context, seed)
    bijection, x, context = _unbound(*bound)
    if len(x) < 2:
        raise ValueError(f"flow_report expects at least 2 data; got {len(x)}. Pass more.")

    # In float32, as the flow is used.
    single = _copy(bijection, torch.float32)
    trace = FlowTrace(single)
    x_single = x.float()
    c_single = None if context is None else context.float()
    noise, ladj = trace.run(x_single, c_single)
    with torch.no_grad():
        back, _ = single.inverse_and_ladj(noise, c_single)

    # In float64, for the Jacobians, at some of the data.
    double = _copy(bijection, torch.float64)
    precise = FlowTrace(double)
    few = jacobians if x[0].numel() <= EXACT_DIM else min(jacobians, ESTIMATED)
    few = min(few, len(x))
    x_double = x[:few].double()
    c_double = None if context is None else context[:few].double()
    precise.run(x_double, c_double)

    pairs = zip(trace.calls, precise.calls, strict=True)
    layers = tuple(_layer(index, *calls, seed) for index, calls in enumerate(pairs, 1))
    whole = stretch(double, x_double, c_double, seed)
    return _of_flow(layers, x_single, back, noise, ladj, whole, few)


def _to_noise(
    flow: nn.Module,
    data: Tensor,
    context: Tensor | None,
    seed: int,
) -> tuple[Bijection, Tensor, Tensor | None]:
    """Return the bijection from data to noise, with the input and the context."""
    x = data.to(weight_of(flow).device)
    if context is not None:
        context = check_tensor("flow_report", "context", context).to(x.device)

    if isinstance(flow, GenerativeModel):
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            noise_map = flow.noise_map(x, context)
        if noise_map is not None:
            return noise_map.bijection, noise_map.x, noise_map.context

    if isinstance(flow, Flow):
        return flow.bijection.inv, x, context
    if isinstance(flow, Bijection):
        return flow, x, context
    raise TypeError(
        f"flow_report expects a Flow, a model of one, or a Bijection; got {type(flow).__name__}. "
        f"For a VAE, use diagnose."
    )


def _unbound(
    bijection: Bijection,
    x: Tensor,
    context: Tensor | None,
) -> tuple[Bijection, Tensor, Tensor | None]:
    """Return a bijection without the bound context, and a context for each datum."""
    inverted = isinstance(bijection, Inverse)
    inner = bijection.inv if inverted else bijection
    if isinstance(inner, Conditioned):
        context = inner.context.detach()
        inner = inner.bijection
        bijection = inner.inv if inverted else inner

    shape = bijection.context_shape
    if context is None or shape is None:
        return bijection, x, context
    event = context.shape[context.dim() - len(shape) :]
    return bijection, x, context.expand(len(x), *event)


def _copy(bijection: Bijection, dtype: torch.dtype) -> Bijection:
    """Return a copy in evaluation mode; contexts that carry a gradient are detached."""
    tensors = [*bijection.parameters(), *bijection.buffers()]
    known = {id(t): t.detach().clone() for t in tensors if not t.is_leaf}
    copied: Bijection = deepcopy(bijection, known).to(dtype).eval()
    return copied


def _layer(index: int, call: Call, precise: Call, seed: int) -> LayerReport:
    """Return the report on a layer using evaluations in float32 and in float64."""
    jacobian = None if call.container else _stretch(precise, seed)
    ranges = call.log_scales
    log_scales: tuple[float, float] | None
    if ranges:
        lowest = min(low for low, _ in ranges)
        highest = max(high for _, high in ranges)
        log_scales = (lowest, highest)
    else:
        log_scales = None if jacobian is None else (jacobian.least, jacobian.greatest)

    formulas = [part for part in call.part.children() if isinstance(part, Elementwise)]
    kinds = [type(call.part).__name__, *(type(formula).__name__ for formula in formulas)]
    made = _finite(call.x) & ~(_finite(call.y) & call.ladj.isfinite())
    return LayerReport(
        index=index,
        name=call.name,
        kind=" of ".join(kinds),
        parameters=sum(weight.numel() for weight in call.part.parameters()),
        log_scales=log_scales,
        saturation={limit: sum(shares) / len(shares) for limit, shares in call.saturation.items()},
        inverse_error=None if call.container else _inverse_error(call),
        condition=None if jacobian is None else jacobian.condition,
        exact=call.x[0].numel() <= EXACT_DIM,
        non_finite=int(made.sum()),
        bad_weights=first_non_finite_weight(call.part),
    )


def _stretch(call: Call, seed: int) -> Stretch | None:
    """Return the singular values of the Jacobian of a layer, when the inputs are finite."""
    rows = _finite(call.x)
    if not bool(rows.any()):
        return None

    context = call.context
    if context is not None and len(context.shape) > len(call.part.context_shape or ()):
        context = context[rows]
    return stretch(call.layer, call.x[rows], context, seed)


@torch.no_grad()
def _inverse_error(call: Call) -> float | None:
    back, _ = call.layer.inverse_and_ladj(call.y, call.context)
    return _error(back, call.x)


def _error(back: Tensor, x: Tensor) -> float | None:
    """Return the largest error of rows that are finite, in units of the spread of the data."""
    rows = _finite(x)
    if not bool(rows.any()):
        return None
    x = x[rows].double()
    back = back[rows].double()

    spread = (x - x.mean(0)).square().mean().sqrt()
    if spread == 0:
        spread = x.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    error = ((back - x).abs().max() / spread).item()
    return error if math.isfinite(error) else None


def _finite(x: Tensor) -> Tensor:
    """Return a mask of the data whose elements are all finite."""
    return x.flatten(1).isfinite().all(1)


def _of_flow(
    layers: tuple[LayerReport, ...],
    x: Tensor,
    back: Tensor,
    noise: Tensor,
    ladj: Tensor,
    whole: Stretch | None,
    jacobians: int,
) -> FlowReport:
    """Return the report on the flow as a whole, with the reports on the layers."""
    finite = _finite(noise) & ladj.isfinite()
    usable = noise[finite]
    return FlowReport(
        layers=layers,
        data=len(x),
        dim=x[0].numel(),
        inverse_error=_error(back, x),
        log_scales=None if whole is None else (whole.least, whole.greatest),
        condition=None if whole is None else whole.condition,
        exact=x[0].numel() <= EXACT_DIM,
        jacobians=jacobians,
        noise_rms=usable.square().mean().sqrt().item(),
        noise_largest=usable.abs().max().item() if len(usable) else math.nan,
        non_finite=int((~finite).sum()),
    )
