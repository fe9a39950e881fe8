"""PixelCNN++ (2 blocks, 40 filters, 5 components; 16 images of 32x32x3): a training step, and samples.

Beside it an eager network as it is usually written in PyTorch: maps (N, C, H, W), weight
normalisation by parametrisation, ELU of a concatenation, dropout of whole channels, and samples by
a pass over the image for each pixel. Of those passes a few are measured; that all of them take as
long is an extrapolation. Its optimiser is plain Adam, ours the fused one, which is a part of what a
step
gains.
"""

from __future__ import annotations

import torch
from bench_logistic_mixture import eager as eager_log_prob
from harness import DEVICE, alternate, peak_megabytes, report
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from pyro_exact.autoregressive import Autoregressive, PixelCNNpp
from pyro_exact.likelihoods import DiscretizedLogisticMixture

IMAGES, SIDE, RESNETS, FILTERS, COMPONENTS = 16, 32, 2, 40, 5
PASSES = 2


class Conv(nn.Module):
    """A padded convolution whose kernel ends at the row, and with (2, 2) at the pixel."""

    def __init__(self, fan_in: int, fan_out: int, kernel: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        rows, columns = kernel
        beside = (columns // 2, columns // 2) if columns % 2 else (columns - 1, 0)
        self.pad = nn.ZeroPad2d((*beside, rows - 1, 0))
        self.conv = weight_norm(nn.Conv2d(fan_in, fan_out, kernel, stride))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        return self.conv(self.pad(x))


class Deconv(nn.Module):
    """A transposed convolution that doubles the map, cropped."""

    def __init__(self, filters: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = weight_norm(
            nn.ConvTranspose2d(filters, filters, kernel, 2, output_padding=1), dim=1
        )
        self.beside = kernel[1] // 2 if kernel[1] % 2 else 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        return self.conv(x)[:, :, :height, self.beside : self.beside + width]


class Nin(nn.Module):
    """A linear layer at each pixel."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.linear = weight_norm(nn.Linear(fan_in, fan_out))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map."""
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def concat_elu(x: Tensor) -> Tensor:
    """Return the activation."""
    return F.elu(torch.cat((x, -x), dim=1))


class Resnet(nn.Module):
    """A gated residual block."""

    def __init__(self, filters: int, kernel: tuple[int, int], sides: int) -> None:
        super().__init__()
        self.first = Conv(2 * filters, filters, kernel)
        self.side = Nin(2 * sides * filters, filters) if sides else None
        self.dropout = nn.Dropout2d(0.5)
        self.second = Conv(2 * filters, 2 * filters, kernel)

    def forward(self, x: Tensor, side: Tensor | None = None) -> Tensor:
        """Return the block's output."""
        h = self.first(concat_elu(x))
        if self.side is not None:
            h = h + self.side(concat_elu(side))
        a, b = self.second(self.dropout(concat_elu(h))).chunk(2, dim=1)
        return x + a * b.sigmoid()


class Eager(nn.Module):
    """The network: u sees the rows above, ul also the row."""

    def __init__(self) -> None:
        super().__init__()
        n, down, right = FILTERS, (2, 3), (2, 2)
        self.u_first, self.ul_down, self.ul_right = (
            Conv(4, n, (2, 3)),
            Conv(4, n, (1, 3)),
            Conv(4, n, (2, 1)),
        )
        self.u_up = nn.ModuleList(Resnet(n, down, 0) for _ in range(3 * RESNETS))
        self.ul_up = nn.ModuleList(Resnet(n, right, 1) for _ in range(3 * RESNETS))
        self.u_shrink = nn.ModuleList(Conv(n, n, down, 2) for _ in range(2))
        self.ul_shrink = nn.ModuleList(Conv(n, n, right, 2) for _ in range(2))
        self.u_down = nn.ModuleList(Resnet(n, down, 1) for _ in range(3 * RESNETS + 2))
        self.ul_down_blocks = nn.ModuleList(Resnet(n, right, 2) for _ in range(3 * RESNETS + 2))
        self.u_grow = nn.ModuleList(Deconv(n, down) for _ in range(2))
        self.ul_grow = nn.ModuleList(Deconv(n, right) for _ in range(2))
        self.last = Nin(n, 10 * COMPONENTS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the parameters of each pixel, (N, H, W, 10 components)."""
        x = F.pad(2 * x / 255 - 1, (0, 0, 0, 0, 0, 1), value=1.0)
        u = [F.pad(self.u_first(x)[:, :, :-1], (0, 0, 1, 0))]
        ul = [
            F.pad(self.ul_down(x)[:, :, :-1], (0, 0, 1, 0))
            + F.pad(self.ul_right(x)[..., :-1], (1, 0))
        ]
        for scale in range(3):
            for i in range(scale * RESNETS, (scale + 1) * RESNETS):
                u.append(self.u_up[i](u[-1]))
                ul.append(self.ul_up[i](ul[-1], u[-1]))
            if scale < 2:
                u.append(self.u_shrink[scale](u[-1]))
                ul.append(self.ul_shrink[scale](ul[-1]))
        v, w, done = u.pop(), ul.pop(), 0
        for scale in range(3):
            for _ in range(RESNETS + (scale > 0)):
                v = self.u_down[done](v, u.pop())
                w = self.ul_down_blocks[done](w, torch.cat((v, ul.pop()), dim=1))
                done += 1
            if scale < 2:
                v, w = self.u_grow[scale](v), self.ul_grow[scale](w)
        return self.last(F.elu(w)).permute(0, 2, 3, 1)


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    eager = Eager().to(DEVICE)
    net = PixelCNNpp((3, SIDE, SIDE), 256, width=FILTERS, depth=RESNETS, components=COMPONENTS).to(
        DEVICE
    )
    x = torch.randint(256, (IMAGES, 3, SIDE, SIDE), device=DEVICE).float()
    net.initialize(x)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (eager, net)]
    if sizes[0] != sizes[1]:
        raise RuntimeError(f"The two networks differ: {sizes}.")

    def trainer(module: nn.Module, loss: object) -> object:
        optimizer = torch.optim.Adam(module.parameters(), fused=module is net)

        def step() -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        return step

    contenders = {
        "training step, eager": trainer(
            eager, lambda: -eager_log_prob(eager(x), x.movedim(1, -1), COMPONENTS).sum() / IMAGES
        ),
        "training step, ours": trainer(
            net, lambda: -Autoregressive(net).log_prob(x).sum() / IMAGES
        ),
    }
    ms = alternate(contenders, rounds=3, warmup=1)
    peaks = {name: peak_megabytes(run) for name, run in contenders.items()}

    eager.eval(), net.eval()
    likelihood = DiscretizedLogisticMixture(3, 256, COMPONENTS)

    @torch.no_grad()
    def passes() -> None:
        for _ in range(PASSES):
            likelihood.draw(eager(x)[:, 0, 0], torch.rand(IMAGES, 4, device=DEVICE))

    samplers = {"passes": passes, "16 samples, ours": lambda: Autoregressive(net).sample((IMAGES,))}
    times = alternate(samplers, rounds=2, warmup=1)
    ms["16 samples, a pass for each pixel (extrapolated)"] = times["passes"] / PASSES * SIDE * SIDE
    ms["16 samples, ours"] = times["16 samples, ours"]
    naive, ours = (ms[name] for name in list(ms)[-2:])
    ratios = [
        {
            "what": "training step, eager / ours",
            "value": ms["training step, eager"] / ms["training step, ours"],
            "bar": "for comparison",
        },
        {
            "what": "training step, ours, in seconds of one thread",
            "value": ms["training step, ours"] / 1e3,
            "bar": "at most 0.6 with two",
        },
        {
            "what": "16 samples, a pass for each pixel / ours",
            "value": naive / ours,
            "bar": "at least 100",
        },
        {
            "what": "16 samples, ours, in seconds of one thread",
            "value": ours / 1e3,
            "bar": "at most 3.4 with two",
        },
    ]
    size = f"{RESNETS} blocks, {FILTERS} filters, {COMPONENTS} components"
    what = f"PixelCNN++, {size}, {IMAGES} images 3 x {SIDE} x {SIDE}"
    report("pixelcnn_pp", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
