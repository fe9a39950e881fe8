"""Draw the figures of the documentation. Use this script when the plotting code has changed.

    python docs/make_gallery.py --runs runs --data_root DATA          # all with checkpoints in runs/
    python docs/make_gallery.py --only "[digits_by_class]"            # some

The commands in docs/gallery.md create the checkpoints. A figure whose checkpoints are missing is not
changed and is listed at the end; the exit code is then 1.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import auto_cli

from pyro_exact import cli
from pyro_exact.plots import save_grids
from pyro_exact.train import load_model

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"

# A command of pyro-exact, the run whose checkpoint it takes, and its other arguments.
COMMANDS = {
    "digits_by_class": ("sample", "glow_digits_by_class", ["--temperature", "0.7", "--nearest"]),
    "interpolation_digits": ("interpolate", "glow_digits", ["--n", "10", "--steps", "12"]),
    "nearest_mnist": (
        "sample",
        "flow_pp_mnist_small",
        ["--temperature", "0.7", "--nearest", "--n", "32"],
    ),
    "nearest_cifar10": (
        "sample",
        "glow_cifar10_small",
        ["--temperature", "0.7", "--nearest", "--n", "32"],
    ),
    "interpolation_cifar10": ("interpolate", "glow_cifar10_small", ["--n", "6"]),
    "temperatures_cifar10": ("sample", "glow_cifar10_small", ["--temperature", "[0.5, 0.7, 1]"]),
    "glow_cifar10_small": (
        "sample",
        "glow_cifar10_small",
        ["--temperature", "[0.7, 1]", "--n", "64"],
    ),
    "completions_mnist": ("complete", "gated_pixel_cnn_mnist_small", []),
    "pixel_cnn_pp_cifar10_small": ("sample", "pixel_cnn_pp_cifar10_small", []),
    "pixels_by_class": ("sample", "gated_pixel_cnn_digits_by_class", []),
}

# Samples of several runs beside each other, at a temperature for flows.
TOGETHER = {
    "flows_mnist": (
        {
            "RealNVP": "real_nvp_mnist_small",
            "Glow": "glow_mnist_small",
            "Flow++": "flow_pp_mnist_small",
            "Flow++, uniform noise": "flow_pp_mnist_small-uniform",
        },
        0.7,
    ),
    "flows_cifar10": (
        {
            "RealNVP": "real_nvp_cifar10_small",
            "Glow": "glow_cifar10_small",
            "Flow++": "flow_pp_cifar10_small",
            "Flow++, uniform noise": "flow_pp_cifar10_small-uniform",
        },
        0.7,
    ),
    "pixels_mnist": (
        {
            "PixelCNN": "pixel_cnn_mnist_small",
            "Row LSTM": "row_lstm_mnist_small",
            "Diagonal BiLSTM": "diagonal_bilstm_mnist_small",
        },
        None,
    ),
}

# Scripts that write into a folder given by --out, under the same names.
EXAMPLES = {
    "energies": ("energies.py", []),
    "energies_radial": ("energies.py", []),
    "density_2d": ("density_2d.py", []),
    "density_2d_grid": ("density_2d.py", []),
    "guide": ("guide.py", ["--peer", "zuko", "--seeds", "3"]),
    "neutra": ("neutra.py", []),
    "variational_dequantization": ("variational_dequantization.py", []),
    "pixelcnn": ("pixelcnn.py", []),
    "vae_flows": ("vae_flows.py", []),
    "posterior_collapse": ("posterior_collapse.py", []),
}

# Scripts that write their picture where it belongs.
SCRIPTS = {
    "blind_spot": "docs/make_blind_spot.py",
    "curves_flows": "docs/make_curves.py",
    "curves_pixels": "docs/make_curves.py",
    "curves_vaes": "docs/make_curves.py",
    "curves_vectors": "docs/make_curves.py",
    "vae_planar": "docs/make_vae_figure.py",
    "recompute_memory": "benchmarks/bench_recompute.py",
}
OTHERS = ["bits", "demo", "diagnosis_pixel_vae", "inpainting", "orders", "vary"]
NAMES = sorted([*COMMANDS, *TOGETHER, *EXAMPLES, *SCRIPTS, *OTHERS])


class Gallery(NamedTuple):
    """Where checkpoints and data are, and where pictures go."""

    runs: Path
    data_root: Path | None
    out: Path
    work: Path

    def make(self, name: str) -> None:
        """Make one picture; raises FileNotFoundError if there is no checkpoint for it."""
        if name in COMMANDS:
            command, run, arguments = COMMANDS[name]
            self._cli(
                command,
                str(self._checkpoint(run)),
                "--out",
                str(self.out / f"{name}.png"),
                *arguments,
            )
        elif name in TOGETHER:
            self._together(name, *TOGETHER[name])
        elif name in EXAMPLES:
            self._example(name, *EXAMPLES[name])
        elif name in SCRIPTS:
            self._run(SCRIPTS[name])
        else:
            make: Callable[[], None] = getattr(self, f"_{name}")
            make()

    def _demo(self) -> None:
        self._cli("demo", "--out", str(self.work / "demo"))
        shutil.copy(self.work / "demo" / "samples.png", self.out / "demo.png")

    def _bits(self) -> None:
        model, data = "diagonal_bilstm_mnist", "binarized_mnist"
        picture, file = self.out / "bits.png", self.work / "digits.pyx"
        arguments = ["--n", "16", "--map", str(picture), "--out", str(file)]
        self._cli("compress", model, data, *arguments)

    def _diagnosis_pixel_vae(self) -> None:
        checkpoint = self._checkpoint("pixel_vae_mnist_small")
        self._cli("diagnose", str(checkpoint), "--out", str(self.work), "--n", "40", "--k", "100")
        shutil.copy(self.work / "diagnosis.png", self.out / "diagnosis_pixel_vae.png")

    def _orders(self) -> None:
        self._of_three_networks("orders")

    def _inpainting(self) -> None:
        self._of_three_networks("inpainting")

    def _of_three_networks(self, name: str) -> None:
        for run in ("nade_mnist", "deep_nade_mnist", "conv_nade_mnist_small"):
            self._checkpoint(run)
        data_root = [] if self.data_root is None else ["--data_root", str(self.data_root)]
        self._example(name, "orders.py", ["--runs", str(self.runs), *data_root])

    def _vary(self) -> None:
        checkpoint = self._checkpoint("hierarchical_pixel_vae_cifar10_small")
        self._run("docs/make_vary.py", str(checkpoint), "--out", str(self.out / "vary.png"))

    def _together(self, name: str, runs: dict[str, str], temperature: float | None) -> None:
        grids, levels = {}, 2
        for title, run in runs.items():
            model, of_run = load_model(self._checkpoint(run))
            torch.manual_seed(0)
            grids[title], levels = model.sample(36, temperature), of_run.image_levels
        save_grids(
            grids, levels, self.out / f"{name}.png", columns=6, rows=2 if len(grids) == 4 else 1
        )

    def _example(self, name: str, script: str, arguments: list[str]) -> None:
        picture = self.work / f"{name}.png"
        if not picture.exists():  # some scripts draw two
            self._run(f"examples/{script}", "--out", str(self.work), *arguments)
        shutil.copy(picture, self.out)

    def _cli(self, *arguments: str) -> None:
        needs_data = (
            arguments[0] in ("complete", "compress", "interpolate", "diagnose")
            or "--nearest" in arguments
        )
        root = (
            ["--data-root", str(self.data_root)]
            if needs_data and self.data_root is not None
            else []
        )
        cli.main([*arguments, *root])

    def _run(self, script: str, *arguments: str) -> None:
        subprocess.run([sys.executable, ROOT / script, *arguments], check=True)

    def _checkpoint(self, run: str) -> Path:
        path = self.runs / run / "best.ckpt"
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
        return path


def main(
    runs: Path = Path("runs"),
    data_root: Path | None = None,
    only: list[str] | None = None,
    out: Path = IMAGES,
) -> None:
    """Make the pictures.

    Args:
        runs: Folder of the runs, each under the name of its recipe.
        data_root: Folder of the data sets.
        only: Names of some pictures, without .png; all by default.
        out: Folder of the pictures.
    """
    unknown = sorted(set(only or []) - set(NAMES))
    if unknown:
        raise ValueError(
            f"make_gallery expects names out of {', '.join(NAMES)}; got {', '.join(unknown)}. Correct it."
        )
    missing = []
    with tempfile.TemporaryDirectory() as work:
        gallery = Gallery(runs, data_root, out, Path(work))
        for name in only or NAMES:
            try:
                gallery.make(name)
                print(f"made {name}.png")
            except (FileNotFoundError, subprocess.CalledProcessError, SystemExit) as error:
                missing.append(f"{name}.png: {error}")
    for line in missing:
        print(f"not made: {line}", file=sys.stderr)
    sys.exit(bool(missing))


if __name__ == "__main__":
    auto_cli(main)
