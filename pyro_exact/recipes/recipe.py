"""A recipe: a paper's model, its settings and its number, in one YAML file."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any, Literal

import yaml

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models import Dequantized, GenerativeModel

Unit = Literal["bits/dim", "nats"]


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
class Training:
    """How a model is trained.

    Attributes:
        steps: Optimiser steps at most.
        minutes: Wall time at most; `None` for no limit. The learning rate decays by whichever budget is nearer its end.
        batch_size: Images per step and device.
        optimizer: One optimiser for all parameters, fused where torch has that.
        learning_rate: Its peak.
        betas: Decay rates of the moments.
        weight_decay: As the optimiser defines it.
        warmup_steps: Steps of linear warm-up.
        decay: What follows the warm-up: a constant rate, or a cosine down to zero at the end of the budget.
        gradient_clip: Largest norm of the gradient of all parameters; `None` for no limit.
        ema_decay: Decay of the exponential moving average of the weights that is evaluated; `None` for none.
        precision: ``"bf16"`` runs the networks under autocast; the flow itself stays in float32.
        initial_images: Number of training images for the data-dependent initialisation.
        flip: Whether to mirror training images at random.
        validate_every: Steps between two looks at the validation split, and between two checkpoints.
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
    initial_images: int = 256
    flip: bool = False
    validate_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "validate_every", "initial_images"):
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name} expects a positive number; got {getattr(self, name)}.")
        for name in ("minutes", "gradient_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"training.{name} expects a positive number or null; got {value}.")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"training.ema_decay expects a number in [0, 1) or null; got {self.ema_decay}.")
        if self.warmup_steps < 0:
            raise ValueError(f"training.warmup_steps expects 0 or more; got {self.warmup_steps}.")


def _glow(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
    return Dequantized(Flow(StandardNormal(prod(shape)), flows.glow(shape, levels, **settings).inv), levels)


class Family(typing.NamedTuple):
    """A kind of model that recipes can name: how to build it, and the function whose arguments are its settings."""

    build: typing.Callable[..., GenerativeModel]
    settings: typing.Callable[..., object]


MODELS = {"glow": Family(_glow, flows.glow)}


@dataclass(frozen=True)
class Recipe:
    """A model and how it is trained: all that a checkpoint needs to rebuild it.

    Attributes:
        name: Name of the recipe.
        model: ``{"name": ..., setting: value, ...}``; the name is one of `MODELS`, the settings are the arguments of
            its builder. A recipe names no other code, so one from an unknown source can do no harm.
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
    def from_dict(cls, values: Mapping[str, Any], source: str) -> Recipe:
        """Check plain values, and make a recipe of them.

        Args:
            values: As read from YAML, or from a checkpoint.
            source: What to call them in an error.

        Raises:
            ValueError: On an unknown, missing or ill-typed key, with the nearest known name.
        """
        values = dict(_mapping(values, source))
        _known_keys(values, (f.name for f in dataclasses.fields(cls)), source)
        missing = {"name", "model", "data"} - values.keys()
        if missing:
            raise ValueError(f"{source} lacks {', '.join(sorted(missing))}. Add it; `pyro-exact recipes` shows examples.")
        values["training"] = checked(Training, values.get("training") or {}, f"{source}, training")
        paper = values.get("paper")
        values["paper"] = None if paper is None else checked(Paper, paper, f"{source}, paper")
        values["model"] = dict(_mapping(values["model"], f"{source}, model"))
        return cls(**values)

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
        source = f"recipe {self.name}, model"
        name = self.model.get("name")
        if name not in MODELS:
            raise ValueError(f"{source} expects a name among {sorted(MODELS)}; got {name!r}.{nearest(str(name), MODELS)}")
        settings = {key: value for key, value in self.model.items() if key != "name"}
        function = MODELS[name].settings
        return checked_arguments(function, settings, source, leave_out=("shape", "levels"))


def load_recipe(name: str) -> Recipe:
    """Read a recipe that ships with the library, or a YAML file.

    Args:
        name: A name that `recipe_names` returns, or the path of a YAML file.

    Raises:
        ValueError: If there is no such recipe, with the nearest known name, or if the file is not right.
    """
    if name in recipe_names():
        text = resources.files(__package__).joinpath(f"{name}.yaml").read_text()
    elif Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ValueError(f"There is no recipe file {name}. Check the path; `pyro-exact recipes` lists our own.")
        text = Path(name).read_text()
    else:
        raise ValueError(
            f"There is no recipe {name!r}.{nearest(name, recipe_names())} "
            f"Pass one of {', '.join(recipe_names())}, or the path of a .yaml file."
        )
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"Recipe {name} is not valid YAML: {error}") from error
    values = dict(_mapping(values, f"recipe {name}"))
    return Recipe.from_dict({"name": Path(name).stem, **values}, f"recipe {name}")


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the library."""
    files = (Path(str(entry)) for entry in resources.files(__package__).iterdir())
    return sorted(path.stem for path in files if path.suffix == ".yaml")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


def checked(cls: type[Any], values: Mapping[str, Any], source: str) -> Any:
    """Return an instance of a dataclass from plain values of the right names and types."""
    return cls(**checked_arguments(cls, values, source))


def checked_arguments(
    function: typing.Callable[..., object], values: Mapping[str, Any], source: str, leave_out: Iterable[str] = ()
) -> dict[str, Any]:
    """Return ``values`` as keyword arguments of ``function``, each checked against its annotation."""
    known = [name for name in inspect.signature(function).parameters if name not in set(leave_out)]
    _known_keys(_mapping(values, source), known, source)
    hints = typing.get_type_hints(function.__init__ if isinstance(function, type) else function)
    return {key: _typed(value, hints[key], f"{source}.{key}") for key, value in values.items()}


def _typed(value: Any, hint: Any, source: str) -> Any:
    """Return the value as the annotated type, or say what was expected."""
    for option in typing.get_args(hint) if _is_union(hint) else (hint,):
        if option is type(None) and value is None:
            return None
        if typing.get_origin(option) is Literal and value in typing.get_args(option):
            return value
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if option in (int, str, bool) and type(value) is option:
            return value
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            parts = typing.get_args(option)
            if len(value) == len(parts):
                return tuple(_typed(v, part, source) for v, part in zip(value, parts, strict=True))
    expected = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")
    raise ValueError(f"{source} expects {expected}; got {value!r}.")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union or type(hint).__name__ == "UnionType"


def _mapping(values: Any, source: str) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{source} expects keys with values; got {type(values).__name__}.")
    return values


def _known_keys(values: Mapping[str, Any], known: Iterable[str], source: str) -> None:
    known = list(known)
    for key in values:
        if key not in known:
            raise ValueError(f"{source} has an unknown key {key!r}.{nearest(str(key), known)} Known: {', '.join(known)}.")
