"""The memory of a run over a file of 20 GB, which is larger than most memories: images, and rows of floats."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import report

FILE_BYTES = 20 * 10**9
SMALL_BYTES = 20 * 10**6
LIMIT = 1500.0  # MB
SHAPES = {"images": ((3, 32, 32), "uint8"), "floats": ((64,), "float32")}


def main() -> None:
    """Measure and report, or run one contender in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contender", nargs=2, metavar=("KIND", "FILE"), help="used by itself")
    arguments, _ = parser.parse_known_args()
    if arguments.contender:
        print(json.dumps(peak_of_run(*arguments.contender)))
        return

    megabytes = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, size in (("images", SMALL_BYTES), *((kind, FILE_BYTES) for kind in SHAPES)):
            file = sparse_file(Path(folder) / f"{kind}.npy", kind, size)
            megabytes[f"{kind}, {size / 1e9:g} GB"] = fresh_process(kind, file)

    ratios = [
        {"what": f"{name} / {LIMIT:g} MB", "value": value / LIMIT, "bar": "at most 1"}
        for name, value in megabytes.items()
    ]
    report(
        "memory",
        "largest resident memory (MB) of a process that loads a sparse .npy file and takes 50 steps",
        {},
        megabytes,
        ratios,
    )


def sparse_file(path: Path, kind: str, size: int) -> Path:
    """Write an .npy file of zeros that takes no space on the disk, except for the first row."""
    shape, dtype = SHAPES[kind]
    rows = size // (int(np.prod(shape)) * np.dtype(dtype).itemsize)
    with path.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (rows, *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(np.full(shape, 255, dtype).tobytes())
        file.truncate(file.tell() + (rows - 1) * np.zeros(shape, dtype).nbytes)
    return path


def fresh_process(kind: str, file: Path) -> float:
    """Return the peak memory of a run in another process, in MB."""
    command = [sys.executable, __file__, "--contender", kind, str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def peak_of_run(kind: str, file: str) -> float:
    """Load the file, train a small flow for 50 steps, and return the peak resident memory in MB."""
    from pyro_exact import data, distributions, flows, models
    from pyro_exact.train import Training, fit

    rows = data.load(file)
    settings = Training(steps=50, batch_size=64, validate_every=25, validate_on=1000)
    if kind == "images":
        glow = flows.glow((3, 32, 32), levels=256, scales=2, steps=1, width=8)
        flow = distributions.Flow(distributions.StandardNormal(3 * 32 * 32), glow.inv)
        model = models.Dequantized(flow, levels=256)
    else:
        maf = flows.maf(64, layers=2, hidden_dims=(64,))
        model = models.Density(distributions.Flow(distributions.StandardNormal(64), maf.inv))

    with tempfile.TemporaryDirectory() as out:
        fit(model, rows, settings, out=Path(out) / "run", progress=False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
