"""Attention models at small settings (images 32x32x3): blocks of local attention, samples, and TarFlow's inverse.

- A training step of a transformer with blocked local attention, beside the same transformer with
  dense attention and a mask: the same function of the same weights.
- 16 samples of each model, beside a pass of the network for each site, or for each token of each
  layer. Of these passes a few are measured; that all of them take as long is an extrapolation.
- The inverse of TarFlow by steps and by passes. Its weights are not trained, but drawn so that a
  layer is far from the identity; the number of passes is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from harness import DEVICE, alternate, peak_megabytes, report
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_exact.autoregressive import Autoregressive, CausalNet, ImageTransformer, PixelSNAIL
from pyro_exact.flows import tarflow
from pyro_exact.nn import CausalTransformer
from pyro_exact.nn.transformer.block import CausalAttention
from pyro_exact.transforms import Compose, TokenAutoregressive

IMAGES, SHAPE = 16, (3, 32, 32)
LENGTH, WIDTH, DEPTH, HEADS, LOCAL = 1024, 96, 4, 4, 128
PASSES = 2
FAR_FROM_IDENTITY = 0.03  # standard deviation of the last weights of each layer of TarFlow


class MaskedAttention(CausalAttention):
    """The same attention, over all pairs of positions and with a mask."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the attention of all positions."""
        position = torch.arange(x.shape[1], device=x.device)
        block = position // self.block
        mask = (position <= position[:, None]) & (block >= block[:, None] - 1)
        query, key, value = self._projected(x)
        return self._merged(F.scaled_dot_product_attention(query, key, value, mask))


def with_mask(net: CausalTransformer) -> CausalTransformer:
    """Return a copy of a transformer whose attention is dense, with a mask."""
    dense = deepcopy(net)
    for block in dense.blocks:
        block.attention.__class__ = MaskedAttention
    return dense


