"""Entries of the table of models: each builds a model of images using a builder or a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import torch

from pyro_exact.autoregressive import Autoregressive, CausalNet, OrderAgnosticNet
from pyro_exact.checks import printable, shown
from pyro_exact.data import Column, Dataset
from pyro_exact.data.table import Table
from pyro_exact.distributions import DiscreteFlow, Flow, FlowDequantizer, StandardNormal
from pyro_exact.flows import flow_pp_dequantizer
from pyro_exact.likelihoods import LIKELIHOODS, make_likelihood
from pyro_exact.models import Density, Dequantized, GenerativeModel, OrderAgnostic
from pyro_exact.recipes.parsing import closest_match, parse_kwargs
from pyro_exact.transforms import Bijection

# Arguments of a likelihood that the data determine, with values that every likelihood takes.
OF_DATA = {"channels": 1, "levels": 2}

COLUMNS = "columns"  # the setting of a model that holds the columns of a table
MOST_COLUMNS = 2**16

Build = Callable[..., GenerativeModel]
Net = TypeVar("Net", bound=CausalNet)


@dataclass(frozen=True)
class ModelEntry:
    """A model that a recipe can name.

    Attributes:
        build: Returns the model; this function takes the shape of an image, the levels, and the
            settings as keyword arguments.
        signature: The function or class whose parameters are the settings.
        provided: Parameters of ``signature`` that a recipe cannot set.
        nested: Settings that are mappings themselves, each with the corresponding function; the
            default is `None`.
        likelihood: If true, the setting ``likelihood`` is a name or a mapping; see
            `pyro_exact.likelihoods.make_likelihood`.
        sums_out_missing: If true, the model takes data with missing values, which are NaN.
    """

    build: Build
    signature: Callable[..., object]
    provided: tuple[str, ...] = ("shape", "levels")
    nested: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    likelihood: bool = False
    sums_out_missing: bool = False

    def parse(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return settings as keyword arguments of `build`.

        Args:
            values: Names and plain values.
            source: Name of the values in an error.

        Raises:
            ValueError: If a setting is unknown, missing, or of another type.
        """
        values = self._with_classes(values, source)
        columns_from(values, source)  # of the table that a network is for, which it does not use
        apart = {COLUMNS, *self.nested, *(("likelihood",) if self.likelihood else ())}
        own = {name: value for name, value in values.items() if name not in apart}
        settings = parse_kwargs(self.signature, own, source, leave_out=self.provided)
        if self.likelihood and values.get("likelihood") is not None:
            settings["likelihood"] = _likelihood(values["likelihood"], source)

        for name, function in self.nested.items():
            inner = values.get(name)
            if inner is not None:
                settings[name] = parse_kwargs(
                    function, inner, f"{source}: {name}", leave_out=self.provided
                )
        return settings

    @property
    def context_setting(self) -> str | None:
        """The setting that is the number of classes; `None` for a model without classes."""
        parameters = inspect.signature(self.signature).parameters
        settable = [name for name in ("context_dim", "context_shape") if name in parameters]
        return settable[0] if settable else None

    def with_defaults(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings together with the defaults of missing settings."""
        full = self._defaults(self.signature) | dict.fromkeys(self.nested)
        if self.likelihood:
            full["likelihood"] = None
        full |= settings

        for name, function in self.nested.items():
            if full[name] is not None:
                full[name] = self._defaults(function) | full[name]
        return full

    def _with_classes(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return settings without ``classes: auto``, which `Recipe.for_classes` replaces."""
        if "classes" not in values:
            return dict(values)

        if values["classes"] != "auto" or self.context_setting is None:
            able = "auto" if self.context_setting else "no classes, because it is not conditional"
            raise ValueError(
                f"{source}: classes expects {able}; got {shown(values['classes'])}. Leave it out, "
                f"or set {self.context_setting or 'another model'}."
            )
        return {name: value for name, value in values.items() if name != "classes"}

    def settings_from(self, data: Dataset) -> dict[str, Any]:
        """Return the settings that follow from the data: the columns of a table.

        A checkpoint holds them, so that other tables are read in the same way.

        Args:
            data: The data set.

        Raises:
            ValueError: If values are missing, and the model cannot sum them out.
        """
        if not self.sums_out_missing:
            check_complete(data)
        if not isinstance(data, Table):
            return {}
        return {COLUMNS: [column.to_dict() for column in data.columns]}

    def _defaults(self, function: Callable[..., object]) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters
        return {name: p.default for name, p in parameters.items() if name not in self.provided}


def columns_from(values: Mapping[str, Any], source: str) -> list[Column] | None:
    """Return the columns among the settings of a model; `None` if there are none."""
    columns = values.get(COLUMNS)
    if columns is None:
        return None

    if not isinstance(columns, Sequence) or not 0 < len(columns) <= MOST_COLUMNS:
        raise ValueError(
            f"{source}: columns expects a list of columns; got {shown(columns)}. Write one."
        )
    return [
        Column(**parse_kwargs(Column, column, f"{source}: columns: {index}"))
        for index, column in enumerate(columns)
    ]


def check_complete(data: Dataset) -> None:
    """Raise ValueError if values of a table are missing; the message counts them by column."""
    if isinstance(data, Table) and data.missing:
        counts = ", ".join(f"{name} {count}" for name, count in data.missing.items())
        raise ValueError(
            f"{data.name} expects no missing values for this model; got missing values in columns: "
            f"{printable(counts)}. Fill them in or leave these rows or columns out; deep_nade and "
            f"conv_nade sum them out, for columns of integers and categories."
        )


def builder(build: Build, likelihood: bool = False) -> ModelEntry:
    """Return the entry of a function that builds a model itself.

    Args:
        build: The function.
        likelihood: As in `ModelEntry`.
    """
    provided = ("shape", "levels", "likelihood") if likelihood else ("shape", "levels")
    return ModelEntry(build, build, provided, likelihood=likelihood)


def dequantized(flow: Callable[..., Bijection]) -> ModelEntry:
    """Return the entry of a flow of images, using uniform noise, or learned noise as ``noise``."""

    def build(
        shape: tuple[int, int, int],
        levels: int,
        noise: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> GenerativeModel:
        bijection = flow(shape, levels=levels, **settings)
        distribution = Flow(StandardNormal(prod(shape)), bijection.inv)
        if noise is None:
            return Dequantized(distribution, levels)

        dequantizer = FlowDequantizer(flow_pp_dequantizer(shape, levels, **noise))
        return Dequantized(distribution, levels, dequantizer)

    provided = "shape", "levels", "elementwise"
    return ModelEntry(build, flow, provided, nested={"noise": flow_pp_dequantizer})


def discrete(flow: Callable[..., DiscreteFlow]) -> ModelEntry:
    """Return the entry of a builder of integer flows."""

    def build(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
        return Density(flow(shape, levels=levels, **settings))

    return ModelEntry(build, flow)


def autoregressive(
    net: Callable[..., CausalNet], signature: Callable[..., object] | None = None
) -> ModelEntry:
    """Return the entry of a causal network; an optional context is a one-hot class.

    Args:
        net: A class, or a function that returns a network.
        signature: The function whose parameters are the settings, if not ``net``.
    """

    def build(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
        built = build_net(net, shape, levels, settings)
        if built.context_shape is None:
            return Density(Autoregressive(built))

        if len(built.context_shape) > 1:
            raise ValueError(
                "A recipe expects a context_shape that is a number of classes; got "
                f"{built.context_shape}. Build a network with a context map in Python."
            )
        first_class = torch.zeros(built.context_shape)
        first_class[0] = 1
        return Density(Autoregressive(built, first_class))

    settable = "likelihood" in inspect.signature(net).parameters
    provided = ("shape", "levels", "likelihood")
    return ModelEntry(build, signature or net, provided, likelihood=settable)


def order_agnostic(net: Callable[..., OrderAgnosticNet]) -> ModelEntry:
    """Return the entry of a network that is trained for all orders of the sites."""

    def build(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
        return OrderAgnostic(build_net(net, shape, levels, settings))

    return ModelEntry(
        build, net, ("shape", "levels", "likelihood"), likelihood=True, sums_out_missing=True
    )


def build_net(
    net: Callable[..., Net], shape: tuple[int, int, int], levels: int, settings: Mapping[str, Any]
) -> Net:
    """Return a network of images; a network without ``levels`` is for bits by default.

    Raises:
        ValueError: If a network of bits is given more than two levels.
    """
    if "levels" in inspect.signature(net).parameters:
        return net(shape, levels=levels, **settings)

    if "likelihood" in settings:
        likelihood = make_likelihood(settings["likelihood"], levels=levels)
        return net(shape, **{**settings, "likelihood": likelihood})

    built = net(shape, **settings)
    if levels != 2:
        raise ValueError(
            f"{type(built).__name__} expects images of 2 levels, 0 and 1; got {levels}. Use "
            "--binarize, or --model.likelihood categorical for a category of each level."
        )
    return built


def _likelihood(value: object, source: str) -> str | dict[str, Any]:
    """Return the settings of a likelihood, or raise ValueError if there is no such likelihood."""
    settings = {"name": value} if isinstance(value, str) else value
    name = settings.get("name") if isinstance(settings, Mapping) else None
    if not isinstance(settings, Mapping) or name not in LIKELIHOODS:
        hint = closest_match(name, LIKELIHOODS) if isinstance(name, str) else ""
        raise ValueError(
            f"{source}: likelihood expects a name out of {', '.join(LIKELIHOODS)}, or a name with "
            f"settings; got {shown(value)}.{hint} Choose one."
        )

    arguments = {key: item for key, item in settings.items() if key != "name"}
    of_data = [key for key in OF_DATA if key in inspect.signature(LIKELIHOODS[name]).parameters]
    complete = {**{key: OF_DATA[key] for key in of_data}, **arguments}
    typed = parse_kwargs(LIKELIHOODS[name], complete, f"{source}: likelihood")
    return {"name": name, **{key: typed[key] for key in arguments}}
