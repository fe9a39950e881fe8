"""A recipe: a paper's model, its settings and its number, in one YAML file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, NamedTuple, TypeVar

import torch

from pyro_exact import flows
from pyro_exact.autoregressive import (
    MADE,
    NADE,
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
from pyro_exact.checks import LARGEST_SIZE, check_size, check_sizes, shown
from pyro_exact.distributions import Autoregressive, Flow, FlowDequantizer, StandardNormal
from pyro_exact.flows.real_nvp import image_real_nvp
from pyro_exact.models import (
    Density,
    Dequantized,
    GenerativeModel,
    HierarchicalPixelVAE,
    OrderAgnostic,
    PixelVAE,
    iaf_vae,
)
from pyro_exact.recipes.allowance import LARGEST_MODEL, Limits, build_within, is_out_of_memory
from pyro_exact.recipes.check import arguments, check_name, nearest
from pyro_exact.recipes.plain import plain
from pyro_exact.recipes.training import Training
from pyro_exact.recipes.vae import conv_vae, vae
from pyro_exact.transforms import Bijection

Unit = Literal["bits/dim", "nats"]
Net = TypeVar("Net", bound=CausalNet)
LARGEST_IMAGE = 2**22  # numbers of one image: a larger one is a mistake, or an attack
MOST_LEVELS = 2**16


@dataclass(frozen=True)
class Paper:
    """Where a recipe comes from, and the number to compare with.

    Attributes:
        reference: Authors, year, title, table.
        value: The paper's number on the test set; `None` where it gives none.
        unit: ``"bits/dim"`` or ``"nats"``.
        budget: What the paper's number took.
    """

    reference: str
    value: float | None = None
    unit: Unit = "bits/dim"
    budget: str = ""


def _dequantized(builder: Callable[..., Bijection]) -> Callable[..., GenerativeModel]:
    """Return a function that builds a model of images from a flow's builder, with uniform or learned noise."""

    def build(
        shape: tuple[int, int, int], levels: int, noise: Mapping[str, Any] | None = None, **settings: Any
    ) -> GenerativeModel:
        flow = Flow(StandardNormal(prod(shape)), builder(shape, levels=levels, **settings).inv)
        if noise is None:
            return Dequantized(flow, levels)
        return Dequantized(flow, levels, FlowDequantizer(flows.flow_pp_dequantizer(shape, levels, **noise)))

    return build


def _nade(shape: tuple[int, int, int], levels: int, hidden: int = 500) -> GenerativeModel:
    return Density(Autoregressive(_of_bits(NADE(shape, hidden), levels)))


def _made(
    shape: tuple[int, int, int],
    levels: int,
    hidden: int = 500,
    layers: int = 1,
    masks: int = 1,
    order: Literal["scans"] | None = None,
    seed: int = 0,
    dropout: float = 0.0,
) -> GenerativeModel:
    net = MADE(shape, hidden, layers, masks, scans(shape)[:masks] if order else None, seed, dropout=dropout)
    return Density(Autoregressive(_of_bits(net, levels)))


def _deep_nade(
    shape: tuple[int, int, int],
    levels: int,
    hidden: int = 500,
    layers: int = 2,
    orders: int = 1,
    seed: int = 0,
    dropout: float = 0.0,
) -> GenerativeModel:
    return OrderAgnostic(_of_bits(DeepNADE(shape, hidden, layers, orders, seed, dropout), levels))


def _conv_nade(
    shape: tuple[int, int, int],
    levels: int,
    channels: int = 64,
    kernels: Sequence[int] = (8, 4, 6, 7),
    hidden: int = 500,
    layers: int = 2,
    orders: int = 1,
    seed: int = 0,
) -> GenerativeModel:
    return OrderAgnostic(_of_bits(ConvNADE(shape, channels, kernels, hidden, layers, orders, seed), levels))


def _of_bits(net: Net, levels: int) -> Net:
    if levels != 2:
        raise ValueError(
            f"{type(net).__name__} expects images of 2 levels, 0 and 1; got {levels}. Use binarized_mnist, or binarise "
            f"the images."
        )
    return net


def _pixels(net: Callable[..., CausalNet]) -> Callable[..., GenerativeModel]:
    """Return a function that builds a model of images from a network; its context, if it has one, is the class."""

    def build(shape: tuple[int, int, int], levels: int, context: int | None = None, **settings: Any) -> GenerativeModel:
        if context is None:
            return Density(Autoregressive(net(shape, levels, **settings)))
        return Density(Autoregressive(net(shape, levels, context=context, **settings), torch.eye(context)[0]))

    return build


