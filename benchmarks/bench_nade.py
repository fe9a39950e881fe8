"""NADE (D = 784, H = 500): the gradient of log_prob beside an eager loop, and samples beside whole passes."""

import torch
from harness import DEVICE, alternate, peak_megabytes, report
from torch.nn import functional as F

from pyro_exact.autoregressive import NADE, Autoregressive

D, H, BATCH, IMAGES = 784, 500, 100, 64


def loop(net: NADE, x: torch.Tensor) -> torch.Tensor:
    """The recursion as the paper writes it; autograd keeps every hidden layer."""
    a, logits = net.c.expand(len(x), -1), []
    for d in range(D):
        logits.append(a.sigmoid() @ net.V[d, 0] + net.b[d, 0])
        a = a + x[:, d, None] * net.W[d]
    return torch.stack(logits, dim=-1)


def cumulative(net: NADE, x: torch.Tensor) -> torch.Tensor:
    """All pre-activations at once, as a cumulative sum over the dimensions."""
    a = net.c + (x[..., None] * net.W).cumsum(1) - x[..., None] * net.W
    return torch.einsum("bdh,dh->bd", a.sigmoid(), net.V[:, 0]) + net.b[:, 0]


@torch.no_grad()
def rerun(net: NADE) -> torch.Tensor:
    """Samples, with a whole pass for each dimension."""
    x = torch.zeros(IMAGES, D, device=DEVICE)
    for d in range(D):
        x[:, d] = net(x)[:, d, 0].sigmoid().bernoulli()
    return x


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    net = NADE(D, H).to(DEVICE)
    x = torch.randint(2, (BATCH, D), device=DEVICE).float()

    def backward(log_p: torch.Tensor) -> None:
        torch.autograd.grad(log_p.sum(), list(net.parameters()))

    def of(logits: torch.Tensor) -> torch.Tensor:
        return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    contenders = {
        "eager loop": lambda: backward(of(loop(net, x))),
        "cumulative sum": lambda: backward(of(cumulative(net, x))),
        "ours": lambda: backward(Autoregressive(net).log_prob(x)),
    }
    ms = alternate(contenders, rounds=15)
    peaks = {name: peak_megabytes(run) for name, run in contenders.items()}
    samplers = {
        "samples, forward for each dimension": lambda: rerun(net),
        "samples, ours": lambda: Autoregressive(net).sample((IMAGES,)),
    }
    ms |= alternate(samplers, rounds=3, warmup=1)
    ratios = [
        {
            "what": "eager loop / ours",
            "value": ms["eager loop"] / ms["ours"],
            "bar": "at least 2.5",
        },
        {
            "what": "cumulative sum / ours",
            "value": ms["cumulative sum"] / ms["ours"],
            "bar": "for comparison",
        },
        {
            "what": "peak memory, ours / eager loop",
            "value": peaks["ours"] / peaks["eager loop"],
            "bar": "at most 0.25",
        },
        {
            "what": "samples, forward for each dimension / ours",
            "value": ms["samples, forward for each dimension"] / ms["samples, ours"],
            "bar": "at least 20",
        },
    ]
    what = f"NADE, D = {D}, H = {H}: log_prob and its gradient, batch {BATCH}; and {IMAGES} samples"
    report("nade", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
