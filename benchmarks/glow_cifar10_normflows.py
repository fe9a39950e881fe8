"""Train normflows' Glow on CIFAR-10 for a number of minutes: the peer of the recipe `glow_cifar10_small`.

Same shapes (three scales, eight steps, width 128), same images, same split and the same clock;
normflows' own layers, base and optimiser settings. Writes a record in the form of ours.

    python benchmarks/glow_cifar10_normflows.py cifar10.npz --minutes 20 --out record.json
"""

import argparse
import json
import math
import time
from importlib.metadata import version
from pathlib import Path

import normflows as nf
import numpy as np
import torch

from pyro_exact.files import write_json
from pyro_exact.provenance import provenance


def glow(
    scales: int = 3, depth: int = 8, width: int = 128, shape: tuple[int, int, int] = (3, 32, 32)
) -> nf.MultiscaleFlow:
    """normflows' multi-scale Glow, built as in its own example."""
    channels, height, breadth = shape
    base, flows, merges = [], [], []
    for i in range(scales):
        blocks = [
            nf.flows.GlowBlock(
                channels * 2 ** (scales + 1 - i), width, split_mode="channel", scale=True
            )
            for _ in range(depth)
        ]
        flows.append([*blocks, nf.flows.Squeeze()])
        if i > 0:
            merges.append(nf.flows.Merge())
            latent = (
                channels * 2 ** (scales - i),
                height // 2 ** (scales - i),
                breadth // 2 ** (scales - i),
            )
        else:
            latent = (channels * 2 ** (scales + 1), height // 2**scales, breadth // 2**scales)
        base.append(nf.distributions.DiagGaussian(latent, trainable=True))
    return nf.MultiscaleFlow(base, flows, merges)


def bits_per_dim(model: nf.MultiscaleFlow, images: torch.Tensor) -> torch.Tensor:
    """Bits per dimension of each image, with uniform noise."""
    v = (images.float() + torch.rand(images.shape, device=images.device)) / 256
    return -model.log_prob(v, None) / (v[0].numel() * math.log(2)) + 8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", help="a remark on the data, for the record")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    with np.load(args.data) as arrays:
        train, test = torch.from_numpy(arrays["train"]), torch.from_numpy(arrays["test"])
    model = glow()
    optimiser = torch.optim.Adamax(model.parameters(), lr=1e-3, weight_decay=1e-5)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < 60 * args.minutes:
        loss = bits_per_dim(model, train[torch.randint(len(train), (args.batch_size,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 50 == 0:
            print(
                f"step {steps}, {(time.perf_counter() - start) / 60:.1f} min, {loss.item():.3f} bits/dim",
                flush=True,
            )
    wall = time.perf_counter() - start
    model.eval()
    with torch.no_grad():
        bits = torch.cat([bits_per_dim(model, batch) for batch in test.split(100)])
    record = {
        "recipe": "glow_cifar10_small",
        "peer": f"normflows {version('normflows')}",
        "model": "glow",
        "settings": {"scales": 3, "depth": 8, "width": 128},
        "training": {
            "optimizer": "adamax",
            "learning_rate": 1e-3,
            "weight_decay": 1e-5,
            "batch_size": args.batch_size,
        },
        "paper": None,
        "seed": args.seed,
        "data": {"name": args.data.stem, "split": "test", "images": len(test), "note": args.note},
        **provenance(),
        "steps": steps,
        "seconds": round(wall, 1),
        "clock": "wall",
        "parameters": sum(p.numel() for p in model.parameters()),
        "metric": {
            "unit": "bits/dim",
            "value": bits.mean().item(),
            "standard_error": (bits.std() / math.sqrt(len(bits))).item(),
            "bound": "elbo",
            "k": 1,
        },
        "ema": False,
    }
    write_json(record, args.out)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
