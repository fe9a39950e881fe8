"""The command `pyro-exact train`."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyro_exact.cli.data_args import DataArgs, Device, Logger
from pyro_exact.cli.loading import find_file, load_data, portable_source
from pyro_exact.cli.output import say, tell
from pyro_exact.cli.results import result_of
from pyro_exact.recipes import load_recipe
from pyro_exact.recipes.training import caution

if TYPE_CHECKING:
    from pyro_exact.data import Dataset
    from pyro_exact.models import GenerativeModel
    from pyro_exact.recipes import Recipe
    from pyro_exact.train import RunRecord


def train(
    recipe: str,
    source: DataArgs,
    out: Path | None = None,
    seed: int = 0,
    resume: bool = False,
    valid_fraction: float | None = None,
    device: Device = "auto",
    devices: int = 1,
    nodes: int = 1,
    init_from: Path | None = None,
    logger: Logger = "none",
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Train the model of a recipe; write checkpoints, the training curve and a record of the run.

    Args:
        recipe: Name of a recipe (see `pyro-exact recipes`), or a YAML file.
        source: The data.
        out: Output folder; runs/NAME OF THE RECIPE by default.
        seed: Seed of the weights, the order of the images, the noise and the validation split.
        resume: If true, continue from the checkpoint in the output folder.
        valid_fraction: Part of the training images held out for validation, used when the data has
            no such split.
        device: Where to run; auto uses cuda if available.
        devices: How many devices to use on each machine; several devices train via DDP.
        nodes: How many machines to use, each started via torchrun.
        init_from: A checkpoint of the same model, or the folder of a run, whose weights the run
            begins with.
        logger: tensorboard or csv to write the losses to the folder logs of the run, too.
        model: A setting of the model that differs from the recipe; to see all settings, use
            pyro-exact recipes --show RECIPE.
        training: Settings of the training that differ from the recipe.
    """
    # The recipe is read before torch is imported, so that a wrong name is reported at once.
    original = load_recipe(recipe)

    from pyro_exact.train import fit

    chosen = original.changed(model or {}, training or {})
    if (warning := caution(original.training, training or {})) is not None:
        say(f"Warning: {warning}")

    if not (source.data or chosen.data):
        raise ValueError(
            f"train expects --data for the model {chosen.name}, because no recipe names its data; "
            f"got none. Add --data."
        )
    asked = {**source.options(chosen), "valid_fraction": valid_fraction, "seed": seed}
    loaded = load_data(download=source.download, **asked)
    if (description := loaded.describe()) is not None:
        tell(description)
    portable = portable_source(asked)

    # The record names the data of this run, not the data that the recipe was made for.
    folder = out or Path("runs") / chosen.name
    chosen = chosen.on_data(portable["name"], portable["levels"])
    fit(
        chosen,
        loaded,
        out=folder,
        seed=seed,
        resume=resume,
        source=portable,
        device=device,
        devices=devices,
        nodes=nodes,
        init_from=None if init_from is None else find_file(init_from),
        logger=logger,
        finish=lambda trained, run: _write_results(
            trained, run, chosen.fitted(loaded), loaded, folder, device
        ),
    )


def _write_results(
    model: GenerativeModel,
    run: RunRecord,
    recipe: Recipe,
    data: Dataset,
    out: Path,
    device: str,
) -> None:
    """Score the last state, and write the files beside the checkpoints."""
    from pyro_exact.data.views import selected
    from pyro_exact.files import atomic_write, write_json
    from pyro_exact.plots import save_curve
    from pyro_exact.train import BEST, LAST, evaluate, labels_for
    from pyro_exact.train.data_module import validation_subset
    from pyro_exact.train.device import pick_device

    model = model.to(pick_device(device))
    index, labels = validation_subset(data, recipe.training), labels_for(model, data, "valid")
    rows = selected(data.split("valid"), index, 0, len(index))
    given = None if labels is None else labels[index]
    score = evaluate(model, rows, labels=given, batch_size=run.training.batch_size)

    # Printed before anything is written, because a disk may be full.
    tell(f"validation: {score.in_words(run.unit)}".replace("\n", ", "))
    step, _, lowest = min(run.curve["valid"], key=itemgetter(2))
    if step != run.step:
        shown = f"{run.reported(lowest):.4f} {run.reported_unit}"
        tell(f"lowest: {shown} after {step} steps, in {BEST}")

    write_json(result_of(run, model, data, "valid", score), out / "train.json")
    with atomic_write(out / "recipe.yaml") as partial:
        partial.write_text(yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    save_curve(run.curve, out / "curve.png", unit=run.unit)
    tell(f"{out}: {LAST}, {BEST}, recipe.yaml, train.json, curve.png")
