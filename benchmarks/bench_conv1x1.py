"""The 1x1 convolution, forward and backward on 32x48x16x16: ours, the bare operations, and Pyro's layer."""

import torch
from harness import DEVICE, alternate, report
from pyro.distributions.transforms import GeneralizedChannelPermute
from torch.nn import functional as F

from pyro_exact.transforms import Conv1x1


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    x = torch.randn(32, 48, 16, 16, device=DEVICE)
    ours = {name: Conv1x1(48, factorized=name == "PLU").to(DEVICE) for name in ("plain", "PLU")}
    pyro = GeneralizedChannelPermute(48).to(DEVICE)
    weight = torch.nn.Parameter(torch.linalg.qr(torch.randn(48, 48, device=DEVICE))[0].contiguous())

    def bare() -> None:
        y = F.conv2d(x, weight[:, :, None, None])
        ladj = 16 * 16 * torch.linalg.slogdet(weight)[1]
        torch.autograd.grad(y.square().sum() - 32 * ladj, weight)

    def of(layer: torch.nn.Module) -> None:
        again = x.view_as(
            x
        )  # Pyro's cache would answer the same tensor with a graph that is used up
        y = layer(again)
        ladj = layer.log_abs_det_jacobian(again, y)
        torch.autograd.grad(
            y.square().sum() - ladj.expand(32).sum(), list(layer.parameters()), allow_unused=True
        )

    contenders = {"conv2d + slogdet": bare}
    contenders |= {f"ours, {name}": lambda layer=layer: of(layer) for name, layer in ours.items()}
    contenders["Pyro GeneralizedChannelPermute"] = lambda: of(pyro)
    ms = alternate(contenders, rounds=30)
    base = ms["conv2d + slogdet"]
    ratios = [
        {"what": f"ours, {n} / bare", "value": ms[f"ours, {n}"] / base, "bar": "at most 1.3"}
        for n in ours
    ]
    ratios.append(
        {
            "what": "Pyro / bare",
            "value": ms["Pyro GeneralizedChannelPermute"] / base,
            "bar": "for comparison",
        }
    )
    report(
        "conv1x1",
        "1x1 convolution on 32x48x16x16, forward and backward of the weights",
        ms,
        {},
        ratios,
    )


if __name__ == "__main__":
    main()
