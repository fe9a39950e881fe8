"""Record the compressed size of images, and write the table of docs/compression.md from the records.

    python docs/make_compression.py record CHECKPOINT DATA --n 1000 --data_root DATA
    python docs/make_compression.py table            # write the table
    python docs/make_compression.py table --check    # exit code 1 if the page is not up to date

A record compresses images of the test split, decodes the file, and compares all images.
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from pyro_exact.cli.data_args import SplitArgs
from pyro_exact.cli.loading import data_for, find_checkpoint, load_checkpoint_file
from pyro_exact.codec import read_images, write_images
from pyro_exact.codec.formats import lossless_sizes
from pyro_exact.data.dataset import in_memory
from pyro_exact.files import write_json
from pyro_exact.provenance import provenance
from pyro_exact.train import evaluate, labels_for

DOCS = Path(__file__).resolve().parent
RECORDS = DOCS / "results" / "compression"
PAGE = DOCS / "compression.md"
FIRST, LAST = "<!-- results -->\n", "<!-- end of results -->\n"
FORMATS = ("PNG", "WebP", "JPEG XL")


def record(
    checkpoint: Path,
    data: str,
    n: int = 1000,
    data_root: Path | None = None,
    out: Path | None = None,
) -> None:
    """Compress n images of the test split, spread evenly, and write the record.

    Args:
        checkpoint: A checkpoint, the folder of a run, or the name of a model in the package.
        data: Name of a data set.
        n: How many images.
        data_root: Folder of the data sets.
        out: The record; by default in docs/results/compression.
    """
    source = SplitArgs(checkpoint, data, data_root)
    model, run = load_checkpoint_file(find_checkpoint(source), "auto")
    every = data_for(source, run)
    total = len(every.split("test"))
    index = torch.arange(min(n, total)) * total // min(n, total)
    images, labels = in_memory(every.split("test"))[index], labels_for(model, every, "test")
    labels = None if labels is None else labels[index]

    file, start = io.BytesIO(), time.perf_counter()
    coding = write_images(model, images, file, labels, progress=True)
    encoded = time.perf_counter()
    decoded = read_images(model, file.getvalue(), progress=True)
    seconds = {"encode": encoded - start, "decode": time.perf_counter() - encoded}
    if not torch.equal(decoded.images, images):
        sys.exit("The images did not come back.")

    score = evaluate(model, images, labels=labels)
    values = {
        "model": run.name,
        "data": {"name": every.name, "split": "test", "images": len(images)},
        "bits_per_dim": {
            "file": coding.bits_per_dim,
            "images": coding.net_bits_per_dim,
            "likelihood": score.bits_per_dim,
            **{
                name: 8 * size / images.numel()
                for name, size in lossless_sizes(images, run.image_levels).items()
            },
        },
        "bound": score.bound,
        "bytes": coding.total_bits // 8,
        "header_bytes": coding.header_bits // 8,
        "initial_bytes": coding.initial_bits // 8,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        **provenance(next(model.parameters()).device.type),
    }
    write_json(values, out or RECORDS / f"{run.name}.json")


def table(check: bool = False) -> None:
    """Write the table of the page from all records.

    Args:
        check: If true, only compare.
    """
    page = PAGE.read_text()
    before, rest = page.split(FIRST)
    made = before + FIRST + "\n" + _table() + "\n" + LAST + rest.split(LAST)[1]
    if check and made != page:
        sys.exit(f"{PAGE.name} is not up to date: run python docs/make_compression.py table")
    if not check:
        PAGE.write_text(made)


def _table() -> str:
    """Return the table."""
    records = [json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))]
    lines = [
        "Bits per dimension of test images. Other formats hold mosaics of 100 images.",
        "",
        "| model | data | file | by likelihood | PNG | WebP | JPEG XL |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [_row(each) for each in records]
    return "\n".join(lines) + "\n"


def _row(each: dict[str, Any]) -> str:
    bits = each["bits_per_dim"]
    data = f"{each['data']['images']:,} of {each['data']['name']}"
    others = " | ".join(f"{bits[name]:.3f}" if name in bits else "" for name in FORMATS)
    likelihood = f"{bits['likelihood']:.3f}"
    if each["bound"] != "exact":
        likelihood += f" ({each['bound']})"
    return f"| {each['model']} | {data} | {bits['file']:.3f} | {likelihood} | {others} |"


if __name__ == "__main__":
    auto_cli({"record": record, "table": table}, as_positional=True)
