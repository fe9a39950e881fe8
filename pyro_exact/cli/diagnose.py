"""The command `pyro-exact diagnose`."""

from __future__ import annotations

from pathlib import Path

from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import (
    find_checkpoint,
    images_for,
    load_checkpoint_file,
    random_images,
)
from pyro_exact.cli.output import tell


def diagnose_checkpoint(
    source: SplitArgs, out: Path | None = None, n: int | None = None, k: int = 5000
) -> None:
    """Diagnose a trained VAE: the fit of its guide, the use of its latent, and a verdict.

    Args:
        source: The model, the images, and where to compute.
        out: Folder for diagnosis.json, diagnosis.nc (for ArviZ) and diagnosis.png; that of the
            checkpoint by default.
        n: Number of images, drawn at random; by default 100, or as many as there are.
        k: Samples per image for the importance-weighted bounds.
    """
    from pyro_exact.diagnostics import diagnose, inference_data, save_page
    from pyro_exact.files import atomic_write, check_writable, write_json

    checkpoint = find_checkpoint(source.checkpoint)
    out = out or checkpoint.parent
    check_writable(out)
    model, run = load_checkpoint_file(checkpoint, source.device)
    images = random_images(source, images_for(source, run), n, default=100)
    found = diagnose(model, images, k, seed=source.seed)
    summary = found.summary()

    # Printed before anything is written, because a disk may be full.
    for name, bound in summary["bounds"].items():
        tell(f"bound of {int(name):>5,} samples  {-bound:9.2f} nats")
    tell(found.verdict)

    kept = inference_data(found)
    about = {"recipe": run.recipe.name, "split": source.split, "seed": source.seed}
    write_json(about | summary, out / "diagnosis.json")
    with atomic_write(out / "diagnosis.nc") as partial:
        kept.to_netcdf(str(partial))
    title = f"{run.recipe.name}, {len(images)} {source.split} images"
    save_page(found, kept, run.levels, out / "diagnosis.png", title)
    tell(f"{out}: diagnosis.json, diagnosis.nc, diagnosis.png")
