"""The command `pyro-exact diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import (
    data_for,
    find_checkpoint,
    folder_of,
    load_checkpoint_file,
    random_index,
)
from pyro_exact.cli.output import tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import GenerativeModel


def diagnose_checkpoint(
    source: SplitArgs, out: Path | None = None, n: int | None = None, k: int = 5000
) -> None:
    """Diagnose a trained VAE (the bound and the use of the latent) or a flow (each layer).

    Args:
        source: The model, the images, and where to compute.
        out: Folder for diagnosis.json, diagnosis.png, and diagnosis.nc (for ArviZ) of a VAE, or
            diagnosis.txt of a flow; the default is the folder of the checkpoint.
        n: How many images to use, drawn at random; by default 100, or as many as there are.
        k: Samples per image, used in the importance-weighted bounds of a VAE.
    """
    from pyro_exact.files import check_writable
    from pyro_exact.train import labels_for

    checkpoint = find_checkpoint(source)
    out = out or folder_of(source, checkpoint)
    check_writable(out)
    model, run = load_checkpoint_file(checkpoint, source.device)

    data = data_for(source, run)
    index = random_index(source, data, n, default=100)
    images = data.split(source.split)[index]

    about = {"recipe": run.recipe.name, "split": source.split, "seed": source.seed}
    title = f"{run.recipe.name}, {len(images)} {source.split} images"
    labels = labels_for(model, data, source.split)
    conditions = None if labels is None else labels[index]
    if model.noise_map(images.to(next(model.parameters()).device)) is not None:
        _flow(model, images, conditions, about, title, out)
    else:
        _guide(model, images, k, run.image_levels, about, title, out)


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

    # Printed before it is written, because a disk may be full.
    found = flow_report(model, images, labels, seed=about["seed"])
    tell(str(found))

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

    # Printed before it is written, because a disk may be full.
    found = diagnose(model, images, k, seed=about["seed"])
    summary = found.summary()
    for name, bound in summary["bounds"].items():
        tell(f"bound of {int(name):>5,} samples  {-bound:9.2f} nats")
    tell(found.verdict)

    kept = inference_data(found)
    write_json({**about, **summary}, out / "diagnosis.json")
    with atomic_write(out / "diagnosis.nc") as partial:
        kept.to_netcdf(str(partial))
    save_page(found, kept, levels, out / "diagnosis.png", title)
    tell(f"{out}: diagnosis.json, diagnosis.nc, diagnosis.png")
