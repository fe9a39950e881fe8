"""Write docs/layers.md from the registry of the tests and the docstrings of the layers.

    python docs/make_layers.py            write the page
    python docs/make_layers.py --check    exit with 1 if the page on disk is out of date

Formula and cost are read from the docstring of a layer, the conditional form from the signature and
the registry.
"""

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pyro_exact import flows, transforms

DOCS = Path(__file__).resolve().parent

HEAD = """\
<!-- Written by docs/make_layers.py from the docstrings of the layers. Do not edit: run `make results`. -->

# Layers

This page lists all layers and builders with formula and cost. Every layer has both directions, and
is differentiable in the input, the parameters and the context. Both directions accept elements of
any ordinary size. The exceptions are layers with an interval as `domain` or `codomain`, for example
{py:class}`~pyro_exact.transforms.Logit` and {py:class}`~pyro_exact.transforms.Interval`: outside of
the interval the result is NaN.

Use the argument in the last column to make a layer conditional. "By its parts" means that the layer
is conditional when a layer or network inside is conditional. Layers with an empty last column have
no parameters, or have parameters that are computed from data. $D$ is the dimension of an event.
"""
ELEMENTWISE = """
## Formulas

A formula is a map of an element. Use `Coupling`, `MaskedAutoregressive` or `Marginal` to make a
layer of this type of map. In the first two, a network computes the parameters $\\theta$, and the
layer is conditional when the network is conditional. Formulas without a closed inverse use the same
guarded Newton iteration, `pyro_exact.ops.newton`, whose derivatives are exact.
"""
PARTITIONS = """
## Partitions

Use a partition to define how `Coupling` splits an event:
"""
BUILDERS = """
## Flows

Builders stack these layers. The shape of an event is the first argument: an integer or `(dim,)` for
vectors, and `(C, H, W)` for builders of images: `glow`, `flow_pp`, and builders whose names begin
with `image_`. `tarflow` accepts both types.
"""


def registry() -> ModuleType:
    """Return the package tests/registry."""
    sys.path.insert(0, str(DOCS.parent / "tests"))
    return importlib.import_module("registry")


def names(registered: Iterable[str], package: ModuleType = transforms) -> list[str]:
    """The names that a package exports among the first words of a registry, in alphabetical order."""
    return sorted({name.split()[0] for name in registered} & set(package.__all__))


def docstring(name: str) -> str:
    """The docstring of a layer."""
    return inspect.getdoc(getattr(transforms, name)) or ""


def summary(doc: str) -> str:
    """The first paragraph of a docstring, in Markdown."""
    return markdown(doc.split("\n\n")[0])


def formula(doc: str, name: str) -> str:
    """The mathematics up to the log-determinant, one equation a line."""
    blocks = re.findall(
        r"^\.\. math::(.*\n(?:[ ]+.*\n)*)", doc.partition("\nArgs:")[0] + "\n", re.MULTILINE
    )
    if not blocks:
        raise ValueError(f"{name}: expected a formula, `.. math::`, in the docstring; found none.")
    last = next((i for i, block in enumerate(blocks) if r"\log|" in block), 0)
    equations = [
        e.strip().rstrip(",") for block in blocks[: last + 1] for e in block.split(r"\qquad")
    ]
    lines = r" \\ ".join(" ".join(equation.split()) for equation in equations if equation)
    return rf"$\begin{{gathered}} {lines} \end{{gathered}}$"


def cost(doc: str, name: str) -> tuple[str, str]:
    """The costs of both directions, from the section Cost of a docstring."""
    found = re.search(
        r"^Cost:\n +- forward: (.*(?:\n {6}.*)*)\n +- inverse: (.*(?:\n {6}.*)*)", doc, re.MULTILINE
    )
    if not found:
        raise ValueError(
            f"{name}: expected a section Cost with lines for forward and inverse; found none."
        )
    return markdown(found[1]), markdown(found[2])


def markdown(text: str) -> str:
    """Turn a piece of a docstring into Markdown, on one line."""
    return " ".join(
        re.sub(r":math:`(.*?)`", r"$\1$", text, flags=re.DOTALL).replace("``", "`").split()
    )


def table(head: Mapping[str, int], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells may contain formulas with bars; ``head`` maps columns to widths."""
    lines = [
        "```{list-table}",
        ":header-rows: 1",
        f":widths: {' '.join(map(str, head.values()))}",
        "",
    ]
    for row in (head, *rows):
        lines += [f"{'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join([*lines, "```", ""])


def entry(name: str) -> str:
    """A link to the API of a layer, with the summary."""
    return f"{{py:class}}`~pyro_exact.transforms.{name}`: {summary(docstring(name))}"


def builder(name: str) -> str:
    """A link to the API of a builder, with the summary."""
    return f"{{py:func}}`~pyro_exact.flows.{name}`: {summary(inspect.getdoc(getattr(flows, name)) or '')}"


def row(name: str) -> list[str]:
    """Name, formula and costs of a layer."""
    doc = docstring(name)
    return [entry(name), formula(doc, name), *cost(doc, name)]


def conditional(name: str, cases: Mapping[str, Any]) -> str:
    """How a layer becomes conditional, if it does: by an argument of its own, or by its parts."""
    own = {"context_dim", "context_shape"} & set(
        inspect.signature(getattr(transforms, name)).parameters
    )
    if own:
        return f"`{own.pop()}`"
    return (
        "by its parts"
        if any(case.conditional for key, case in cases.items() if key.split()[0] == name)
        else ""
    )


def page(cases: ModuleType) -> str:
    """The whole page."""
    layers: Mapping[str, Any] = cases.TRANSFORMS | cases.TO_TOLERANCE
    head = {"": 30, "formula": 40, "forward": 15, "inverse": 15}
    layer_rows = ([*row(name), conditional(name, layers)] for name in names(layers))
    partitions = "".join(f"- {entry(name)}\n" for name in names(cases.PARTITIONS))
    # An integer flow has no registered layers, because it is no bijection of real values.
    builders = "".join(f"- {builder(name)}\n" for name in names([*layers, "idf"], flows))
    return "\n".join(
        [
            HEAD,
            table({**head, "conditional": 10}, layer_rows),
            ELEMENTWISE,
            table(head, map(row, names(cases.ELEMENTWISE))),
            PARTITIONS,
            partitions,
            BUILDERS,
            builders,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write or check the page; exits with a message when a docstring or the page is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="only compare; exit with 1 if the page is out of date"
    )
    check_only = parser.parse_args(arguments).check
    target = DOCS / "layers.md"
    try:
        text = page(registry())
    except ValueError as error:
        sys.exit(str(error))
    if not check_only:
        target.write_text(text, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != text:
        sys.exit(f"{target.name} is not what the docstrings say. Run `make results` and commit it.")


if __name__ == "__main__":
    main()
