"""Checks of the learning curve that a checkpoint holds."""

from __future__ import annotations

from typing import Any

from pyro_exact.checks import shown

CURVE_EVERY = 10  # steps in each mean of the training curve


def check_curve(curve: object, name: str) -> None:
    """Raise ValueError unless a curve is lists of (step, seconds, loss) for both splits."""
    if not isinstance(curve, dict) or {*curve} != {"train", "valid"}:
        raise ValueError(
            f"{name} expects train and valid; got {shown(curve)}. Use another checkpoint."
        )
    for split, points in curve.items():
        if not isinstance(points, list) or not all(_is_point(point) for point in points):
            raise ValueError(
                f"{name}: {split} expects a list of (step, seconds, loss); got "
                f"{shown(points)}. Use another checkpoint."
            )


def check_losses(recent: object, name: str) -> None:
    """Raise ValueError unless the recent losses are a list of fewer than `CURVE_EVERY` losses."""
    if not isinstance(recent, list) or len(recent) >= CURVE_EVERY:
        raise ValueError(
            f"{name} expects a list of fewer than {CURVE_EVERY} losses; got {shown(recent)}. Use "
            f"another checkpoint."
        )


def _is_point(point: Any) -> bool:
    if not isinstance(point, list):
        return False
    kinds = [type(element) for element in point]
    return kinds in ([int, float, float], [int, int, float])
