"""The flows of guides, ours beside the peers': a density and its gradient, and a sample, its density and its gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from bare_guides import bare
from guides import LENGTHS, LIBRARIES, Guide, Size
from harness import DEVICE, alternate, parser, report_cells
from torch import Tensor

SIZES = [(16, 5, 32), (64, 10, 32), (512, 16, 64), (1024, 64, 128)]
MODES = ["log_prob", "rsample"]
CONTEXT = 8
ROUNDS = 15
SEQUENTIAL = {("maf", "rsample"), ("iaf", "log_prob")}  # one pass a dimension, in every library
WHAT = (
    "One step of each flow: `log_prob` of given points and backward, or `rsample`, `log_prob` of that sample and "
    "backward. Networks have two hidden layers"
)


def step(guide: Guide, mode: str, size: Size) -> Callable[[], None]:
    """Return what is measured: a loss and the gradients of the weights, and of the context if there is one."""
    x = torch.randn(size.batch, size.dim, device=DEVICE)
    context = None if size.context is None else torch.randn(size.batch, size.context, device=DEVICE, requires_grad=True)
    leaves = guide.weights + ([] if context is None else [context])

    def backward(loss: Tensor) -> None:
        for leaf in leaves:
            leaf.grad = None
        loss.backward()

    def score() -> None:
        backward(-guide.log_prob(x.view_as(x), context).mean())  # a new tensor: Pyro's cache would know the old one

    def sample() -> None:
        z, log_q = guide.rsample_and_log_prob(context)
        backward((log_q + 0.5 * z.square().sum(-1)).mean())

    return score if mode == "log_prob" else sample


def main() -> None:
    """Measure and report."""
    options = parser(WHAT)
    options.add_argument("--flow", choices=list(LENGTHS), action="append", help="only this flow; may be repeated")
    options.add_argument("--size", action="append", help="only this size, as in 16,5,32: batch, dimension, hidden units")
    options.add_argument("--mode", choices=MODES, action="append", help="only this mode")
    options.add_argument("--context", choices=["yes", "no"], help="only with a context, or only without")
    options.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    arguments = options.parse_args()
    sizes = SIZES if arguments.size is None else [tuple(map(int, size.split(","))) for size in arguments.size]
    contexts = {None: [None, CONTEXT], "yes": [CONTEXT], "no": [None]}[arguments.context]

    cells = []
    for flow in arguments.flow or LENGTHS:
        for mode in arguments.mode or MODES:
            if (flow, mode) in SEQUENTIAL:
                continue
            for context in contexts:
                for sizes_ in sizes:
                    size = Size(*sizes_, context)
                    cells += measure(flow, mode, size, arguments.rounds)
    report_cells("guides", WHAT, cells, arguments.record)


def measure(flow: str, mode: str, size: Size, rounds: int) -> list[dict[str, object]]:
    """Return the times of all libraries for one flow, mode and size."""
    torch.manual_seed(0)
    builders = LIBRARIES | ({"bare formula": bare} if (size.batch, size.dim, size.hidden) == SIZES[0] else {})
    guides = {name: build(flow, mode, size) for name, build in builders.items()}
    found = {name: guide for name, guide in guides.items() if guide is not None}
    ms = alternate({name: step(guide, mode, size) for name, guide in found.items()}, rounds)
    group = f"{flow}, {mode}{'' if size.context is None else f', context of {size.context}'}"
    return [
        {
            "group": group,
            "size": f"{size.batch} x {size.dim}, {size.hidden} hidden",
            "name": name,
            "milliseconds": value,
            "parameters": found[name].count,
        }
        for name, value in ms.items()
    ]


if __name__ == "__main__":
    main()
