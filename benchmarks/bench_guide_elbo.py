"""The ELBO that each flow reaches as a guide, by Pyro's `AutoNormalizingFlow`: ours, Pyro's and zuko's.

Three problems whose log-evidence is known, so that the ELBO has a known upper bound:

- eight schools, centred, with the priors of posteriordb; its evidence is an integral over two
  numbers;
- Neal's funnel in ten dimensions, whose evidence is 1;
- the banana of Pyro's example of `AutoNormalizingFlow` (examples/neutra.py), whose evidence is 1.

Every guide has the defaults of its builder, and the same optimiser, steps, particles and seeds. A
coupling flow is inverted, because its library builds it from data to noise. A masked autoregressive
flow is not, in every library: its inverse takes a pass for each dimension, so as a guide it goes
from noise to latents.
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from typing import ClassVar, NamedTuple

import pyro
import pyro.distributions as dist
import torch
import zuko
from harness import parse, parser, write
from pyro.distributions import TransformModule
from pyro.distributions import transforms as pyros
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, AutoNormalizingFlow
from pyro.optim import ClippedAdam
from torch import Tensor
from torch.distributions import constraints

from pyro_exact import flows
from pyro_exact.provenance import hardware
from pyro_exact.transforms import Spline

WHAT = (
    "The ELBO in nats of `AutoNormalizingFlow` with each flow at its defaults, and of two guides without a flow; "
    "higher is better, and the log-evidence is the upper bound"
)
STEPS, PARTICLES, SEEDS, DRAWS = 1000, 16, 2, 20_000
RATE, DECAY, CLIP = 2e-2, 0.1, 10.0  # the rate falls to a tenth over the run
PYRO_LAYERS = 4
PROCESSES = 2  # each of one thread; the time of a fit is that of its own process
NONE = torch.Size()

EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


# Problems
# ------------------------------------------------------------------------------------------------


def eight_schools() -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    mu, tau = (each.unsqueeze(-1).expand(*each.shape, 8) for each in (mu, tau))
    theta = pyro.sample("theta", dist.Normal(mu, tau).to_event(1))
    pyro.sample("y", dist.Normal(theta, ERRORS).to_event(1), obs=EFFECTS)


def funnel() -> None:
    v = pyro.sample("v", dist.Normal(0.0, 3.0))
    scale = (v / 2).exp().unsqueeze(-1).expand(*v.shape, 9)
    pyro.sample("x", dist.Normal(0.0, scale).to_event(1))


class Banana(dist.TorchDistribution):
    """The bent normal of Pyro's example: a = 1.15, b = 1, correlation 0.9."""

    support = constraints.real_vector
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True
    bent, slope = 1.15, 1.0

    def __init__(self, batch_shape: torch.Size = NONE) -> None:
        covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
        self.normal = dist.MultivariateNormal(torch.zeros(2), covariance)
        super().__init__(batch_shape, torch.Size([2]))

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Banana":
        return Banana(torch.Size(batch_shape))

    def rsample(self, sample_shape: torch.Size = NONE) -> Tensor:
        u0, u1 = self.normal.rsample(torch.Size(sample_shape) + self.batch_shape).unbind(-1)
        x = self.bent * u0
        y = u1 / self.bent + self.slope * (u0**2 + self.bent**2)
        return torch.stack((x, y), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        x, y = value.unbind(-1)
        u0 = x / self.bent
        u1 = (y - self.slope * (u0**2 + self.bent**2)) * self.bent
        return self.normal.log_prob(torch.stack((u0, u1), dim=-1))


def banana() -> None:
    pyro.sample("x", Banana())


def evidence_of_eight_schools(points: int = 2000) -> float:
    """Integrate over mu in closed form, and over tau on a grid of its quantiles."""
    quantile = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    tau = 5 * (math.pi / 2 * quantile).tan()
    cov = 25.0 + torch.diag_embed(ERRORS.double() ** 2 + tau[:, None] ** 2)
    log_likelihood = torch.distributions.MultivariateNormal(
        torch.zeros(8, dtype=torch.float64), cov
    ).log_prob(EFFECTS.double())
    return (log_likelihood.logsumexp(0) - math.log(points)).item()


PROBLEMS: dict[str, tuple[Callable[[], None], Callable[[], float]]] = {
    "eight schools, centred": (eight_schools, evidence_of_eight_schools),
    "funnel, 10 dimensions": (funnel, lambda: 0.0),
    "Pyro's banana": (banana, lambda: 0.0),
}


# Guides
# ------------------------------------------------------------------------------------------------


class Zuko(TransformModule):
    """A flow of zuko as a transform of Pyro, from noise to latents."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, flow: zuko.flows.Flow, inverted: bool) -> None:
        super().__init__(cache_size=1)
        self.flow, self.inverted = flow, inverted

    def _call(self, x: Tensor) -> Tensor:
        transform = self.flow().transform
        y, self.ladj = (transform.inv if self.inverted else transform).call_and_ladj(x)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.ladj


def pyro_couplings(build: Callable[[int], TransformModule], dim: int) -> TransformModule:
    """Return coupling layers of Pyro with the dimensions reversed between them."""
    reverse = torch.arange(dim - 1, -1, -1)
    parts = [part for _ in range(PYRO_LAYERS) for part in (pyros.Permute(reverse), build(dim))]
    return pyros.ComposeTransformModule(parts[1:])


def pyro_stack(build: Callable[[int], TransformModule], dim: int) -> TransformModule:
    return pyros.iterated(PYRO_LAYERS, build, dim)


FLOWS: dict[str, Callable[[int], TransformModule]] = {
    "iaf": flows.iaf,
    "iaf of Spline": lambda dim: flows.iaf(dim, elementwise=Spline()),
    "maf": flows.maf,
    "nsf": flows.nsf,
    "real_nvp": lambda dim: flows.real_nvp(dim).inv,
    "nice": lambda dim: flows.nice(dim).inv,
    "spline_coupling": lambda dim: flows.spline_coupling(dim).inv,
    "planar": flows.planar,
    "radial": flows.radial,
    "sylvester": flows.sylvester,
    "Pyro affine_autoregressive": partial(pyro_stack, pyros.affine_autoregressive),
    "Pyro block_autoregressive": partial(pyro_stack, pyros.block_autoregressive),
    "Pyro spline_autoregressive": partial(pyro_stack, pyros.spline_autoregressive),
    "Pyro affine_coupling": partial(pyro_couplings, pyros.affine_coupling),
    "Pyro spline_coupling": partial(pyro_couplings, pyros.spline_coupling),
    "Pyro planar": partial(pyro_stack, pyros.planar),
    "zuko MAF": lambda dim: Zuko(zuko.flows.MAF(dim), inverted=False),
    "zuko NSF": lambda dim: Zuko(zuko.flows.NSF(dim), inverted=False),
    "zuko RealNVP": lambda dim: Zuko(zuko.flows.RealNVP(dim), inverted=True),
}
GUIDES: dict[str, Callable[[Callable[[], None]], torch.nn.Module]] = {
    **{
        name: partial(lambda build, model: AutoNormalizingFlow(model, build), build)
        for name, build in FLOWS.items()
    },
    "AutoNormal": AutoNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
}


# Fits
# ------------------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """The result of one fit: the ELBO, its CPU time in seconds, and the number of parameters."""

    elbo: float
    seconds: float
    parameters: int


def fit(name: str, model: Callable[[], None], steps: int, seed: int) -> Fit:
    """Train a guide, and estimate its ELBO with fresh draws."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    guide = GUIDES[name](model)
    pyro.enable_validation(False)
    optimiser = ClippedAdam({"lr": RATE, "lrd": DECAY ** (1 / steps), "clip_norm": CLIP})
    svi = SVI(model, guide, optimiser, Trace_ELBO(PARTICLES, 2, vectorize_particles=True))

    start = time.process_time()
    for _ in range(steps):
        if not math.isfinite(svi.step()):
            return Fit(math.nan, time.process_time() - start, _count(guide))
    seconds = time.process_time() - start

    pyro.set_rng_seed(1000)
    with torch.no_grad():
        loss = Trace_ELBO(DRAWS, 2, vectorize_particles=True).loss(model, guide)
    return Fit(-loss, seconds, _count(guide))


def _count(guide: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in guide.parameters())


def cell(problem: str, name: str, steps: int, seeds: int) -> dict[str, object]:
    """Fit one guide to one problem with each seed, and return the mean, its standard error and the costs."""
    model, evidence = PROBLEMS[problem]
    fits = [fit(name, model, steps, seed) for seed in range(seeds)]
    elbos = [each.elbo for each in fits]
    finite = all(map(math.isfinite, elbos))

    error = statistics.stdev(elbos) / math.sqrt(seeds) if finite and seeds > 1 else None
    found = {
        "group": problem,
        "name": name,
        "value": statistics.mean(elbos) if finite else None,
        "standard_error": error,
        "evidence": evidence(),
        "cpu_seconds": statistics.mean(each.seconds for each in fits),
        "parameters": fits[0].parameters,
    }
    shown = f"{found['value']:9.3f}" if finite else "not finite"
    print(f"  {problem:<24} {name:<28} {shown}  {found['cpu_seconds']:6.1f} s", flush=True)
    return found


def main() -> None:
    """Fit and report."""
    options = parser(WHAT)
    options.add_argument("--guide", choices=list(GUIDES), action="append", help="only this guide")
    options.add_argument("--problem", choices=list(PROBLEMS), action="append", help="only this one")
    options.add_argument("--steps", type=int, default=STEPS, help="steps of each fit")
    options.add_argument("--seeds", type=int, default=SEEDS, help="seeds of each guide")
    arguments = parse(options)

    print(f"guide_elbo: {WHAT}\n  on {hardware()}, torch {torch.__version__}", flush=True)
    cases = product(arguments.problem or PROBLEMS, arguments.guide or GUIDES)
    problems, names = zip(*cases, strict=True)
    with ProcessPoolExecutor(PROCESSES) as pool:
        fits = partial(cell, steps=arguments.steps, seeds=arguments.seeds)
        elbos = list(pool.map(fits, problems, names))
    if arguments.record:
        settings = (
            f"Adam at {RATE}, falling to a tenth; {PARTICLES} particles, {arguments.steps:,} steps"
        )
        what = f"{WHAT}. {settings}, {arguments.seeds} seeds; the ELBO of {DRAWS:,} fresh draws"
        write(arguments.record, "guide_elbo", what, {"rows": [], "ratios": [], "elbos": elbos})


if __name__ == "__main__":
    sys.exit(main())