def training_step(net: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a function that takes one step of Adam."""
    optimizer = torch.optim.Adam(net.parameters(), fused=True)

    def step() -> None:
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()

    return step


def passes_of(net: CausalNet, x: Tensor) -> Callable[[], None]:
    """Return a function that draws a few sites, by a pass of the network for each."""
    noise = torch.rand(len(x), net.likelihood.num_noise, device=DEVICE)

    @torch.no_grad()
    def draw() -> None:
        for _ in range(PASSES):
            theta = net(x).flatten(1, -2)[:, 0]
            net.likelihood.draw(theta, noise)

    return draw


def small_tarflow() -> Compose:
    """Return a TarFlow whose layers are far from the identity."""
    flow = tarflow(SHAPE, patch=4, layers=4, depth=2, width=128, heads=2).to(DEVICE)
    for layer in layers(flow):
        nn.init.normal_(layer.conditioner.last.weight, std=FAR_FROM_IDENTITY)
    return flow


def layers(flow: Compose) -> list[TokenAutoregressive]:
    """Return the autoregressive layers of a flow."""
    return [part for part in flow.parts if isinstance(part, TokenAutoregressive)]


def inverse(flow: Compose, z: Tensor, solver: str) -> Callable[[], None]:
    """Return a function that inverts a flow by one of the two methods."""

    @torch.no_grad()
    def invert() -> None:
        for layer in layers(flow):
            layer.solver = solver
        flow.inverse_and_ladj(z)

    return invert


def attention_rows() -> tuple[dict[str, float], dict[str, float]]:
    """Measure a training step of blocked attention and of dense attention with a mask."""
    net = CausalTransformer(LENGTH, WIDTH, DEPTH, HEADS, local=LOCAL).to(DEVICE)
    x = torch.randn(IMAGES // 4, LENGTH, WIDTH, device=DEVICE)
    dense = with_mask(net)
    torch.testing.assert_close(dense(x), net(x), rtol=1e-3, atol=1e-4)

    contenders = {
        "training step, blocks of local attention": training_step(net, x),
        "training step, dense attention with a mask": training_step(dense, x),
    }
    ms = alternate(contenders, rounds=3, warmup=1)
    return ms, {name: peak_megabytes(run) for name, run in contenders.items()}


def sample_rows() -> dict[str, float]:
    """Measure 16 samples of the two networks, and passes for each site."""
    x = torch.randint(256, (IMAGES, *SHAPE), device=DEVICE).float()
    nets = {
        "ImageTransformer": ImageTransformer(
            SHAPE,
            width=96,
            depth=4,
            heads=4,
            local=128,
            norm="pre",
            activation="gelu",
            positions="learned",
            likelihood={"name": "discretized_logistic_mixture", "components": 5},
        ),
        "PixelSNAIL": PixelSNAIL(
            SHAPE, width=32, depth=3, resnets=2, key_dim=8, value_dim=16, components=5
        ),
    }

    ms = {}
    for name, net in nets.items():
        net.to(DEVICE).eval().initialize(x)
        contenders = {
            "passes": passes_of(net, x),
            "ours": lambda net=net: Autoregressive(net).sample((IMAGES,)),
        }
        times = alternate(contenders, rounds=2, warmup=1)
        ms[f"16 samples, {name}"] = times["ours"]
        ms[f"16 samples, {name}, a pass for each pixel"] = times["passes"] / PASSES * net.sites
    return ms


def tarflow_rows() -> tuple[dict[str, float], list[int]]:
    """Measure the inverse of TarFlow by each method, and passes for each token."""
    flow = small_tarflow()
    z = torch.randn(IMAGES, flow.output[0], device=DEVICE)
    x = 256 * torch.rand(IMAGES, *SHAPE, device=DEVICE)
    tokens = layers(flow)[0].conditioner.tokens

    @torch.no_grad()
    def one_pass() -> None:
        flow.forward_and_ladj(x)

    contenders = {
        "16 samples, TarFlow, steps": inverse(flow, z, "steps"),
        "16 samples, TarFlow, passes": inverse(flow, z, "passes"),
        "one sample, TarFlow, steps": inverse(flow, z[:1], "steps"),
        "one sample, TarFlow, passes": inverse(flow, z[:1], "passes"),
        "one pass": one_pass,
    }
    ms = alternate(contenders, rounds=2, warmup=1)
    ms["16 samples, TarFlow, a pass for each token"] = ms.pop("one pass") * tokens

    inverse(flow, z, "passes")()
    return ms, [layer.passes or 0 for layer in layers(flow)]


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    ms, peaks = attention_rows()
    ms |= sample_rows()
    inverse_ms, passes = tarflow_rows()
    ms |= inverse_ms

    def ratio(slow: str, fast: str, bar: str) -> dict[str, object]:
        return {"what": f"{slow} / {fast}", "value": ms[slow] / ms[fast], "bar": bar}

    step = "training step, "
    ratios = [
        ratio(f"{step}dense attention with a mask", f"{step}blocks of local attention", "above 1"),
        *(
            ratio(
                f"16 samples, {name}, a pass for each pixel", f"16 samples, {name}", "at least 50"
            )
            for name in ("ImageTransformer", "PixelSNAIL")
        ),
        ratio(
            "16 samples, TarFlow, a pass for each token",
            "16 samples, TarFlow, steps",
            "for comparison",
        ),
        ratio("16 samples, TarFlow, passes", "16 samples, TarFlow, steps", "for comparison"),
        ratio("one sample, TarFlow, passes", "one sample, TarFlow, steps", "for comparison"),
        {
            "what": "passes of a layer of TarFlow, on average",
            "value": sum(passes) / len(passes),
            "bar": "at most 64, the tokens",
        },
    ]
    what = f"attention, {IMAGES} images {' x '.join(map(str, SHAPE))}, small settings"
    report("attention", what, ms, peaks, ratios)


if __name__ == "__main__":
    main()
