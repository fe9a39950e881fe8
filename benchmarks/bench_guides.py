"""The flows of guides, ours beside the peers': density and gradient; sample, density and gradient."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from bare_guides import bare
from guides import FLOWS, LIBRARIES, Guide, Sizes
from harness import DEVICE, alternate, parse, parser, report_cells
from torch import Tensor

LENGTHS = dict(zip(FLOWS, (3, 3, 4, 8, 4), strict=True))
SIZES = [(16, 5, 32), (64, 10, 32), (512, 16, 64), (1024, 64, 128)]
MODES = ["log_prob", "rsample"]
CONTEXT = 8
ROUNDS = 15
SEQUENTIAL = {("maf", "rsample"), ("iaf", "log_prob")}  # one pass a dimension, in every library
WHAT = (
    "One step of each flow: `log_prob` of given points and backward, or `rsample`, `log_prob` of that sample and "
    f"backward; networks have two hidden layers, a context is a vector of {CONTEXT} that takes a gradient. "
    "Pyro has no conditional spline coupling: its autoregressive spline stands in"
)


def step(guide: Guide, mode: str, sizes: Sizes) -> Callable[[], None]:
    """Return what is measured: a loss and the gradients of the weights, and of the context if there is one."""
    x = torch.randn(sizes.batch, sizes.dim, device=DEVICE)
    context = (
        None
        if sizes.context is None
        else torch.randn(sizes.batch, sizes.context, device=DEVICE, requires_grad=True)
    )
    leaves = guide.weights + ([] if context is None else [context])

    def backward(loss: Tensor) -> None:
        for leaf in leaves:
            leaf.grad = None
        loss.backward()

    def score() -> None:
        backward(
            -guide.log_prob(x.view_as(x), context).mean()
        )  # a new tensor: Pyro's cache would know the old one

    def sample() -> None:
        z, log_q = guide.rsample_and_log_prob(context)
        backward((log_q + 0.5 * z.square().sum(-1)).mean())

    return score if mode == "log_prob" else sample


def main() -> None:
    """Measure and report."""
    options = parser(WHAT)
    options.add_argument(
        "--flow", choices=FLOWS, action="append", help="only this flow; may be repeated"
    )
    options.add_argument(
        "--size",
        action="append",
        help="only this size, as in 16,5,32: batch, dimension, hidden units",
    )
    options.add_argument("--mode", choices=MODES, action="append", help="only this mode")
    options.add_argument(
        "--context", choices=["yes", "no"], help="only with a context, or only without"
    )
    options.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    arguments = parse(options)
    shapes = (
        SIZES
        if arguments.size is None
        else [tuple(map(int, size.split(","))) for size in arguments.size]
    )
    contexts = {None: [None, CONTEXT], "yes": [CONTEXT], "no": [None]}[arguments.context]

    cases = product(arguments.flow or FLOWS, arguments.mode or MODES, contexts, shapes)
    rows = (
        measure(flow, mode, Sizes(LENGTHS[flow], *shape, context), arguments.rounds)
        for flow, mode, context, shape in cases
        if (flow, mode) not in SEQUENTIAL
    )
    report_cells("guides", WHAT, rows, arguments.record)


def measure(flow: str, mode: str, sizes: Sizes, rounds: int) -> list[dict[str, object]]:
    """Return the times of all libraries for one flow, mode and sizes."""
    torch.manual_seed(0)
    builders = dict(LIBRARIES)
    if (sizes.batch, sizes.dim, sizes.hidden) == SIZES[0]:
        builders["bare formula"] = bare
    guides = {name: build(flow, mode, sizes) for name, build in builders.items()}
    found = {name: guide for name, guide in guides.items() if guide is not None}
    ms = alternate({name: step(guide, mode, sizes) for name, guide in found.items()}, rounds)
    return [
        {
            "group": f"{flow} x {sizes.length}, {mode}{'' if sizes.context is None else ', context'}",
            "size": f"{sizes.batch} x {sizes.dim}"
            + ("" if flow == "planar" else f", {sizes.hidden} hidden"),
            "name": name,
            "milliseconds": value,
            "parameters": found[name].count,
        }
        for name, value in ms.items()
    ]


if __name__ == "__main__":
    main()
