"""Plain values from an unknown source, for example YAML: limits of size, depth and types."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from pyro_exact.checks import shown

LARGEST_FILE = 2**16  # bytes of YAML
MOST_VALUES = 10_000
MOST_LEVELS = 16
LONGEST_TEXT = 10_000
_SHORT = 2 * MOST_LEVELS  # a text of fewer characters cannot have more levels
LOADER = "plain_yaml"  # name of our loader for parsers of jsonargparse


def plain(value: object, source: str, most: int = MOST_VALUES) -> Any:
    """Return a copy made of dictionaries, lists, strings, finite numbers, booleans and `None`.

    Use this function for values from an unknown source. Every integer type becomes `int`, and a
    tuple becomes a list. When an object occurs several times, it is counted and copied each time,
    so a structure that refers to itself reaches the limit and is refused.

    Args:
        value: The value.
        source: Name of the value in an error.
        most: Largest allowed count of values, including the containers.

    Raises:
        ValueError: If the value holds other types, too many values or too many levels; the message
            names the field.
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
    """Return the plain values of a YAML text, whose size and depth are checked first.

    Args:
        text: At most `LARGEST_FILE` bytes.
        source: Name of the text in an error.

    Raises:
        ValueError: If the text is not valid YAML, is too large or too deep, or has tags, anchors or
            aliases.
    """
    if len(text) > LARGEST_FILE:
        raise ValueError(
            f"{source} expects at most {LARGEST_FILE} bytes of YAML; got more. Shorten it."
        )

    try:
        _check_events(text)
        values = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise ValueError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    return plain(values, source)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A YAML loader that raises an error if a mapping has the same name twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        values = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            names = [key.value for key, _ in node.value]
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.YAMLError(f"it has {shown(twice)} twice")
        return values


def _check_events(text: str | bytes) -> None:
    """Raise an error if a YAML text is too deep, too long, or has anchors, aliases or tags."""
    level = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        level += _level_change(event)
        if level > MOST_LEVELS or count > 2 * MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_LEVELS} levels or {MOST_VALUES} values")

        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(
                "it has an anchor or an alias (& or *); write the value out where it is needed"
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"it has a tag, {shown(event.tag)}; only plain values are read")


def expands(text: str) -> bool:
    """Return whether a text, parsed by jsonargparse, would expand aliases or be too deep."""
    if "&" not in text and len(text) < _SHORT:
        return False

    anchors, level = set[str](), 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
                return True
            anchors.add(getattr(event, "anchor", None) or "")

            level += _level_change(event)
            if level > MOST_LEVELS:
                return True
    except yaml.YAMLError:  # ordinary text
        return False

    return False


def _level_change(event: yaml.Event) -> int:
    """Return 1 at the start of a collection, -1 at the end, and 0 otherwise."""
    starts = isinstance(event, yaml.CollectionStartEvent)
    return int(starts) - int(isinstance(event, yaml.CollectionEndEvent))


def _load(text: str) -> Any:
    """Load YAML for jsonargparse, such as a file with arguments, within our limits."""
    if len(text) > LARGEST_FILE:
        raise yaml.YAMLError(f"it has more than {LARGEST_FILE} bytes")
    _check_events(text)

    try:
        loaded = _original_loader(text)
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
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, float):
        return _finite(value, name)
    return _integer(value, name)


def _text(value: str, name: str) -> str:
    if len(value) > LONGEST_TEXT:
        raise ValueError(
            f"{name} expects at most {LONGEST_TEXT} characters; got {len(value)}. Shorten it."
        )
    if expands(value):
        raise ValueError(
            f"{name} expects a text; got {shown(value)}, which is YAML in it. Write its values out."
        )
    return value


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} expects a finite number; got {value}. Choose another one.")
    return float(value)


def _integer(value: object, name: str) -> int:
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


_original_loader = get_loader("yaml")
set_loader(LOADER, _load, exceptions=(yaml.YAMLError,))
