"""The command `pyro-exact demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_exact.checks import check_size
from pyro_exact.cli.output import tell
from pyro_exact.cli.results import result_of
from pyro_exact.recipes import load_recipe

if TYPE_CHECKING:
    from pyro_exact.data import Images
    from pyro_exact.models import GenerativeModel
    from pyro_exact.recipes import Recipe
    from pyro_exact.train import RunRecord


def demo(
    out: Path = Path("runs/demo"), seed: int = 0, training: dict[str, Any] | None = None
) -> None:
    """Train a small Glow on the digits of scikit-learn and draw samples, without a network.

    Args:
        out: Output folder; the files of an earlier demo are replaced, and any other run is refused.
        seed: Seed of the weights, the noise and the images.
        training: Settings that differ from the recipe glow_digits.
    """
    import torch

    from pyro_exact.files import check_writable
    from pyro_exact.train.lock import folder_lock
    from pyro_exact.train.run_record import LARGEST_SEED

    seed = check_size("demo", "--seed", seed, least=0, most=LARGEST_SEED)
    recipe = load_recipe("glow_digits").changed({}, training or {})

    # The tensors are tiny: a second thread hardly helps, and on a busy machine it waits.
    torch.set_num_threads(1)
    check_writable(out)
    with folder_lock(out):
        _remove_earlier_demo(out, recipe)
        _demo(recipe, out, seed)


def _remove_earlier_demo(out: Path, recipe: Recipe) -> None:
    """Remove the checkpoints of an earlier demo; raise ValueError if a folder holds another run."""
    from pyro_exact.train import BEST, LAST

    expected = f"{out} expects nothing, or an earlier demo"
    advice = "Choose another folder (--out)."
    for name in ("recipe.yaml", "train.json"):  # files that `train` writes, but no demo
        if (out / name).exists():
            raise ValueError(f"{expected}; got {name} of another run. {advice}")

    checkpoints = [path for path in (out / LAST, out / BEST) if path.exists()]
    for path in checkpoints:
        run = _run_of(path, advice)
        same_model = run.recipe.model == recipe.filled().model
        same_source = {*(run.source or {})} == {*_source(recipe, run.seed)}
        if not (same_model and same_source):
            raise ValueError(
                f"{expected}; got {path.name} of another run, {run.recipe.name}. {advice}"
            )

    for path in checkpoints:
        path.unlink()


def _run_of(path: Path, advice: str) -> RunRecord:
    from pyro_exact.train import RunRecord, read_checkpoint
    from pyro_exact.train.checkpoint import KEY

    try:
        return RunRecord.from_dict(read_checkpoint(path)[KEY], str(path))
    except ValueError as error:
        raise ValueError(f"{error} A demo replaces only an earlier demo. {advice}") from error


def _source(recipe: Recipe, seed: int) -> dict[str, Any]:
    """Return the arguments of `load` of a demo; runs of `train` have more arguments."""
    return {"name": recipe.data, "seed": seed}


def _demo(recipe: Recipe, out: Path, seed: int) -> None:
    """Train, score and draw, in a folder that must be held by this process."""
    from pyro_exact.data import Images, load
    from pyro_exact.train import BEST, LAST, fit, load_model

    source = _source(recipe, seed)
    images = load(**source)
    if not isinstance(images, Images):
        raise ValueError(f"demo expects a recipe of images; got one of {images.name}.")
    tell(
        f"Training {recipe.name} on {len(images.train)} images of shape {images.shape}, "
        f"{images.levels} levels."
    )
    try:
        fit(recipe, images, out=out, seed=seed, source=source, device="cpu", locked=True)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            "Stopped. A demo does not go on from a checkpoint: run it again to start it anew."
        ) from error

    model, best = load_model(out / BEST)
    _, last = load_model(out / LAST)
    baselines = _baselines(images)
    tell(f"\ntest bits/dim of {BEST}, the state after {best.step} of {last.step} steps")
    _score(model, best, images, baselines, out)
    _draw(model, last, images, baselines, out, seed)
    tell(f"\n{out}: {BEST}, {LAST}, metrics.json, samples.png, curve.png")


def _score(
    model: GenerativeModel,
    run: RunRecord,
    images: Images,
    baselines: dict[str, float],
    out: Path,
) -> None:
    """Print the score of a model beside the baselines, and write a record."""
    from pyro_exact.files import write_json
    from pyro_exact.train import evaluate

    elbo, bound = evaluate(model, images.test), evaluate(model, images.test, k=16)
    for name, value in baselines.items():
        tell(f"  {name:<20}{value:.3f}")
    for score in (elbo, bound):
        tell(f"  {run.recipe.name:<20}{score}")

    result = result_of(run, model, images, "test", elbo)
    result["baselines"] = baselines
    result["importance_weighted"] = bound.metric("bits/dim")
    write_json(result, out / "metrics.json")


def _draw(
    model: GenerativeModel,
    run: RunRecord,
    images: Images,
    baselines: dict[str, float],
    out: Path,
    seed: int,
) -> None:
    """Draw samples beside test images, and the training curve beside the baselines."""
    import torch

    from pyro_exact.plots import save_curve, save_grids

    torch.manual_seed(seed)
    grids = {"test images": images.test[torch.arange(64)]}
    for temperature in (1.0, 0.7):
        grids[f"samples at {temperature:g}"] = model.sample(64, temperature)

    save_grids(grids, images.levels, out / "samples.png")
    save_curve(run.curve, out / "curve.png", baselines)


def _baselines(images: Images) -> dict[str, float]:
    """Return the bits/dim of two simple codes that every model should beat."""
    import torch

    from pyro_exact.data.dataset import SPLITS
    from pyro_exact.data.views import in_memory
    from pyro_exact.train.baselines import independent_bits_per_dim, uniform_bits_per_dim

    *known, test = (in_memory(images.split(split)) for split in SPLITS)
    return {
        "uniform code": uniform_bits_per_dim(images.levels),
        "independent pixels": independent_bits_per_dim(torch.cat(known), test, images.levels),
    }
