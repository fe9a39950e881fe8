"""The mixture-CDF coupling of Flow++ on images of 3x32x32, K = 32: ours, plain and compiled, and the bare formula."""

import torch
from harness import DEVICE, alternate, report
from torch.nn import functional as F

from pyro_exact.nn import ConvConditioner
from pyro_exact.transforms import Checkerboard, Coupling, Elementwise, MixtureCDF

K, BATCH, WIDTH = 32, 16, 96


class Transcription(Elementwise):
    """The forward formula as one writes it down, with `logsigmoid` and `logsumexp`."""

    num_params = 2 + 3 * K

    def forward_and_ladj(
        self, x: torch.Tensor, theta: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the value and the log-derivative."""
        b, a, logits, mean, log_scale = theta.split([1, 1, K, K, K], dim=-1)
        b, a = b.squeeze(-1), a.squeeze(-1).tanh()
        log_weight, log_scale = logits.log_softmax(-1), 7 * (log_scale / 7).tanh()
        z = (x.unsqueeze(-1) - mean) * (-log_scale).exp()
        below, above = F.logsigmoid(z), F.logsigmoid(-z)
        log_cdf, log_rest = (log_weight + below).logsumexp(-1), (log_weight + above).logsumexp(-1)
        log_density = (log_weight - log_scale + below + above).logsumexp(-1)
        return (log_cdf - log_rest) * a.exp() + b, log_density - log_cdf - log_rest + a


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, 3, 32, 32, device=DEVICE)
    half = Checkerboard(3)
    net = ConvConditioner(half.fixed_size, half.free_size, Transcription.num_params, WIDTH).to(
        DEVICE
    )
    fixed, free = half.split(x)
    net.initialize(fixed)
    torch.nn.init.normal_(
        net.last.weight, std=0.03
    )  # it starts at zero, where all components are alike
    theta = net(fixed).detach().requires_grad_()
    formulas = {
        "bare formula": Transcription(),
        "ours": MixtureCDF(K, spread=0).to(DEVICE),
        "ours, compiled": MixtureCDF(K, spread=0, compiled=True).to(DEVICE),
    }
    layers = {name: Coupling(half, formula, net) for name, formula in formulas.items()}
    with torch.no_grad():
        changed, y = (
            formulas["ours"].forward_and_ladj(free, theta)[0],
            layers["ours"].forward_and_ladj(x)[0],
        )

    def backward(formula: Elementwise) -> None:
        output, ladj = formula.forward_and_ladj(free, theta)
        torch.autograd.grad(output.square().sum() - ladj.sum(), theta)

    contenders = {}
    for name, formula in formulas.items():
        layer = layers[name]
        contenders |= {
            f"formula, forward: {name}": lambda f=formula: torch.no_grad()(f.forward_and_ladj)(
                free, theta
            ),
            f"formula, forward and backward: {name}": lambda f=formula: backward(f),
            f"coupling, forward: {name}": lambda c=layer: torch.no_grad()(c.forward_and_ladj)(x),
        }
        if name != "bare formula":
            contenders |= {
                f"formula, inverse: {name}": lambda f=formula: torch.no_grad()(f.inverse_and_ladj)(
                    changed, theta
                ),
                f"coupling, inverse: {name}": lambda c=layer: torch.no_grad()(c.inverse_and_ladj)(
                    y
                ),
            }
    ms = alternate(contenders, rounds=15)
    ratios = []
    for name in ("ours", "ours, compiled"):
        ratios += [
            {
                "what": f"{task}: {name}, inverse / forward",
                "value": ms[f"{task}, inverse: {name}"] / ms[f"{task}, forward: {name}"],
                "bar": "at most 5",
            }
            for task in ("formula", "coupling")
        ]
        ratios += [
            {
                "what": f"{task}: bare formula / {name}",
                "value": ms[f"{task}: bare formula"] / ms[f"{task}: {name}"],
                "bar": "at least 1.5" if formulas[name].compiled else "none",
            }
            for task in ("formula, forward", "formula, forward and backward", "coupling, forward")
        ]
    what = (
        f"mixture-CDF coupling with K = {K} on {BATCH} images of 3x32x32: the formula alone on the free half of the "
        f"numbers, and the whole coupling with its conditioner, a convolutional network of width {WIDTH}"
    )
    report("mixture_cdf", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
