"""Plain values from elsewhere, from YAML or a checkpoint: counted and measured before anything is made of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from pyro_exact.checks import shown

LARGEST_FILE = 2**16  # bytes of YAML; our recipes have less than 2,000
MOST_VALUES = 10_000
MOST_LEVELS = 16
LONGEST_TEXT = 10_000
_SHORT = 2 * MOST_LEVELS  # characters, of which a text needs more to be deep
LOADER = "plain_yaml"  # name of the loader that parsers of jsonargparse use


def plain(value: object, source: str, most: int = MOST_VALUES) -> Any:
    """Return a copy made of dictionaries with names, lists, text, finite numbers, truth values and `None`.

    Every integer type becomes `int`, a tuple a list. The copy shares nothing: an object that is
    referred to several times counts each time, so lists that multiply, or contain themselves, are
    refused as soon as the limit is reached.

    Args:
        value: What came.
        source: What to call it in an error.
        most: How many values it may hold, with the containers.

    Raises:
        ValueError: If it holds something else, too many values or too many levels, with the name of
            the field.
    """
    left = most

    def copy(value: object, name: str, level: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"{name} expects at most {most} values; got more. Shorten it.")
        if level > MOST_LEVELS:
            raise ValueError(f"{name} expects at most {MOST_LEVELS} levels; got more. Flatten it.")

        if isinstance(value, Mapping):
            return {
                _key(key, name): copy(item, f"{name}: {key}", level + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [copy(item, name, level + 1) for item in value]
        return _scalar(value, name)

    return copy(value, source, 1)


def read_yaml(text: str | bytes, source: str) -> Any:
    """Return the plain values of a YAML text; its size, its depth and its kinds are checked before it is expanded.

    Args:
        text: At most `LARGEST_FILE` bytes.
        source: What to call it in an error.

    Raises:
        ValueError: If it is no YAML, is too large or too deep, or has tags, anchors or aliases.
    """
    if len(text) > LARGEST_FILE:
        raise ValueError(
            f"{source} expects at most {LARGEST_FILE} bytes of YAML; got more. Shorten it."
        )
    try:
        _check_events(text)
        values = yaml.load(text, Loader=_Loader)
    except (
        yaml.YAMLError,
        ValueError,
    ) as error:  # a ValueError of a number or a date that there is not
        raise ValueError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    return plain(values, source)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's last value of a name wins in silence; here a second one is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            names = [key.value for key, _ in node.value]
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.YAMLError(f"it has {shown(twice)} twice")
        return values


def _check_events(text: str | bytes) -> None:
    """Go through a YAML text without building anything."""
    level = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, (yaml.CollectionStartEvent, yaml.CollectionEndEvent)):
            level += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
        if level > MOST_LEVELS or count > 2 * MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_LEVELS} levels or {MOST_VALUES} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(
                "it has an anchor or an alias (& or *); write the value out where it is needed"
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"it has a tag, {shown(event.tag)}; only plain values are read")


def expands(text: str) -> bool:
    """Return whether a text would be more than it is, or deep, if it were taken for YAML, as jsonargparse does."""
    if "&" not in text and len(text) < _SHORT:
        return False
    anchors, level = set[str](), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
                return True
            anchors.add(getattr(event, "anchor", None) or "")
            level += isinstance(event, yaml.CollectionStartEvent) - isinstance(
                event, yaml.CollectionEndEvent
            )
            if level > MOST_LEVELS:
                return True
    except yaml.YAMLError:  # then it is a text, and no YAML
        return False
    return False


def _load(text: str) -> Any:
    """Load what jsonargparse takes for YAML: a file with arguments, and every value that is no simple one."""
    if len(text) > LARGEST_FILE:
        raise yaml.YAMLError(f"it has more than {LARGEST_FILE} bytes")
    _check_events(text)
    try:
        loaded = _load_as_ever(text)
        plain(loaded, "the file")
    except ValueError as error:
        raise yaml.YAMLError(str(error)) from error
    return loaded


def _key(key: object, name: str) -> str:
    if not isinstance(key, str) or len(key) > LONGEST_TEXT:
        raise ValueError(
            f"{name} expects names with values; got the name {shown(key)}. Write a short text."
        )
    return key


def _scalar(value: object, name: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise ValueError(
                f"{name} expects at most {LONGEST_TEXT} characters; got {len(value)}. Shorten it."
            )
        if isinstance(value, str) and expands(value):
            raise ValueError(
                f"{name} expects a text; got {shown(value)}, which is YAML in it. Write its values out."
            )
        return value

    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{name} expects a finite number; got {value}. Choose another one.")
        return float(value)

    try:
        whole = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(
            f"{name} expects text, numbers and lists of them; got {shown(value)}. Change it."
        ) from None
    if whole.bit_length() > 64:
        raise ValueError(
            f"{name} expects integers of at most 64 bits; got {shown(whole)}. Choose a smaller one."
        )
    return whole


_load_as_ever = get_loader("yaml")
set_loader(LOADER, _load, exceptions=(yaml.YAMLError,))
