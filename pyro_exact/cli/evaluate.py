"""The command `pyro-exact evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import find_checkpoint, folder_of, images_for, load_checkpoint_file
from pyro_exact.cli.output import tell
from pyro_exact.cli.results import result_of


def evaluate(
    source: SplitArgs,
    k: int = 1,
    batch_size: int = 100,
    precision: Literal["float32", "bf16"] = "float32",
    note: str | None = None,
    out: Path | None = None,
) -> None:
    """Score a trained model on a split: nats per image and bits per dimension; write a record.

    Args:
        source: The model, the images, and where to compute.
        k: Samples per image: 1 is the ELBO, more the importance-weighted bound.
        batch_size: How many images are scored together.
        precision: bf16 runs the networks under autocast: faster on many devices, but the score
            differs slightly.
        note: A remark on the data for the record, for example "first 1,000 of the test set".
        out: The record; by default NAME-SPLIT.json beside the checkpoint NAME.ckpt, with the other
            options in this name: best-test-k50.json.
    """
    import torch

    from pyro_exact.files import check_writable, write_json
    from pyro_exact.train import evaluate as score_of
    from pyro_exact.train import labels_for

    checkpoint = find_checkpoint(source)
    low_precision = precision == "bf16"
    out = out or folder_of(source, checkpoint) / _name(checkpoint, source, k, low_precision)
    check_writable(out.parent)

    model, run = load_checkpoint_file(checkpoint, source.device)
    images = images_for(source, run)
    labels = labels_for(model, images, source.split)
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
        score = score_of(model, images.split(source.split), k, batch_size, source.seed, labels)

    # Printed before it is written, because a disk may be full.
    tell(f"{run.recipe.name} on {images.name}, {source.split}: {score}\n{score.in_nats()}")
    notes = [note, "networks in bfloat16" if low_precision else None]
    remark = "; ".join(filter(None, notes))
    write_json(result_of(run, model, images, source.split, score, remark), out)
    tell(f"Wrote {out}.")


def _name(checkpoint: Path, source: SplitArgs, k: int, low_precision: bool) -> str:
    """Return the name of a record, which differs for each evaluation of a checkpoint."""
    parts = [
        checkpoint.stem,
        source.split,
        Path(source.data).stem if source.data else "",
        f"k{k}" if k > 1 else "",
        f"seed{source.seed}" if source.seed else "",
        "bf16" if low_precision else "",
    ]
    return "-".join(filter(None, parts)) + ".json"
