"""Affine couplings on vectors of 64 numbers: ours, Pyro's and zuko's, with networks of equal sizes."""

import torch
from harness import DEVICE, alternate, report
from pyro.distributions import Normal, TransformedDistribution
from pyro.distributions.transforms import affine_coupling
from zuko.distributions import NormalizingFlow
from zuko.flows.coupling import GeneralCouplingTransform

from pyro_exact.nn import DenseConditioner
from pyro_exact.transforms import Affine, Coupling, Halves

D, BATCH, HIDDEN = 64, 1024, (128, 128)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    base = Normal(torch.zeros(D, device=DEVICE), 1.0).to_event(1)
    x = torch.randn(BATCH, D, device=DEVICE)
    ours = Coupling(
        Halves(D), Affine(), DenseConditioner(D // 2, D // 2, Affine.num_params, HIDDEN)
    ).to(DEVICE)
    pyro = affine_coupling(D, list(HIDDEN)).to(DEVICE)
    zuko = GeneralCouplingTransform(D, mask=torch.arange(D) < D // 2, hidden_features=HIDDEN).to(
        DEVICE
    )
    flows = {
        "ours": (list(ours.parameters()), lambda: TransformedDistribution(base, [ours])),
        "Pyro": (list(pyro.parameters()), lambda: TransformedDistribution(base, [pyro])),
        "zuko": (list(zuko.parameters()), lambda: NormalizingFlow(zuko(), base)),
    }

    @torch.no_grad()
    def log_prob(weights, distribution) -> None:
        distribution().log_prob(x.view_as(x))  # a new tensor: Pyro's cache would know the old one

    @torch.no_grad()
    def sample(weights, distribution) -> None:
        distribution().sample((BATCH,))

    def backward(weights, distribution) -> None:
        torch.autograd.grad(distribution().log_prob(x.view_as(x)).sum(), weights)

    tasks = {"log_prob": log_prob, "sample": sample, "log_prob and backward": backward}
    contenders = {
        f"{task}, {name}": lambda run=run, flow=flow: run(*flow)
        for task, run in tasks.items()
        for name, flow in flows.items()
    }
    ms = alternate(contenders, rounds=50)
    ratios = [
        {
            "what": f"{task}, {peer} / ours",
            "value": ms[f"{task}, {peer}"] / ms[f"{task}, ours"],
            "bar": "at least 1.0",
        }
        for task in tasks
        for peer in ("Pyro", "zuko")
    ]
    what = f"affine coupling on {BATCH} vectors of {D} numbers, hidden layers of {HIDDEN[0]} and {HIDDEN[1]} units"
    report("affine_coupling", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
