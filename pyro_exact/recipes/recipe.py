"""A recipe: a paper's model, its settings and its number, in one YAML file."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
import yaml

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
from pyro_exact.recipes.check import arguments, nearest
from pyro_exact.recipes.vae import conv_vae, vae
from pyro_exact.transforms import Bijection

Unit = Literal["bits/dim", "nats"]
Net = TypeVar("Net", bound=CausalNet)


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


@dataclass(frozen=True)
class Elbo:
    """What the training loss is on its way to the ELBO; without any settings it is the ELBO itself.

    Attributes:
        anneal: ``"energy"`` or ``"kl"``, whose weight is to rise from ``start``; see `pyro_exact.train.AnnealedELBO`.
        start: The weight at first.
        steps: Steps in which the weight would rise by one.
        free_nats: Nats of each latent that cost nothing; see `pyro_exact.train.FreeBitsELBO`.
        per: What has them, each ``"site"`` or each ``"channel"`` of one.
    """

    anneal: Literal["energy", "kl"] | None = None
    start: float = 0.01
    steps: int = 10_000
    free_nats: float = 0.0
    per: Literal["site", "channel"] = "site"

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1 or self.steps < 1 or self.free_nats < 0:
            raise ValueError(
                f"training.elbo expects start in [0, 1], positive steps and free_nats of at least 0; got {self.start}, "
                f"{self.steps} and {self.free_nats}."
            )
        if self.anneal is not None and self.free_nats:
            raise ValueError("training.elbo expects anneal or free_nats; got both. Choose one.")


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        steps: Optimiser steps at most.
        minutes: Time at most; `None` for no limit. On a CPU it is the time that the training thread computes, whatever
            else the machine does; on a GPU it is wall time. The learning rate decays by whichever budget is nearer its
            end.
        batch_size: Images per step; several processes share them evenly.
        optimizer: One optimiser for all parameters, fused where torch has that.
        learning_rate: Its peak.
        betas: Decay rates of the moments.
        weight_decay: As the optimiser defines it.
        warmup_steps: Steps of linear warm-up.
        decay: What follows the warm-up: a constant rate, or a cosine down to zero at the end of the budget.
        gradient_clip: Largest norm of the gradient of all parameters; `None` for no limit.
        ema_decay: Decay of the exponential moving average of the weights that is evaluated; `None` for none.
        precision: ``"bf16"`` runs the networks under autocast; the flow itself stays in float32.
        matmul_precision: Of float32 matrix products while it trains, as `torch.set_float32_matmul_precision` has it:
            with ``"high"`` or ``"medium"`` GPUs use their fast units (TF32), and some CPUs a faster library.
        initial_images: Number of training images for the data-dependent initialisation.
        flip: Whether to mirror training images at random.
        validate_every: Steps between two looks at the validation split, and between two checkpoints.
        validate_on: Number of validation images that such a look scores, at most, and a run at its end; `None` for all.
        elbo: See `Elbo`.
    """

    steps: int = 1000
    minutes: float | None = None
    batch_size: int = 64
    optimizer: Literal["adam", "adamw", "adamax"] = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    gradient_clip: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    initial_images: int = 256
    flip: bool = False
    validate_every: int = 500
    validate_on: int | None = 1000
    elbo: Elbo = field(default_factory=Elbo)

    def __post_init__(self) -> None:
        positive = ("steps", "minutes", "batch_size", "learning_rate", "gradient_clip", "initial_images")
        self._expect((*positive, "validate_every", "validate_on"), lambda n: n > 0, "a positive number")
        self._expect(("warmup_steps", "weight_decay"), lambda n: n >= 0, "0 or more")
        self._expect(("ema_decay",), lambda n: 0 <= n < 1, "a number in [0, 1)")
        self._expect(("betas",), lambda pair: all(0 <= n < 1 for n in pair), "numbers in [0, 1)")

    def _expect(self, names: Iterable[str], holds: Callable[[Any], bool], expected: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(f"training.{name} expects {expected}; got {value}.")


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
        return cls(**arguments(cls, values, source))

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

    def build(self, shape: tuple[int, int, int], levels: int) -> GenerativeModel:
        """Return the model for images of ``shape`` (C, H, W) with that many pixel levels.

        Raises:
            ValueError: If the model does not fit that shape.
        """
        return MODELS[self.model["name"]].build(shape, levels, **self._settings())

    def _settings(self) -> dict[str, Any]:
        source = f"recipe {self.name}: model"
        name = str(self.model.get("name"))
        if name not in MODELS:
            raise ValueError(f"{source}: name expects one of {', '.join(MODELS)}; got {name!r}.{nearest(name, MODELS)}")
        family = MODELS[name]
        settings = {key: value for key, value in self.model.items() if key != "name"}
        noise = settings.pop("noise", None) if family.dequantized else None
        checked = arguments(family.settings, settings, source, leave_out=PROVIDED)
        if noise is not None:
            checked["noise"] = arguments(flows.flow_pp_dequantizer, noise, f"{source}: noise", leave_out=PROVIDED)
        return checked


def _defaults(function: Callable[..., object]) -> dict[str, Any]:
    """Return the settings that a function has where a recipe gives none."""
    parameters = inspect.signature(function).parameters.items()
    return {name: p.default for name, p in parameters if name not in PROVIDED}


def load_recipe(name: str) -> Recipe:
    """Read a recipe that ships with the library, or a YAML file.

    Args:
        name: A name that `recipe_names` returns, or the path of a YAML file.

    Raises:
        ValueError: If there is no such recipe, with the nearest known name, or if the file is not right.
    """
    if name in recipe_names():
        text = resources.files(__package__).joinpath(f"{name}.yaml").read_bytes()
    elif Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ValueError(f"There is no recipe file {name}. Check the path; `pyro-exact recipes` lists our own.")
        text = Path(name).read_bytes()
    else:
        raise ValueError(
            f"There is no recipe {name!r}.{nearest(name, recipe_names())} "
            f"Pass one of {', '.join(recipe_names())}, or the path of a .yaml file."
        )
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"Recipe {name} is not valid YAML: {error}") from error
    named = {"name": Path(name).stem, **values} if isinstance(values, dict) else values
    return Recipe.from_dict(named, f"recipe {name}")


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the library."""
    files = (Path(str(entry)) for entry in resources.files(__package__).iterdir())
    return sorted(path.stem for path in files if path.suffix == ".yaml")
