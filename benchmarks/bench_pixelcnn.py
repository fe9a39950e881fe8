"""Gated PixelCNN and PixelCNN on 28x28 bits: samples by steps, beside whole passes for each pixel."""

import torch
from harness import DEVICE, alternate, report

from pyro_exact.autoregressive import Autoregressive, GatedPixelCNN, PixelCNN

SHAPE, SITES = (1, 28, 28), 784
GATED, SMALL, PLAIN = "Gated PixelCNN", "Gated PixelCNN of 32 channels", "PixelCNN"
NETS = {
    # The size of the usual implementation: 7x7, then 10 layers of 3x3 with 128 channels, and a head
    # of 32.
    GATED: GatedPixelCNN(SHAPE, 2, width=128, depth=10, kernel_size=3, head_width=32),
    # That of the recipe, for which a pass at batch 1 is cheap.
    SMALL: GatedPixelCNN(SHAPE, 2, width=32, depth=12, kernel_size=5, head_width=32),
    PLAIN: PixelCNN(SHAPE, 2, width=128, depth=15, head_width=32),
}
BATCHES = {GATED: (1, 16, 64), SMALL: (1, 16), PLAIN: (1, 16)}


@torch.no_grad()
def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    ms: dict[str, float] = {}
    ratios = []
    for name, net in NETS.items():
        net.to(DEVICE)
        for batch in BATCHES[name]:
            x = torch.randint(2, (batch, *SHAPE), device=DEVICE).float()
            contenders = {
                f"{name}, one pass, batch {batch}": lambda net=net, x=x: net(x),
                f"{name}, samples, batch {batch}": lambda net=net, n=batch: Autoregressive(
                    net
                ).sample((n,)),
            }
            measured = alternate(contenders, rounds=min(3, 64 // batch), warmup=1)
            one, samples = measured.values()
            ms |= measured
            what = f"{name}, batch {batch}: {SITES} passes / samples by steps"
            bar = "at least 50" if name == GATED else "for comparison"
            ratios.append({"what": what, "value": SITES * one / samples, "bar": bar})
    what = "28x28 bits, samples by steps; a sampler without them makes 784 passes, of which one is measured"
    report("pixelcnn", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
