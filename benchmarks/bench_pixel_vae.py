"""PixelVAE on 28x28 bits: decoding by the steps of its network, beside a whole pass for each pixel."""

import torch
from harness import DEVICE, alternate, report

from pyro_exact.models import pixel_vae

SHAPE, SITES = (1, 28, 28), 784
MODELS = {"without upsampling": False, "upsampled": True}


@torch.no_grad()
def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    ms: dict[str, float] = {}
    ratios = []
    for name, upsample in MODELS.items():
        model = pixel_vae(SHAPE, upsample=upsample).to(DEVICE).eval()
        for batch in (1, 16):
            z = torch.randn(batch, 16, device=DEVICE)
            x = torch.zeros(batch, *SHAPE, device=DEVICE)
            contenders = {
                f"{name}, one pass, batch {batch}": lambda model=model, z=z, x=x: (
                    model.likelihood_of(z).log_prob(x)
                ),
                f"{name}, decode, batch {batch}": lambda model=model, z=z: model.decode(z),
            }
            measured = alternate(contenders, rounds=3, warmup=1)
            one, decoded = measured.values()
            ms |= measured
            what = f"{name}, batch {batch}: {SITES} passes / decode"
            ratios.append({"what": what, "value": SITES * one / decoded, "bar": "above 5"})
    what = "images drawn given z, 13 layers; a sampler without steps makes 784 passes, of which one is measured"
    report("pixel_vae", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
