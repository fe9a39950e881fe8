"""The command `pyro-exact evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyro_exact.cli.arrays import check_apart, check_suffix, write_arrays
from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import data_for, find_checkpoint, folder_of, load_checkpoint_file
from pyro_exact.cli.output import tell
from pyro_exact.cli.results import result_of

if TYPE_CHECKING:
    from torch import Tensor


def evaluate(
    source: SplitArgs,
    k: int = 1,
    batch_size: int = 100,
    precision: Literal["float32", "bf16"] = "float32",
    note: str | None = None,
    per_item: Path | None = None,
    out: Path | None = None,
) -> None:
    """Score a trained model on a split: nats of a datum and bits per dimension; write a record.

    Args:
        source: The model, the images, and where to compute.
        k: Samples per image: 1 is the ELBO, more the importance-weighted bound.
        batch_size: How many images are scored together.
        precision: bf16 runs the networks under autocast: faster on many devices, but the score
            differs slightly.
        note: A remark on the data for the record, for example "first 1,000 of the test set".
        per_item: Optional .npz or .csv file for the score of each image in nats, -log p(x) or the
            bound, with the index in the split, and with the label if there is any.
        out: The record; by default NAME-SPLIT.json beside the checkpoint NAME.ckpt, with the other
            options in this name: best-test-k50.json.
    """
    import torch

    from pyro_exact.data.dataset import in_memory
    from pyro_exact.files import check_writable, write_json
    from pyro_exact.train import evaluate as score_of
    from pyro_exact.train import labels_for

    checkpoint = find_checkpoint(source)
    low_precision = precision == "bf16"
    out = out or folder_of(source, checkpoint) / _name(checkpoint, source, k, low_precision)
    inputs: dict[str, str | Path | None] = {"the data": source.data, "the checkpoint": checkpoint}
    check_apart("--out", out, inputs)
    check_writable(out.parent)
    if per_item is not None:
        check_suffix("--per-item", per_item, (".npz", ".csv"))
        check_apart("--per-item", per_item, {"--out": out, **inputs})

    model, run = load_checkpoint_file(checkpoint, source.device)
    images = data_for(source, run)
    labels = labels_for(model, images, source.split)
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=low_precision):
        score = score_of(
            model, in_memory(images.split(source.split)), k, batch_size, source.seed, labels
        )

    # Printed before it is written, because a disk may be full.
    tell(f"{run.recipe.name} on {images.name}, {source.split}: {score.in_words(run.unit)}")
    notes = [note, "networks in bfloat16" if low_precision else None]
    remark = "; ".join(filter(None, notes))
    write_json(result_of(run, model, images, source.split, score, remark), out)
    tell(f"Wrote {out}.")
    if per_item is not None:
        write_arrays(_columns(score.each, images.labels(source.split)), per_item)
        tell(f"Wrote {per_item}.")


def _columns(nats: Tensor, labels: Tensor | None) -> dict[str, Any]:
    """Return the index, the score and the label of each datum."""
    import numpy as np

    columns = {"index": np.arange(len(nats)), "nats": nats.numpy()}
    return columns if labels is None else {**columns, "label": labels.numpy()}


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
