"""A training step as it is, and with `training.compile`: both times, the time to compile, and when it pays."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pyro
import torch
import torch._inductor.config
from harness import DEVICE, alternate, parse, parser, write
from pyro.infer import Trace_ELBO

from pyro_exact.provenance import hardware
from pyro_exact.recipes import load_recipe
from pyro_exact.train.compilation import compile_parts

SHAPE, LEVELS, BATCH, ROUNDS = (3, 32, 32), 256, 16, 7
WHAT = (
    f"Loss and gradient of a batch of {BATCH} images of 32 x 32 in colour (of MNIST's size and two levels for the "
    "Gated PixelCNN), eager and with the flow or the network compiled for fixed shapes, as by `training.compile`; the "
    "compile time is that of the first call without a cache, and it pays from the given number of steps on. On a CPU "
    "all times are those of the processor, the compiler's own included"
)


class Case(NamedTuple):
    """A recipe at the size that is measured."""

    recipe: str
    shape: tuple[int, int, int] = SHAPE
    levels: int = LEVELS


CASES = {
    "Glow": Case("glow_cifar10_small"),
    "Flow++": Case("flow_pp_cifar10_small"),
    "Gated PixelCNN": Case("gated_pixel_cnn_mnist_small", (1, 28, 28), 2),
}


def seconds() -> float:
    """Return the time: on a CPU that of the processor, for this process and the compilers that it has called."""
    if DEVICE.type == "cuda":
        return time.perf_counter()

    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def steps(case: Case) -> tuple[Callable[[], None], Callable[[], None], float]:
    """Return an eager and a compiled step of the same model, and the seconds of compiling."""
    x = torch.randint(0, case.levels, (BATCH, *case.shape), dtype=torch.uint8).to(DEVICE)
    models = [load_recipe(case.recipe).build(case.shape, case.levels).to(DEVICE) for _ in "ab"]
    elbo = Trace_ELBO()

    def step(model: torch.nn.Module) -> None:
        plate = pyro.plate("data", len(x))
        for parameter in model.parameters():
            parameter.grad = None
        elbo.differentiable_loss(plate(model.generate), plate(model.infer), x).backward()

    eager, compiled = models
    compile_parts(compiled.train())
    step(eager.train())
    begin = seconds()
    step(compiled)
    return lambda: step(eager), lambda: step(compiled), seconds() - begin


def measured(case: Case) -> tuple[Callable[[], None], Callable[[], None], float]:
    """Return the steps and the seconds of compiling, of a compiler that has compiled nothing before."""
    torch._dynamo.reset()
    with TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        return steps(case)


def main() -> None:
    """Measure and report."""
    options = parser(WHAT)
    options.add_argument("--case", choices=CASES, action="append", help="only this model")
    arguments = parse(options)
    torch._inductor.config.compile_threads = 1  # no pool of compilers, whose time is unknown
    print(f"compile: {WHAT}\n  on {hardware()}, torch {torch.__version__}")

    rows, ratios = [], []
    for name in arguments.case or CASES:
        torch.manual_seed(0)
        eager, compiled, compiling = measured(CASES[name])
        ms = alternate({"eager": eager, "compiled": compiled}, ROUNDS)

        gain = ms["eager"] - ms["compiled"]
        pays = f"{math.ceil(1e3 * compiling / gain):,} steps" if gain > 0 else "never"
        rows += [
            {"name": f"{name}, {kind}", "milliseconds": value, "peak_megabytes": None}
            for kind, value in ms.items()
        ]
        rows.append(
            {
                "name": f"{name}, compiling (pays from: {pays})",
                "milliseconds": 1e3 * compiling,
                "peak_megabytes": None,
            }
        )
        ratio = ms["eager"] / ms["compiled"]
        ratios.append({"what": f"{name}, eager / compiled", "value": ratio, "bar": "none"})
        print(
            f"  {name:<16} eager {ms['eager']:8.1f} ms  compiled {ms['compiled']:8.1f} ms  ratio {ratio:.2f}  "
            f"compiling {compiling:.0f} s  pays from: {pays}",
            flush=True,
        )

    if arguments.record:
        write(arguments.record, "compile", WHAT, {"rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