class Family(NamedTuple):
    """A kind of model that recipes can name: how to build it, and the function whose arguments are its settings.

    One that is ``dequantized`` has the setting ``noise`` too: the arguments of `flows.flow_pp_dequantizer`.
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
    "nice": Family(_dequantized(flows.nice), flows.nice, dequantized=True),
    "pixel_cnn": Family(_pixels(PixelCNN), PixelCNN),
    "pixel_cnn_pp": Family(_pixels(PixelCNNpp), PixelCNNpp),
    "pixel_vae": Family(PixelVAE, PixelVAE),
    "real_nvp": Family(_dequantized(image_real_nvp), image_real_nvp, dequantized=True),
    "row_lstm": Family(_pixels(RowLSTM), RowLSTM),
    "vae": Family(vae, vae),
}
PROVIDED = ("shape", "levels", "likelihood")  # parameters of the builders that are not for a recipe to set


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained: all that a checkpoint needs to rebuild it.

    Attributes:
        name: Name of the recipe.
        model: ``{"name": ..., setting: value, ...}``; the name is one of `MODELS`, the settings are the arguments of
            its builder. A recipe names no other code, so one from an unknown source can do no harm. Of a flow,
            ``noise`` holds settings of `flows.flow_pp_dequantizer`; none is uniform noise. A flow that has a
            ``context_dim`` is class-conditional with as many classes.
        data: Name of the data set the recipe was made for.
        training: See `Training`.
        paper: See `Paper`.
    """

    name: str
    model: Mapping[str, Any]
    data: str
    training: Training = field(default_factory=Training)
    paper: Paper | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "a recipe")
        self._settings()

    @classmethod
    def from_dict(cls, values: object, source: str) -> Recipe:
        """Check plain values, and make a recipe of them.

        Args:
            values: As read from YAML, or from a checkpoint.
            source: What to call them in an error.

        Raises:
            ValueError: On an unknown, missing or ill-typed key, with the nearest known name.
        """
        return cls(**arguments(cls, plain(values, source), source))

    def changed(self, model: Mapping[str, Any], training: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other settings where they are given; raise ValueError as `from_dict`."""
        values = self.to_dict()
        values["model"] |= model
        values["training"] |= training
        return Recipe.from_dict(values, f"recipe {self.name}")

    def filled(self) -> Recipe:
        """Return the recipe with the defaults of its model written out, which later versions may change."""
        family = MODELS[self.model["name"]]
        model = _defaults(family.settings) | ({"noise": None} if family.dequantized else {}) | dict(self.model)
        if model.get("noise") is not None:
            model["noise"] = _defaults(flows.flow_pp_dequantizer) | model["noise"]
        return dataclasses.replace(self, model={"name": self.model["name"], **model})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for YAML, JSON or a checkpoint."""
        values = dataclasses.asdict(self)
        values["training"]["betas"] = list(self.training.betas)
        return values

    def build(
        self,
        shape: tuple[int, int, int],
        levels: int,
        limits: Limits = LARGEST_MODEL,
        check: Callable[[GenerativeModel], object] = lambda model: None,
    ) -> GenerativeModel:
        """Return the model for images of ``shape`` (C, H, W) with that many pixel levels.

        Args:
            shape: Of one image.
            levels: Number of pixel levels.
            limits: What building it may take.
            check: Called with the model before its weights have memory, to refuse it by their shapes.

        Raises:
            ValueError: If the model does not fit that shape, or takes more than it may, before it does.
        """
        source = f"recipe {self.name}"
        shape = check_image(shape, levels, source)
        build, settings = MODELS[self.model["name"]].build, self._settings()
        try:
            return build_within(lambda: build(shape, levels, **settings), source, limits, check)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            if is_out_of_memory(error):
                raise
            # A builder checks its arguments one by one, and not whatever torch has against all of them together.
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{source} does not build a model of images of shape {shape}: {reason}. Change its settings."
            ) from error

    def _settings(self) -> dict[str, Any]:
        source = f"recipe {self.name}: model"
        name = self.model.get("name")
        if not isinstance(name, str) or name not in MODELS:
            hint = nearest(str(name), MODELS) if isinstance(name, str) else ""
            raise ValueError(f"{source}: name expects one of {', '.join(MODELS)}; got {shown(name)}.{hint}")
        family = MODELS[name]
        settings = {key: value for key, value in self.model.items() if key != "name"}
        for key, value in settings.items():
            if isinstance(value, int) and abs(value) > LARGEST_SIZE and key != "seed":
                raise ValueError(f"{source}: {key} expects at most {LARGEST_SIZE}; got {shown(value)}. Lower it.")
        noise = settings.pop("noise", None) if family.dequantized else None
        checked = arguments(family.settings, settings, source, leave_out=PROVIDED)
        if noise is not None:
            checked["noise"] = arguments(flows.flow_pp_dequantizer, noise, f"{source}: noise", leave_out=PROVIDED)
        return checked


def _defaults(function: Callable[..., object]) -> dict[str, Any]:
    """Return the settings that a function has where a recipe gives none."""
    parameters = inspect.signature(function).parameters.items()
    return {name: p.default for name, p in parameters if name not in PROVIDED}


def check_image(shape: object, levels: object, source: str) -> tuple[int, int, int]:
    """Return the shape of an image, if it and the number of its levels are possible; raise ValueError if not."""
    channels, height, width = check_sizes(source, "shape", shape, length=3)
    check_size(source, "levels", levels, least=2, most=MOST_LEVELS)
    if channels * height * width > LARGEST_IMAGE:
        raise ValueError(
            f"{source} expects images of at most {LARGEST_IMAGE} numbers; got {channels} x {height} x {width}. Scale "
            f"them down."
        )
    return channels, height, width
