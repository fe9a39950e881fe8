"""Orders of the sites of a vector or image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def permutations(orders: Iterable[Any], sites: int, owner: str) -> Tensor:
    """Return an order or several orders, of any type, as a tensor, (orders, sites).

    Raises:
        ValueError: If an order does not hold each of 0, ..., sites - 1 once.
    """
    rows = _listed(orders)
    if rows == []:
        raise ValueError(
            f"{owner} expects at least one order; got none. Leave it out for the default."
        )

    if not isinstance(rows, list) or not any(isinstance(row, list) for row in rows):
        rows = [rows]

    for row in rows:
        if not _is_permutation(row, sites):
            raise ValueError(
                f"{owner} expects an order that contains each of 0, ..., {sites - 1} once; got "
                f"{row}. Pass a permutation."
            )

    return torch.tensor(rows, dtype=torch.long)


def _listed(orders: Any) -> Any:
    """Return the contents as lists and integers."""
    if hasattr(orders, "tolist"):
        return orders.tolist()

    return (
        [_listed(one) for one in orders]
        if isinstance(orders, Iterable) and not isinstance(orders, str)
        else orders
    )


def _is_permutation(row: Any, sites: int) -> bool:
    try:
        return sorted(row) == list(range(sites))
    except TypeError:
        return False
