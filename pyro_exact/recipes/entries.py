"""Entries of the table of models: each builds a model of images using a builder or a network."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import torch

from pyro_exact.autoregressive import Autoregressive, CausalNet, OrderAgnosticNet
from pyro_exact.distributions import DiscreteFlow, Flow, FlowDequantizer, StandardNormal
from pyro_exact.flows import flow_pp_dequantizer
from pyro_exact.models import Density, Dequantized, GenerativeModel, OrderAgnostic
from pyro_exact.recipes.parsing import parse_kwargs
from pyro_exact.transforms import Bijection

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
    """

    build: Build
    signature: Callable[..., object]
    provided: tuple[str, ...] = ("shape", "levels")
    nested: Mapping[str, Callable[..., object]] = field(default_factory=dict)

    def parse(self, values: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Return settings as keyword arguments of `build`.

        Args:
            values: Names and plain values.
            source: Name of the values in an error.

        Raises:
            ValueError: If a setting is unknown, missing, or of another type.
        """
        own = {name: value for name, value in values.items() if name not in self.nested}
        settings = parse_kwargs(self.signature, own, source, leave_out=self.provided)

        for name, function in self.nested.items():
            inner = values.get(name)
            if inner is not None:
                settings[name] = parse_kwargs(
                    function, inner, f"{source}: {name}", leave_out=self.provided
                )
        return settings

    def with_defaults(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings together with the defaults of missing settings."""
        full = self._defaults(self.signature) | dict.fromkeys(self.nested) | dict(settings)

        for name, function in self.nested.items():
            if full[name] is not None:
                full[name] = self._defaults(function) | full[name]
        return full

    def _defaults(self, function: Callable[..., object]) -> dict[str, Any]:
        parameters = inspect.signature(function).parameters
        return {name: p.default for name, p in parameters.items() if name not in self.provided}


def builder(build: Build) -> ModelEntry:
    """Return the entry of a function that builds a model itself."""
    return ModelEntry(build, build)


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

    return ModelEntry(build, signature or net, ("shape", "levels", "likelihood"))


def order_agnostic(net: Callable[..., OrderAgnosticNet]) -> ModelEntry:
    """Return the entry of a network that is trained for all orders of the sites."""

    def build(shape: tuple[int, int, int], levels: int, **settings: Any) -> GenerativeModel:
        return OrderAgnostic(build_net(net, shape, levels, settings))

    return ModelEntry(build, net, ("shape", "levels", "likelihood"))


def build_net(
    net: Callable[..., Net], shape: tuple[int, int, int], levels: int, settings: Mapping[str, Any]
) -> Net:
    """Return a network of images; a network without ``levels`` is used for bits.

    Raises:
        ValueError: If a network of bits is given more than two levels.
    """
    if "levels" in inspect.signature(net).parameters:
        return net(shape, levels=levels, **settings)

    built = net(shape, **settings)
    if levels != 2:
        raise ValueError(
            f"{type(built).__name__} expects images of 2 levels, 0 and 1; got {levels}. Use "
            "binarized_mnist, or binarise the images."
        )
    return built
