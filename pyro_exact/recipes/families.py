"""The models that a recipe can name, and what it can set of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal, NamedTuple, TypeVar

import torch

from pyro_exact import flows
from pyro_exact.autoregressive import (
    MADE,
    NADE,
    Autoregressive,
    CausalNet,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    GatedPixelCNN,
    PixelCNN,
    PixelCNNpp,
    RowLSTM,
    scans,
)
from pyro_exact.checks import shown
from pyro_exact.distributions import Flow, FlowDequantizer, StandardNormal
from pyro_exact.models import (
    Density,
    Dequantized,
    GenerativeModel,
    HierarchicalPixelVAE,
    OrderAgnostic,
    PixelVAE,
    iaf_vae,
)
from pyro_exact.recipes.check import arguments, nearest
from pyro_exact.recipes.vae import conv_vae, vae
from pyro_exact.transforms import Bijection

Net = TypeVar("Net", bound=CausalNet)


def _dequantized(builder: Callable[..., Bijection]) -> Callable[..., GenerativeModel]:
    """Return a function that builds a model of images from a flow's builder, with uniform or learned noise."""

    def build(
        shape: tuple[int, int, int],
        levels: int,
        noise: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> GenerativeModel:
        flow = Flow(StandardNormal(prod(shape)), builder(shape, levels=levels, **settings).inv)
        if noise is None:
            return Dequantized(flow, levels)
        return Dequantized(
            flow, levels, FlowDequantizer(flows.flow_pp_dequantizer(shape, levels, **noise))
        )

    return build


def _nade(shape: tuple[int, int, int], levels: int, width: int = 500) -> GenerativeModel:
    return Density(Autoregressive(_of_bits(NADE(shape, width), levels)))


def _made(
    shape: tuple[int, int, int],
    levels: int,
    hidden_dims: Sequence[int] = (500,),
    masks: int = 1,
    order: Literal["scans"] | None = None,
    seed: int = 0,
    dropout: float = 0.0,
) -> GenerativeModel:
    net = MADE(
        shape, hidden_dims, masks, scans(shape)[:masks] if order else None, seed, dropout=dropout
    )
    return Density(Autoregressive(_of_bits(net, levels)))


def _deep_nade(
    shape: tuple[int, int, int],
    levels: int,
    hidden_dims: Sequence[int] = (500, 500),
    orders: int = 1,
    seed: int = 0,
    dropout: float = 0.0,
) -> GenerativeModel:
    return OrderAgnostic(_of_bits(DeepNADE(shape, hidden_dims, orders, seed, dropout), levels))


def _conv_nade(
    shape: tuple[int, int, int],
    levels: int,
    width: int = 64,
    kernels: Sequence[int] = (8, 4, 6, 7),
    hidden_dims: Sequence[int] = (500, 500),
    orders: int = 1,
    seed: int = 0,
) -> GenerativeModel:
    return OrderAgnostic(
        _of_bits(ConvNADE(shape, width, kernels, hidden_dims, orders, seed), levels)
    )


def _of_bits(net: Net, levels: int) -> Net:
    if levels != 2:
        raise ValueError(
            f"{type(net).__name__} expects images of 2 levels, 0 and 1; got {levels}. Use binarized_mnist, or binarise "
            f"the images."
        )
    return net


def _pixels(net: Callable[..., CausalNet]) -> Callable[..., GenerativeModel]:
    """Return a function that builds a model of images from a network; its context, if it has one, is the class."""

    def build(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
        made = net(shape, levels, **settings)
        if made.context_shape is None:
            return Density(Autoregressive(made))
        if len(made.context_shape) > 1:
            raise ValueError(
                f"A recipe expects a context_shape that is a number of classes; got "
                f"{made.context_shape}. Build a network with a context map in Python."
            )
        first_class = torch.zeros(made.context_shape)
        first_class[0] = 1
        return Density(Autoregressive(made, first_class))

    return build


class Family(NamedTuple):
    """A kind of model that recipes can name: how to build it, and the function whose arguments are its settings.

    One that is ``dequantized`` has the setting ``noise`` too: the arguments of
    `flows.flow_pp_dequantizer`.
    """

    build: Callable[..., GenerativeModel]
    settings: Callable[..., object]
    dequantized: bool = False


MODELS = {
    "conv_nade": Family(_conv_nade, _conv_nade),
    "conv_vae": Family(conv_vae, conv_vae),
    "deep_nade": Family(_deep_nade, _deep_nade),
    "diagonal_bilstm": Family(_pixels(DiagonalBiLSTM), DiagonalBiLSTM),
    "flow_pp": Family(_dequantized(flows.flow_pp), flows.flow_pp, dequantized=True),
    "gated_pixel_cnn": Family(_pixels(GatedPixelCNN), GatedPixelCNN),
    "glow": Family(_dequantized(flows.glow), flows.glow, dequantized=True),
    "hierarchical_pixel_vae": Family(HierarchicalPixelVAE, HierarchicalPixelVAE),
    "iaf_vae": Family(iaf_vae, iaf_vae),
    "made": Family(_made, _made),
    "nade": Family(_nade, _nade),
    "nice": Family(_dequantized(flows.image_nice), flows.image_nice, dequantized=True),
    "pixel_cnn": Family(_pixels(PixelCNN), PixelCNN),
    "pixel_cnn_pp": Family(_pixels(PixelCNNpp), PixelCNNpp),
    "pixel_vae": Family(PixelVAE, PixelVAE),
    "real_nvp": Family(_dequantized(flows.image_real_nvp), flows.image_real_nvp, dequantized=True),
    "row_lstm": Family(_pixels(RowLSTM), RowLSTM),
    "tarflow": Family(_dequantized(flows.tarflow), flows.tarflow, dequantized=True),
    "vae": Family(vae, vae),
}
PROVIDED = (
    "shape",
    "levels",
    "likelihood",
    "elementwise",
)  # parameters of the builders that are not for a recipe to set


def settings(model: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a model as keyword arguments of its builder.

    Args:
        model: ``{"name": ..., setting: value, ...}``.
        source: What to call it in an error.

    Raises:
        ValueError: On an unknown model, or a setting that is unknown, missing or of another type.
    """
    name = model.get("name")
    if not isinstance(name, str) or name not in MODELS:
        hint = nearest(str(name), MODELS) if isinstance(name, str) else ""
        raise ValueError(
            f"{source}: name expects one of {', '.join(MODELS)}; got {shown(name)}.{hint} Choose one."
        )

    family = MODELS[name]
    given = {key: value for key, value in model.items() if key != "name"}

    noise = given.pop("noise", None) if family.dequantized else None
    checked = arguments(family.settings, given, source, leave_out=PROVIDED)
    if noise is not None:
        checked["noise"] = arguments(
            flows.flow_pp_dequantizer, noise, f"{source}: noise", leave_out=PROVIDED
        )
    return checked


def filled(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model with the default of each setting that it does not have."""
    family = MODELS[model["name"]]
    full = (
        _defaults(family.settings) | ({"noise": None} if family.dequantized else {}) | dict(model)
    )
    if full.get("noise") is not None:
        full["noise"] = _defaults(flows.flow_pp_dequantizer) | full["noise"]
    return {"name": model["name"], **full}


def _defaults(function: Callable[..., object]) -> dict[str, Any]:
    """Return the settings that a function has where a recipe gives none."""
    parameters = inspect.signature(function).parameters.items()
    return {name: p.default for name, p in parameters if name not in PROVIDED}
