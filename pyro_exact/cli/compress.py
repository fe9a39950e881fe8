"""The commands `pyro-exact compress` and `pyro-exact decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyro_exact.checks import check_size
from pyro_exact.cli.arrays import check_apart, check_suffix
from pyro_exact.cli.data_args import CheckpointArgs, Device, Split
from pyro_exact.cli.loading import (
    data_for,
    find_checkpoint,
    load_checkpoint,
    load_checkpoint_file,
)
from pyro_exact.cli.output import say, tell

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_exact.codec import Coding, Decoded
    from pyro_exact.data import Dataset
    from pyro_exact.models import GenerativeModel

MOST_VERIFIED = 256  # images that are verified by default


def compress(
    checkpoint: Path,
    data: str,
    out: Path = Path("images.pyx"),
    split: Split | Literal["all"] = "test",
    n: int | None = None,
    data_root: Path | None = None,
    download: bool = False,
    device: Device = "auto",
    block_size: int | None = None,
    verify: bool | None = None,
    map: Path | None = None,
) -> None:
    """Compress images without loss by a trained model, and compare with PNG, WebP and JPEG XL.

    Args:
        checkpoint: The folder of a run, whose best checkpoint is used; a checkpoint; or the name of
            a model that comes with the package.
        data: Name of a data set, .npz file or folder of images.
        out: The compressed file.
        split: The split of the images; all for train, valid and test, in this order.
        n: How many images to compress, spread evenly; the default is all.
        data_root: Folder of the torchvision data sets.
        download: If true, download a torchvision data set, or the weights of a model that comes
            with the package, if they are not there.
        device: Where to run; auto uses cuda if available.
        block_size: Images that are coded together, and lost together if the file is damaged; the
            default is 64, or 1,000 for a model with latents.
        verify: If true, decode the file and compare the images before it is kept; the default is
            true for up to 256 images.
        map: Optional PNG file for a picture of the bits of each pixel.
    """
    from pyro_exact.codec import write_images
    from pyro_exact.files import atomic_write, check_writable
    from pyro_exact.train import evaluate

    inputs: dict[str, str | Path | None] = {"the data": data, "the checkpoint": checkpoint}
    check_apart("--out", out, inputs)
    check_writable(out.parent)
    if map is not None:
        check_suffix("--map", map, (".png",))
        check_apart("--map", map, {"--out": out, **inputs})

    source = CheckpointArgs(checkpoint, data, data_root, download, device=device)
    path = find_checkpoint(source)
    model, run = load_checkpoint_file(path, device)
    levels = run.image_levels
    every = data_for(source, run)

    images, labels = _images(model, every, split, n)

    about = {
        "recipe": run.recipe.name,
        "checkpoint": _portable(checkpoint, path),
        "data": every.name,
    }
    with atomic_write(out) as partial:
        with partial.open("wb") as file:
            coding = write_images(
                model, images, file, labels, block_size, about, map is not None, progress=True
            )
        if verify or (verify is None and len(images) <= MOST_VERIFIED):
            _verify(model, images, partial)

    score = evaluate(model, images, labels=labels)
    _report(coding, f"{score.bits_per_dim:.4f} by likelihood ({score.bound})", images, levels)
    if map is not None and coding.pixel_bits is not None:
        from pyro_exact.plots import save_bit_map

        save_bit_map(images, coding.pixel_bits, levels, map)
        tell(f"Wrote {map}.")
    tell(f"Wrote {out}.")


def decompress(
    file: Path,
    out: Path = Path("images"),
    checkpoint: Path | None = None,
    device: Device = "auto",
    keep_going: bool = False,
) -> None:
    """Decompress images into a folder of PNG files or an .npz file.

    Args:
        file: A file that `pyro-exact compress` wrote.
        out: A new folder for PNG files, or an .npz file for the arrays images and levels.
        checkpoint: The model that compressed the images; the default is the path that the file
            contains.
        device: Where to run; auto uses cuda if available.
        keep_going: If true, decode all blocks that are whole, also on another device or with other
            libraries, and name the blocks that are lost.
    """
    from pyro_exact.codec import read_images
    from pyro_exact.codec.container import read_header

    check_apart("--out", out, {"the compressed file": file})
    _check_new(out)
    data = _read(file)
    header, _ = read_header(data)

    path = checkpoint or Path(header.about.get("checkpoint", ""))
    if checkpoint is None:
        tell(f"The file names the checkpoint {path}.")
    model, run = load_checkpoint(CheckpointArgs(path, device=device))

    decoded = read_images(model, data, keep_going, progress=True)
    for fault in decoded.faults:
        say(str(fault))
    if len(decoded.images) == 0:
        raise ValueError(f"{file} expects a block that is whole; got none. Nothing was written.")

    _save(decoded, run.image_levels, out)
    _tell_scale(run.image_levels, out)
    tell(f"Wrote {len(decoded.images)} of {header.images} images to {out}.")
    if len(decoded.images) < header.images:
        raise ValueError(
            f"{file} expects {header.images} images; got {len(decoded.images)}. Use another copy "
            "of the file for the others."
        )


def _portable(given: Path, found: Path) -> str:
    """Return the name of a checkpoint that is valid in any working directory."""
    return str(found.resolve()) if given.exists() else str(given)


def _images(
    model: GenerativeModel, data: Dataset, split: str, n: int | None
) -> tuple[Tensor, Tensor | None]:
    """Return the images to compress, and the class of each if the model needs classes."""
    import torch

    from pyro_exact.data.dataset import SPLITS, in_memory
    from pyro_exact.train import labels_for

    splits = SPLITS if split == "all" else (split,)
    images = torch.cat([in_memory(data.split(each)) for each in splits])
    labels = [labels_for(model, data, each) for each in splits]

    rows = _spread(n, len(images), data.name, split)
    some = [each for each in labels if each is not None]
    return images[rows], torch.cat(some)[rows] if some else None


def _spread(n: int | None, total: int, name: str, split: str) -> Tensor:
    """Return the indices of the images to compress."""
    import torch

    wanted = total if n is None else check_size("compress", "--n", n)
    if wanted > total:
        raise ValueError(
            f"--n expects at most {total}, because the split {split} of {name} has no more images; "
            f"got {wanted}. Lower it, or choose another split (--split)."
        )
    return torch.arange(wanted) * total // wanted


def _verify(model: GenerativeModel, images: Tensor, path: Path) -> None:
    """Raise an error unless a file contains the images."""
    import torch

    from pyro_exact.codec import read_images

    decoded = read_images(model, path.read_bytes(), progress=True)
    if not torch.equal(decoded.images, images):
        raise ValueError(
            "compress expects the decoded images to equal the originals; got different images. "
            "Nothing was written. Report this as a fault of pyro_exact."
        )


def _report(coding: Coding, likelihood: str, images: Tensor, levels: int) -> None:
    """Print the bits for each element, and those of other formats."""
    from pyro_exact.codec.formats import lossless_sizes

    parts = [f"{coding.bits_per_dim:.4f} bits/dim coded", likelihood]
    for name, size in lossless_sizes(images, levels).items():
        parts.append(f"{8 * size / images.numel():.4f} {name}")

    more = f"{coding.header_bits // 8} bytes of them are headers and checksums"
    if coding.initial_bits:
        more += f", {coding.initial_bits // 8} initial bytes of bits-back"
    tell(f"{coding.images} images, {coding.total_bits // 8} bytes: {', '.join(parts)}")
    tell(f"{more}; other formats hold mosaics of 100 images")


def _check_new(out: Path) -> None:
    """Raise an error if an output cannot be written, or a folder has contents."""
    from pyro_exact.files import check_writable

    if out.suffix.lower() == ".npz":
        check_writable(out.parent)
        return
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(
            f"--out expects a new or empty folder, or an .npz file; got {out}, which has contents. "
            "Choose another name."
        )
    check_writable(out.parent)


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no compressed file {file}. `pyro-exact compress` writes one."
        )
    return file.read_bytes()


def _save(decoded: Decoded, levels: int, out: Path) -> None:
    """Write decoded images into an .npz file or a folder of PNG files."""
    import numpy as np

    from pyro_exact.files import atomic_write

    if out.suffix.lower() == ".npz":
        with atomic_write(out) as partial, partial.open("wb") as file:
            np.savez_compressed(
                file,
                images=decoded.images.numpy(),
                index=decoded.index.numpy(),
                levels=np.array(levels),
            )
        return

    from PIL import Image

    if decoded.images.dim() != 4 or decoded.images.shape[1] not in (1, 3):
        raise ValueError(
            f"A folder of PNG files expects images of 1 or 3 channels; got data of shape "
            f"{tuple(decoded.images.shape[1:])}. Write arrays, with --out NAME.npz."
        )

    out.mkdir(exist_ok=True)
    scale = _scale(levels)
    for index, image in zip(decoded.index.tolist(), decoded.images, strict=True):
        pixels = (image * scale).movedim(0, -1).numpy()
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        with atomic_write(out / f"{index:06}.png") as partial:
            picture.save(partial, format="PNG")


def _scale(levels: int) -> int:
    """Return the grey values between neighbouring levels in a PNG file of 8 bits."""
    return 255 // (levels - 1)


def _tell_scale(levels: int, out: Path) -> None:
    """Say how the levels are found in PNG files, unless they are the grey values."""
    if out.suffix.lower() != ".npz" and levels < 256:
        tell(
            f"The PNG files have the levels 0 to {levels - 1} times {_scale(levels)}. An .npz file "
            f"has the levels themselves."
        )
