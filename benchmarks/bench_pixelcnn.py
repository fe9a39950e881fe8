"""Gated PixelCNN and PixelCNN on 28x28 bits: samples by steps, beside whole passes for each pixel."""

import torch
from harness import DEVICE, alternate, report

from pyro_exact.autoregressive import GatedPixelCNN, PixelCNN
from pyro_exact.distributions import Autoregressive

SHAPE, SITES = (1, 28, 28), 784
NETS = {
    # The size of the usual implementation: 7x7, then 10 layers of 3x3 with 128 channels, and a head of 32.
    "Gated PixelCNN": GatedPixelCNN(SHAPE, 2, hidden=128, layers=10, kernel_size=3, head=32),
    "PixelCNN": PixelCNN(SHAPE, 2, hidden=128, blocks=15, head=32),
}


@torch.no_grad()
def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    ms: dict[str, float] = {}
    ratios = []
    for name, net in NETS.items():
        net.to(DEVICE)
        for batch in (1, 16, 64):
            x = torch.randint(2, (batch, *SHAPE), device=DEVICE).float()
            contenders = {
                f"{name}, one pass, batch {batch}": lambda net=net, x=x: net(x),
                f"{name}, samples, batch {batch}": lambda net=net, n=batch: Autoregressive(net).sample((n,)),
            }
            measured = alternate(contenders, rounds=3, warmup=1)
            one, samples = measured.values()
            ms |= measured
            bar = "at least 50" if net is NETS["Gated PixelCNN"] else "for comparison"
            what = f"{name}, batch {batch}: {SITES} passes / samples by steps"
            ratios.append({"what": what, "value": SITES * one / samples, "bar": bar})
    what = "28x28 bits, samples by steps; a sampler without them makes 784 passes, of which one is measured"
    report("pixelcnn", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
