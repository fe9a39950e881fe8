"""Draw docs/images/blind_spot.png: the receptive fields of PixelCNN and Gated PixelCNN.

The receptive field is measured by changing each pixel of the input.

python docs/make_blind_spot.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle

from pyro_exact.autoregressive import CausalNet, GatedPixelCNN, PixelCNN

OUT = Path(__file__).parent / "images" / "blind_spot.png"
HEIGHT, WIDTH, ROW, COLUMN = 9, 13, 6, 4
NETS = {
    "PixelCNN": lambda: PixelCNN((1, HEIGHT, WIDTH), 2, width=8, depth=8, head_width=16),
    "Gated PixelCNN": lambda: GatedPixelCNN(
        (1, HEIGHT, WIDTH), 2, width=8, depth=8, kernel_size=3, head_width=16
    ),
}
COLOURS = {"comes later": "#eeeeee", "seen": "#4c72b0", "blind spot": "#dd8452"}


@torch.no_grad()
def seen(net: CausalNet) -> torch.Tensor:
    """Return the pixels that change theta of the pixel at ROW, COLUMN when they change, (HEIGHT, WIDTH)."""
    images = torch.randint(2, (1, *net.event_shape)).double().repeat(net.sites, 1, 1, 1)
    changed = (images.flatten(1) + torch.eye(net.sites)).remainder(2).view_as(images)
    theta, after = (net(x)[:, 0, ROW, COLUMN, 0] for x in (images, changed))
    return (theta != after).view(HEIGHT, WIDTH)


def main() -> None:
    """Draw the picture."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    number = torch.arange(HEIGHT * WIDTH).view(HEIGHT, WIDTH)
    before = number < number[ROW, COLUMN]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
    for axis, (name, make) in zip(axes, NETS.items(), strict=True):
        # A ReLU hides some dependences from some weights and images; ten of them together hide none.
        found = torch.stack([seen(make()) for _ in range(10)]).any(0)
        kind = torch.where(found, 1, torch.where(before, 2, 0))
        axis.pcolormesh(
            kind, cmap=ListedColormap(COLOURS.values()), vmin=0, vmax=2, edgecolors="white", lw=1.5
        )
        axis.add_patch(Rectangle((COLUMN, ROW), 1, 1, facecolor="black"))
        axis.set(title=name, aspect="equal")
        axis.invert_yaxis()
        axis.axis("off")
    handles = [Patch(color="black", label="the pixel")]
    handles += [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(OUT, dpi=120)


if __name__ == "__main__":
    main()
