"""The command that looks at a trained model: at the guide of a VAE, or at the layers of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.cli.data_args import Device, Split, checkpoint_of, chosen, images_of, model_of
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import GenerativeModel


def diagnose_checkpoint(
    checkpoint: Path,
    out: Path | None = None,
    n: int | None = None,
    k: int = 5000,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Look at a trained VAE (its bound, and whether its latent is used) or at a flow (each of its layers).

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: Folder for diagnosis.json, diagnosis.png, and diagnosis.nc (for ArviZ) of a VAE, or
            diagnosis.txt of a flow; that of the checkpoint by default.
        n: How many images, drawn at random; 100 by default, or as many as there are.
        k: Samples per image of a VAE, of which the importance-weighted bounds are.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Seed of the choice of the images, and of the noise.
        device: Where to run; auto is cuda where there is one.
    """
    from pyro_exact.files import check_writable
    from pyro_exact.models import Dequantized
    from pyro_exact.train import labels_for

    checkpoint = checkpoint_of(checkpoint)
    out = out or checkpoint.parent
    check_writable(out)
    model, run = model_of(checkpoint, device)

    all_images = images_of(run, data, data_root, download=False)
    places = chosen(all_images, split, n, seed, default=100)
    images = all_images.split(split)[places]

    about = {"recipe": run.recipe.name, "split": split, "seed": seed}
    title = f"{run.recipe.name}, {len(images)} {split} images"
    if isinstance(model, Dequantized):
        labels = labels_for(model, all_images, split)
        _flow(model, images, None if labels is None else labels[places], about, title, out)
    else:
        _guide(model, images, k, run.levels, about, title, out)


def _flow(
    model: GenerativeModel,
    images: Tensor,
    labels: Tensor | None,
    about: dict[str, Any],
    title: str,
    out: Path,
) -> None:
    """Write the report on the layers of a flow."""
    from pyro_exact.diagnostics import flow_report, save_flow_page
    from pyro_exact.files import atomic_write, write_json

    found = flow_report(model, images, labels, seed=about["seed"])
    tell(str(found))  # before it is written, for a disk may be full

    write_json({**about, **found.summary()}, out / "diagnosis.json")
    with atomic_write(out / "diagnosis.txt") as partial:
        partial.write_text(f"{title}\n\n{found}\n", encoding="utf-8")
    save_flow_page(found, out / "diagnosis.png", title)
    tell(f"{out}: diagnosis.json, diagnosis.txt, diagnosis.png")


def _guide(
    model: GenerativeModel,
    images: Tensor,
    k: int,
    levels: int,
    about: dict[str, Any],
    title: str,
    out: Path,
) -> None:
    """Write the diagnosis of the guide of a VAE."""
    from pyro_exact.diagnostics import diagnose, inference_data, save_page
    from pyro_exact.files import atomic_write, write_json

    found = diagnose(model, images, k, seed=about["seed"])
    for name, bound in found.summary()["bounds"].items():
        tell(f"bound of {int(name):>5,} samples  {-bound:9.2f} nats")
    tell(found.verdict)  # before it is written, for a disk may be full

    kept = inference_data(found)
    write_json({**about, **found.summary()}, out / "diagnosis.json")
    with atomic_write(out / "diagnosis.nc") as partial:
        kept.to_netcdf(str(partial))
    save_page(found, kept, levels, out / "diagnosis.png", title)
    tell(f"{out}: diagnosis.json, diagnosis.nc, diagnosis.png")
