"""The commands that show what a model has learned."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_exact.checks import check_size
from pyro_exact.cli.output import tell
from pyro_exact.cli.source import Device, Split, checkpoint_of, images_of, model_of, some_of

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.models import Dequantized, GenerativeModel
    from pyro_exact.train import Run


def sample(
    checkpoint: Path,
    out: Path = Path("samples.png"),
    n: int | None = None,
    temperature: float | list[float] | None = None,
    label: int | list[int] | None = None,
    nearest: bool = False,
    data: str | None = None,
    data_root: Path | None = None,
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Draw images from a trained model.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write.
        n: How many images of each temperature, spread evenly over the classes where there are any; by default 64, or of
            several temperatures 8.
        temperature: Standard deviation of a flow's base noise; 1, the default, is the model itself, less gives smoother
            images. Of several, e.g. "[0.5, 0.7, 1]", each has a row, with the same noise but for its scale. An
            autoregressive model has none.
        label: A class of a class-conditional model. Of several, e.g. "[3, 5]", each has a row; all classes by default.
        nearest: Whether to show the nearest training images beside the samples: has the model learned them by heart?
        data: Name, .npz file or folder of these; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        seed: Of the samples.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data import nearest as nearest_of
    from pyro_exact.plots import save_grids

    temperatures = temperature if isinstance(temperature, list) else [temperature]
    n = n if n is not None else 64 if len(temperatures) == 1 else 8
    check_size("sample", "--n", n)
    if not temperatures:
        raise ValueError("sample expects at least one temperature; got none. Leave --temperature out, or name one.")
    _check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run = model_of(checkpoint, device)
    labels = list(range(model.classes or 0)) if label is None else [label] if isinstance(label, int) else label
    each = max(1, n // len(labels)) if labels else n
    among = images_of(run, data, data_root, download=False).train if nearest else None
    grids = {}
    for t in temperatures:
        torch.manual_seed(seed)
        title = "samples" if t is None else f"temperature {t:g}"
        grids[title] = drawn = _draw(model, each, t, labels)
        if among is not None:
            grids[f"{title}: nearest training images"] = nearest_of(drawn.cpu(), among)
    save_grids(grids, run.levels, out, columns=each if len(labels) > 1 else 8, rows=len(temperatures))
    tell(f"Wrote {out}.")


def complete(
    checkpoint: Path,
    out: Path = Path("completions.png"),
    n: int = 8,
    completions: int = 6,
    mask: str = "half",
    image: Path | None = None,
    label: int | None = None,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Draw what is hidden of real images from an autoregressive model, a row for each image.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write: in each row what is seen, completions, and the image itself.
        n: How many images, drawn at random.
        completions: How many of each image.
        mask: What is seen: half for the upper half, or an image file, white where it is seen. What is seen below or to
            the right of a hidden pixel is kept, but does not act on it.
        image: An image file to complete, in place of images of the split.
        label: The class of the images, for a class-conditional model.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the completions.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.data.folder import read
    from pyro_exact.distributions import Autoregressive
    from pyro_exact.models import Density
    from pyro_exact.plots import save_grids

    if completions < 1:
        raise ValueError(f"complete expects at least one completion; got {completions}.")
    _check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run = model_of(checkpoint, device)
    if not isinstance(model, Density) or not isinstance(model.distribution, Autoregressive):
        raise ValueError(
            f"{checkpoint}: expected an autoregressive model; got {run.recipe.model['name']}. Choose another "
            f"checkpoint."
        )
    if image is None:
        images = some_of(images_of(run, data, data_root, download=False), split, n, seed)
    else:
        images = read([image]).long() * run.levels // 256
        torch.manual_seed(seed)
    seen = torch.arange(run.shape[1])[:, None].expand(run.shape[1:]) < run.shape[1] // 2
    if mask != "half":
        seen = read([Path(mask)])[0].amin(0) > 127
    for what, shape in ((image, tuple(images.shape[1:])), (mask, (run.shape[0], *seen.shape))):
        if shape != run.shape:
            raise ValueError(f"{what}: expected an image of shape {run.shape}, as the model's; got {shape}.")
    device_of_model, given = next(model.parameters()).device, model
    if model.classes is not None:
        if label is None:
            raise ValueError(f"{checkpoint}: expected the class of the images; got none. Say it with --label.")
        given = typing.cast(Density, model.condition(torch.full((len(images),), label, device=device_of_model)))
    distribution = typing.cast(Autoregressive, given.distribution)
    x, known = images.to(device_of_model), seen.to(device_of_model)
    drawn = distribution.sample((completions,), observed=x, mask=known, progress=True)
    hidden = images.where(seen, torch.tensor((run.levels - 1) / 2))
    rows = torch.cat((hidden[None], drawn.cpu(), images[None])).transpose(0, 1).flatten(0, 1)
    save_grids({"seen, completions, image": rows}, run.levels, out, columns=completions + 2)
    tell(f"Wrote {out}.")


def interpolate(
    checkpoint: Path,
    out: Path = Path("interpolation.png"),
    n: int = 8,
    steps: int = 8,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Walk from one real image to another on a straight line in the noise of a trained flow, a row for each pair.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write.
        n: How many pairs of images, drawn at random.
        steps: Images in a row, with the two real ones at its ends.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import save_grids

    if n < 1 or steps < 2:
        raise ValueError(f"interpolate expects n of at least 1 and steps of at least 2; got {n} and {steps}.")
    _check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run, images = _flow_and_images(checkpoint, device, data, data_root, split, 2 * n, seed)
    ends = model.encode(images)
    weights = torch.linspace(0, 1, steps, device=ends.device)[:, None]
    rows = [model.decode(torch.lerp(first, last, weights)) for first, last in zip(ends[:n], ends[n:], strict=True)]
    save_grids({"real, between, real": torch.cat(rows)}, run.levels, out, columns=steps)
    tell(f"Wrote {out}.")


def reconstruct(
    checkpoint: Path,
    out: Path = Path("reconstruction.png"),
    n: int = 64,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Send real images through a trained flow to noise and back, and print how far they are from what they were.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: The PNG file to write: the images, those that came back, and the error, much enlarged.
        n: How many images, drawn at random.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the dequantisation noise.
        device: Where to run; auto is cuda where there is one.
    """
    import torch

    from pyro_exact.plots import save_grids

    _check_picture(out)
    checkpoint = checkpoint_of(checkpoint)
    model, run, images = _flow_and_images(checkpoint, device, data, data_root, split, n, seed)
    with torch.no_grad():
        v = model.noise_of(images).sample()
        z = model.flow.bijection.inv(v).clone()  # of the noise itself the flow would remember the image
        error = (model.flow.bijection(z) - v).abs()
    back = model.decode(z)
    tell(f"largest error {error.max():.2g} of a grey level, mean {error.mean():.2g}")
    tell(f"{int((back != images).sum())} of {images.numel()} numbers came back as another level")
    grids = {"images": images, "to noise and back": back}
    grids[f"error, white is {error.max():.2g} of a level"] = (run.levels - 1) * error / error.max().clamp(min=1e-30)
    save_grids(grids, run.levels, out)
    tell(f"Wrote {out}.")


