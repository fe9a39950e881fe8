"""The table of trained models, and the files of their weights."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import check_path, printable

if TYPE_CHECKING:
    from pyro_exact.models import GenerativeModel

SUFFIX = ".safetensors"

_TABLE = Path(__file__).with_name("models.json")
_WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Shipped:
    """A trained model in the table.

    Attributes:
        sha256: The hash of the file of its weights, in hexadecimal digits.
        url: The address of the file; `None` for a file that comes with the package.
    """

    sha256: str
    url: str | None = None


@cache
def table() -> dict[str, Shipped]:
    """Return all trained models, by name."""
    entries = json.loads(_TABLE.read_text())
    return {name: Shipped(**entry) for name, entry in sorted(entries.items())}


def names() -> list[str]:
    """Return the names of all trained models.

    Example:
        >>> "diagonal_bilstm_mnist" in names()
        True
    """
    return list(table())


def load(name: str, device: str = "cpu", download: bool = False) -> GenerativeModel:
    """Return a trained model.

    Use this function to draw samples, to score images, or to take a part of a larger Pyro model,
    without training first. `record` returns the score of the model and how it was trained.

    Args:
        name: One of `names`.
        device: ``"cuda"``, ``"cpu"``, or ``"auto"``, which uses CUDA if available.
        download: If true, download weights that do not come with the package.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: If there is no model of this name, or the file of its weights has changed.
        FileNotFoundError: If the weights must be downloaded first.

    Example:
        >>> model = load("diagonal_bilstm_mnist")
        >>> model.sample(2).shape
        torch.Size([2, 1, 28, 28])
    """
    from pyro_exact.pretrained.files import load_file

    model, _, _ = load_file(file_of(name, download), device)
    return model


def record(name: str, download: bool = False) -> dict[str, Any]:
    """Return the record of the evaluation of a trained model; the arguments are those of `load`.

    Example:
        >>> record("diagonal_bilstm_mnist")["metric"]["unit"]
        'nats'
    """
    from pyro_exact.pretrained.files import load_file

    _, _, result = load_file(file_of(name, download))
    return result


def file_of(name: str, download: bool = False) -> Path:
    """Return the file of the weights of a trained model, after comparing its hash with the table.

    Args:
        name: One of `names`.
        download: If true, download weights that do not come with the package.

    Raises:
        TypeError: If the name is not text.
        ValueError: If there is no model of this name, or the file has changed.
        FileNotFoundError: If the weights must be downloaded first.
    """
    check_path("pretrained", "name", name)
    if name not in table():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"pretrained expects one of {', '.join(names())}; got {printable(name)!r}.{hint} "
            f"Choose one."
        )

    shipped = table()[name]
    path = _place(name, shipped)
    if not path.is_file():
        _download(name, shipped, path, download)
    if _sha256(path) != shipped.sha256:
        raise ValueError(
            f"{path} expects the hash {shipped.sha256} of the table; got another hash, so the "
            "file has changed. Delete it, and install or download it again."
        )
    return path


def _place(name: str, shipped: Shipped) -> Path:
    """Return where the file of a model is: in the package, or among the downloads of torch."""
    if shipped.url is None:
        return _WEIGHTS / f"{name}{SUFFIX}"

    import torch

    return Path(torch.hub.get_dir()) / "pyro_exact" / f"{name}-{shipped.sha256[:8]}{SUFFIX}"


def _download(name: str, shipped: Shipped, path: Path, wanted: bool) -> None:
    if shipped.url is None:
        raise FileNotFoundError(
            f"The weights of {name} are missing from the package: there is no {path}. Install "
            f"pyro_exact again."
        )
    if not wanted:
        raise FileNotFoundError(
            f"The weights of {name} do not come with the package. Use --download, or "
            f"download=True, to get them from {shipped.url}."
        )

    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(shipped.url, str(path), hash_prefix=shipped.sha256)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
