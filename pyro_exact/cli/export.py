"""The command `pyro-exact export`."""

from __future__ import annotations

import json
from pathlib import Path

from pyro_exact.checks import printable
from pyro_exact.cli.arrays import check_apart
from pyro_exact.cli.data_args import Device
from pyro_exact.cli.loading import find_file, load_checkpoint_file
from pyro_exact.cli.output import tell


def export(
    checkpoint: Path,
    out: Path | None = None,
    record: Path | None = None,
    device: Device = "cpu",
) -> None:
    """Write a trained model and the record of an evaluation to a file that can be shared.

    The file has the format safetensors. All commands take it in place of a checkpoint, and loading
    it never runs code.

    Args:
        checkpoint: The folder of a run, whose best checkpoint is used, or a checkpoint.
        out: The file to write; the default is NAME OF THE RECIPE.safetensors.
        record: The record of `pyro-exact evaluate`; the default is the record of the test split
            beside the checkpoint, for example best-test.json.
        device: Where to load the model.
    """
    from pyro_exact.files import check_writable
    from pyro_exact.pretrained import SUFFIX
    from pyro_exact.pretrained import export as export_model

    path = find_file(checkpoint)
    record = record or path.with_name(f"{path.stem}-test.json")
    result = _read_record(record)

    model, run = load_checkpoint_file(path, device)
    if (result.get("recipe"), result.get("steps")) != (run.recipe.name, run.step):
        raise ValueError(
            f"{printable(record)} expects the recipe {run.recipe.name} after {run.step} steps, as "
            f"in the checkpoint; got {result.get('recipe')} after {result.get('steps')}. Evaluate "
            f"this checkpoint first."
        )

    out = out or Path(run.recipe.name + SUFFIX)
    if out.suffix != SUFFIX:
        raise ValueError(
            f"--out expects the name of a {SUFFIX} file; got {printable(out)!r}. Correct the "
            f"suffix."
        )
    check_apart("--out", out, {"the checkpoint": path, "--record": record})
    check_writable(out.parent)
    export_model(model, run, result, out)
    tell(f"Wrote {out}, {out.stat().st_size:,} bytes.")


def _read_record(path: Path) -> dict[str, object]:
    try:
        result = json.loads(path.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"--record expects a file that `pyro-exact evaluate` wrote; got {printable(path)}. "
            f"Evaluate the checkpoint first."
        ) from error

    if not isinstance(result, dict) or "metric" not in result:
        raise ValueError(
            f"--record expects a record with a metric; got {printable(path)} without one. Use the "
            f"file that `pyro-exact evaluate` wrote."
        )
    return result
