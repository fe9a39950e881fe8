"""The discretised logistic mixture of pixels (16 x 3 x 32 x 32, 10 components) beside an eager transcription."""

import torch
from harness import DEVICE, alternate, peak_megabytes, report
from torch import Tensor
from torch.nn import functional as F

from pyro_exact.likelihoods import DiscretizedLogisticMixture

IMAGES, SIDE, LEVELS, COMPONENTS = 16, 32, 256, 10


def eager(theta: Tensor, x: Tensor, components: int = COMPONENTS) -> Tensor:
    """The likelihood as it is usually written, with its fallback to the density where an interval is below 1e-5."""
    v = 2 * x / (LEVELS - 1) - 1
    logits, numbers = (
        theta[..., :components],
        theta[..., components:].unflatten(-1, (3, 3 * components)),
    )
    means, log_scales, slopes = numbers.chunk(3, dim=-1)
    log_scales, slopes = log_scales.clamp(min=-7), slopes.tanh()
    v = v.unsqueeze(-1).expand_as(means)
    green = means[..., 1, :] + slopes[..., 0, :] * v[..., 0, :]
    blue = means[..., 2, :] + slopes[..., 1, :] * v[..., 0, :] + slopes[..., 2, :] * v[..., 1, :]
    centred = v - torch.stack((means[..., 0, :], green, blue), dim=-2)
    rate = (-log_scales).exp()
    upper, lower, middle = (rate * (centred + shift / (LEVELS - 1)) for shift in (1, -1, 0))
    interval = upper.sigmoid() - lower.sigmoid()
    density = middle - log_scales - 2 * F.softplus(middle) - torch.tensor((LEVELS - 1) / 2).log()
    inside = torch.where(interval > 1e-5, interval.clamp(min=1e-12).log(), density)
    log_p = torch.where(v > 0.999, -F.softplus(lower), inside)
    log_p = torch.where(v < -0.999, upper - F.softplus(upper), log_p)
    return (log_p.sum(-2) + logits.log_softmax(-1)).logsumexp(-1)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    likelihood = DiscretizedLogisticMixture(3, LEVELS, COMPONENTS)
    theta = torch.randn(
        IMAGES, SIDE, SIDE, likelihood.num_params, device=DEVICE, requires_grad=True
    )
    x = torch.randint(LEVELS, (IMAGES, SIDE, SIDE, 3), device=DEVICE).float()
    contenders = {
        "eager transcription": lambda: torch.autograd.grad(eager(theta, x).sum(), theta),
        "ours": lambda: torch.autograd.grad(likelihood.log_prob(theta, x).sum(), theta),
    }
    ms = alternate(contenders, rounds=15)
    peaks = {name: peak_megabytes(run) for name, run in contenders.items()}
    ratios = [
        {
            "what": "eager transcription / ours",
            "value": ms["eager transcription"] / ms["ours"],
            "bar": "at least 2",
        },
        {
            "what": "peak memory, ours / eager transcription",
            "value": peaks["ours"] / peaks["eager transcription"],
            "bar": "for comparison",
        },
    ]
    what = (
        f"{IMAGES} x 3 x {SIDE} x {SIDE} pixels, {COMPONENTS} components: log_prob and its gradient"
    )
    report("logistic_mixture", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
