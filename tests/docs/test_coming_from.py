"""The page for those who come from another library: no layer of theirs is missing, and ours exist."""

import re
from pathlib import Path

import pytest
import torch
from pyro.distributions import transforms as of_pyro

from pyro_exact import distributions, flows, transforms

PAGE = (Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")

NAMES = set(re.findall(r"`([A-Za-z0-9_]+)", PAGE))


def layers(module, names, base):
    """The names of a module that are layers."""
    found = ((name, getattr(module, name)) for name in names)
    return {name for name, value in found if isinstance(value, type) and issubclass(value, base)}


def test_coming_from_lists_every_transform_of_pyro():
    exported = layers(of_pyro, of_pyro.__all__, torch.distributions.Transform)
    plain = {name for name in exported if not name.startswith("Conditional")}
    assert plain - {"Transform"} <= NAMES


@pytest.mark.parametrize(
    ("module", "base"),
    [
        ("zuko.transforms", torch.distributions.Transform),
        ("zuko.flows", torch.nn.Module),
        ("nflows.transforms", torch.nn.Module),
        ("normflows.flows", torch.nn.Module),
    ],
)
def test_coming_from_lists_every_layer_of_a_peer(module, base):
    peer = pytest.importorskip(module)
    names = getattr(peer, "__all__", [name for name in dir(peer) if name[0].isupper()])
    abstract = {"Flow", "Transform", "LazyDistribution", "LazyTransform"}
    abstract |= {"UnconditionalDistribution", "UnconditionalTransform", "GatedLinearUnit"}
    assert layers(peer, names, base) - abstract <= NAMES


def test_coming_from_names_only_what_exists():
    """Every name in a right column is ours, a stock one, or an argument."""
    known = set(transforms.__all__) | set(flows.__all__) | set(distributions.__all__)
    known |= set(of_pyro.__all__) | {
        "adjacency",
        "inv",
        "constraints",
        "pyro_exact",
        "linear",
        "identity",
        "order",
    }
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    for row in rows:
        for name in re.findall(r"`([A-Za-z0-9_]+)", row[2]):
            assert name in known, row
    assert len(rows) > 60