def diagnose(
    checkpoint: Path,
    out: Path | None = None,
    n: int = 100,
    k: int = 5000,
    data: str | None = None,
    data_root: Path | None = None,
    split: Split = "test",
    seed: int = 0,
    device: Device = "auto",
) -> None:
    """Say how well the guide of a trained VAE fits, and whether its latent is used: a verdict, numbers and pictures.

    Args:
        checkpoint: The folder of a run, of which the best checkpoint is taken, or a checkpoint.
        out: Folder for diagnosis.json, diagnosis.nc (for ArviZ) and diagnosis.png; that of the checkpoint by default.
        n: How many images, drawn at random.
        k: Samples per image, of which the importance-weighted bounds are.
        data: Name, .npz file or folder; the images that it was trained on by default.
        data_root: Folder of the torchvision data sets.
        split: Which images.
        seed: Of the choice of the images, and of the noise.
        device: Where to run; auto is cuda where there is one.
    """
    from pyro_exact.diagnostics import diagnose as diagnosis_of
    from pyro_exact.diagnostics import inference_data, save_page
    from pyro_exact.files import check_writable, in_one_piece, write_json

    checkpoint = checkpoint_of(checkpoint)
    out = out or checkpoint.parent
    check_writable(out)
    model, run = model_of(checkpoint, device)
    images = some_of(images_of(run, data, data_root, download=False), split, n, seed)
    found = diagnosis_of(model, images, k, seed=seed)
    for name, bound in found.summary()["bounds"].items():
        tell(f"bound of {int(name):>5,} samples  {-bound:9.2f} nats")
    tell(found.verdict)  # before it is written, for a disk may be full
    kept = inference_data(found)
    write_json({"recipe": run.recipe.name, "split": split, "seed": seed} | found.summary(), out / "diagnosis.json")
    with in_one_piece(out / "diagnosis.nc") as partial:
        kept.to_netcdf(str(partial))
    save_page(found, kept, run.levels, out / "diagnosis.png", f"{run.recipe.name}, {n} {split} images")
    tell(f"{out}: diagnosis.json, diagnosis.nc, diagnosis.png")


def _draw(model: GenerativeModel, n: int, temperature: float | None, labels: list[int]) -> Tensor:
    """Return n images, or n of each class, one class after another."""
    import torch

    from pyro_exact.models import Density, OrderAgnostic

    if labels:
        model = model.condition(torch.tensor(labels, device=next(model.parameters()).device))
    if isinstance(model, Density | OrderAgnostic):
        drawn = model.sample(n, temperature, progress=True)
    else:
        drawn = model.sample(n, temperature)
    return drawn.transpose(0, 1).flatten(0, 1) if labels else drawn


def _check_picture(out: Path) -> None:
    """Make sure, before anything is computed, that a picture can be written there."""
    from pyro_exact.files import check_writable

    if out.suffix.lower() != ".png":
        raise ValueError(f"--out expects the name of a .png file; got {str(out)!r}.")
    check_writable(out.parent)


def _flow_and_images(
    checkpoint: Path, device: str, data: str | None, data_root: Path | None, split: Split, n: int, seed: int
) -> tuple[Dequantized, Run, Tensor]:
    """Load a model whose images are behind a flow, and n images drawn at random; seed the noise that follows."""
    from pyro_exact.models import Dequantized

    model, run = model_of(checkpoint, device)
    if not isinstance(model, Dequantized):
        raise ValueError(
            f"{checkpoint}: expected the model of a flow, which maps images to noise and back; got "
            f"{run.recipe.model['name']}. Choose another checkpoint."
        )
    if model.classes is not None:
        raise ValueError(
            f"{checkpoint}: expected a model whose noise has no classes; got one of {model.classes} classes. Choose "
            f"another checkpoint, or draw from this one with `pyro-exact sample`."
        )
    images = some_of(images_of(run, data, data_root, download=False), split, n, seed)
    return model, run, images.to(next(model.parameters()).device)
