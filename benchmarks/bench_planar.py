"""Sixteen planar maps of 1024 vectors of 40 numbers: ours, the bare formula, and Pyro's layers."""

import torch
from harness import DEVICE, alternate, report
from pyro.distributions import Normal, TransformedDistribution
from pyro.distributions.transforms import Planar as PyroPlanar
from torch.nn import functional as F

from pyro_exact.flows import planar
from pyro_exact.transforms import Compose, Planar

D, LENGTH, PARTICLES = 40, 16, 1024


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    base = Normal(torch.zeros(D, device=DEVICE), 1.0).to_event(1)
    u, w = (
        torch.nn.Parameter(torch.empty(LENGTH, D, device=DEVICE).uniform_(-(D**-0.5), D**-0.5))
        for _ in "uw"
    )
    b = torch.nn.Parameter(torch.zeros(LENGTH, device=DEVICE))

    def backward(x: torch.Tensor, log_q: torch.Tensor, weights: list[torch.Tensor]) -> None:
        torch.autograd.grad((log_q + 0.5 * x.square().sum(-1)).mean(), weights)

    def bare() -> None:
        x = base.rsample((PARTICLES,))
        log_q = base.log_prob(x)
        product = (w * u).sum(-1, keepdim=True)
        m = F.softplus(product) - 1
        u_hat = u + (m - product) * w / w.square().sum(-1, keepdim=True)
        for k in range(LENGTH):
            h = (x @ w[k] + b[k]).tanh()
            x = x + h.unsqueeze(-1) * u_hat[k]
            log_q = log_q - (1 + (1 - h.square()) * m[k]).log()
        backward(x, log_q, [u, w, b])

    def of(*layers: torch.nn.Module) -> None:
        q = TransformedDistribution(base, list(layers))
        x = q.rsample((PARTICLES,))
        backward(x, q.log_prob(x), [p for layer in layers for p in layer.parameters()])

    one = planar(D, LENGTH, act_norm=False).to(DEVICE)
    composed = Compose([Planar(D) for _ in range(LENGTH)]).to(DEVICE)
    pyro = [PyroPlanar(D).to(DEVICE) for _ in range(LENGTH)]
    contenders = {
        "bare formula": bare,
        f"ours, planar({D}, {LENGTH})": lambda: of(one),
        f"ours, Compose of {LENGTH} Planar({D})": lambda: of(composed),
        f"Pyro, {LENGTH} Planar({D})": lambda: of(*pyro),
    }
    ms = alternate(contenders, rounds=50)
    bars = ["", "at most 1.2", "none", "for comparison"]
    ratios = [
        {"what": f"{name} / bare formula", "value": value / ms["bare formula"], "bar": bar}
        for (name, value), bar in zip(ms.items(), bars, strict=True)
        if bar
    ]
    what = f"planar flow of {LENGTH} maps on {PARTICLES} vectors of {D} numbers: rsample, log_prob, backward"
    report("planar", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
