"""A step of stock SVI with a flow as the guide: eight schools, and an amortised posterior; ours beside Pyro's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pyro
import torch
from guides import FLOWS, Sizes, our_layers, parts, pyro_layers
from harness import DEVICE, alternate, parse, parser, report_cells
from pyro.distributions import ConditionalTransformedDistribution, HalfCauchy, Normal
from pyro.distributions.transforms import ComposeTransformModule
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal, AutoNormalizingFlow
from torch import Tensor, nn

LENGTHS = {"iaf": 2, "affine coupling": 4, "planar": 8, "spline coupling": 2}
HIDDEN = 32
ROUNDS = 15
BUILDERS = {"ours": our_layers, "Pyro": pyro_layers}
WHAT = (
    "One `SVI.step` of the eight schools by `AutoNormalizingFlow`, beside `AutoNormal`, and of an amortised guide "
    f"whose context comes from an encoder, beside a diagonal normal; networks have two hidden layers of {HIDDEN}. "
    "Pyro has no conditional spline coupling: its autoregressive spline stands in"
)

Contender = tuple[Callable[[], float], int]  # a step, and the number of parameters

# Gelman, Carlin, Stern and Rubin: the effects of coaching in eight schools, and their standard
# errors.
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], device=DEVICE)
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], device=DEVICE)

ROWS, DIM, CONTEXT, LATENTS = 64, 16, 8, 5
LOADINGS = torch.randn(LATENTS, DIM, generator=torch.Generator().manual_seed(0)).to(DEVICE)


def schools() -> None:
    """Eight effects around a common mean: ten latent numbers."""
    mean = pyro.sample("mean", Normal(torch.zeros((), device=DEVICE), 10.0))
    spread = pyro.sample("spread", HalfCauchy(torch.full((), 5.0, device=DEVICE)))
    with pyro.plate("schools", len(EFFECTS)):
        effect = pyro.sample("effect", Normal(mean, spread))
        pyro.sample("observed", Normal(effect, ERRORS), obs=EFFECTS)


def eight_schools(flow: str) -> dict[str, Contender]:
    """Return a step of each guide for all latents of the eight schools, and its number of parameters."""

    def transform(name: str, dim: int) -> nn.Module:
        layers = BUILDERS[name](flow, Sizes(LENGTHS[flow], 1, dim, HIDDEN, None))
        return (layers[0] if len(layers) == 1 else ComposeTransformModule(layers)).to(DEVICE)

    guides: dict[str, Any] = {
        name: AutoNormalizingFlow(schools, lambda dim, name=name: transform(name, dim))
        for name in BUILDERS
    }
    guides["normal"] = AutoNormal(schools)
    return {name: step(schools, guide, lambda g=guide: count(g)) for name, guide in guides.items()}


def rows(x: Tensor) -> None:
    """A linear model of each row: five latent numbers."""
    with pyro.plate("rows", len(x)):
        z = pyro.sample("z", Normal(torch.zeros(LATENTS, device=DEVICE), 1.0).to_event(1))
        pyro.sample("x", Normal(z @ LOADINGS, 1.0).to_event(1), obs=x)


def amortised(flow: str) -> dict[str, Contender]:
    """Return a step of each guide whose posterior depends on the row, and its number of parameters."""
    x = torch.randn(ROWS, DIM, device=DEVICE)
    origin = torch.zeros(ROWS, LATENTS, device=DEVICE)

    def encoder(outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)).to(
            DEVICE
        )

    def of_flow(name: str) -> Contender:
        layers = BUILDERS[name](flow, Sizes(LENGTHS[flow], ROWS, LATENTS, HIDDEN, CONTEXT))
        net = encoder(CONTEXT)
        weights = nn.ModuleList([net, parts(layers)])

        def guide(x: Tensor) -> None:
            pyro.module("guide", weights)
            with pyro.plate("rows", len(x)):
                base = Normal(origin, 1.0).to_event(1)
                pyro.sample("z", ConditionalTransformedDistribution(base, layers).condition(net(x)))

        return step(rows, guide, lambda: count(weights), x)

    def of_normal() -> Contender:
        net = encoder(2 * LATENTS)

        def guide(x: Tensor) -> None:
            pyro.module("guide", net)
            with pyro.plate("rows", len(x)):
                mean, log_scale = net(x).chunk(2, dim=-1)
                pyro.sample("z", Normal(mean, log_scale.exp()).to_event(1))

        return step(rows, guide, lambda: count(net), x)

    return {name: of_flow(name) for name in BUILDERS} | {"normal": of_normal()}


def step(
    model: Callable[..., object],
    guide: Callable[..., object],
    parameters: Callable[[], int],
    *data: Tensor,
) -> Contender:
    """Return a step of SVI whose parameters are in a store of their own, and their number after the first step."""
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-4}), Trace_ELBO())
    with pyro.get_param_store().scope() as state:
        svi.step(*data)

    def run() -> float:
        with pyro.get_param_store().scope(state):
            return svi.step(*data)

    return run, parameters()


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())


TASKS = {
    "eight schools": (eight_schools, "10 latents"),
    "amortised": (amortised, f"{ROWS} rows, {LATENTS} latents"),
}


def measure(task: str, flow: str, rounds: int) -> list[dict[str, object]]:
    """Return the times of the guides for one task and flow."""
    pyro.set_rng_seed(0)
    build, size = TASKS[task]
    contenders = build(flow)
    ms = alternate({name: run for name, (run, _) in contenders.items()}, rounds)
    return [
        {
            "group": f"{task}, {flow} x {LENGTHS[flow]}",
            "size": size,
            "name": name,
            "milliseconds": value,
            "parameters": contenders[name][1],
        }
        for name, value in ms.items()
    ]


def main() -> None:
    """Measure and report."""
    options = parser(WHAT)
    flows = [flow for flow in FLOWS if flow in LENGTHS]
    options.add_argument("--task", choices=list(TASKS), action="append", help="only this task")
    options.add_argument(
        "--flow", choices=flows, action="append", help="only this flow; may be repeated"
    )
    options.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    arguments = parse(options)
    cases = product(arguments.task or TASKS, arguments.flow or flows)
    report_cells(
        "svi", WHAT, (measure(*case, arguments.rounds) for case in cases), arguments.record
    )


if __name__ == "__main__":
    main()
