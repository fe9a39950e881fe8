"""The conditions under which a model computes the same bits: weights, device and libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

import torch
from torch import nn

from pyro_exact import __version__
from pyro_exact.codec.container import DamagedFileError, Header
from pyro_exact.nn.precision import weight_of
from pyro_exact.provenance import hardware

MOST_THREADS = 1024


def hash_weights(model: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes and values of all weights and buffers."""
    digest = hashlib.sha256(type(model).__name__.encode())

    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Return the device, the precision and the versions that the last bits depend on."""
    weight = weight_of(model)
    return {
        "device": hardware(weight.device.type),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": f"{weight.dtype}, {torch.get_float32_matmul_precision()}",
        "torch": str(torch.__version__),
        "constriction": metadata.version("constriction"),
        "pyro_exact": __version__,
    }


@contextmanager
def same_computation(threads: int) -> Iterator[None]:
    """Compute with fixed threads, and without a choice of algorithms by time, in a with-block."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, MOST_THREADS))
    try:
        with (
            torch.no_grad(),
            torch.autocast("cuda", enabled=False),
            torch.autocast("cpu", enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            yield
    finally:
        torch.set_num_threads(before)


def check_weights_of(model: nn.Module, header: Header) -> None:
    """Raise DamagedFileError unless a model has the weights that a file was coded with."""
    found = hash_weights(model)
    if found != header.weights:
        recipe = header.about.get("recipe", "the model that coded it")
        raise DamagedFileError(
            f"A compressed file expects the weights of {recipe} with SHA-256 "
            f"{header.weights[:12]}...; got {found[:12]}... . Use the same checkpoint "
            "(--checkpoint)."
        )


def check_system(system: Mapping[str, str], header: Header) -> None:
    """Raise DamagedFileError unless device and libraries are those that coded a file."""
    for name, here in system.items():
        there = header.system.get(name, "none")
        if here != there:
            raise DamagedFileError(
                f"A compressed file expects the same computer and libraries, because the last bits "
                f"of a probability differ between others: {name} {there}; got {here}. Decode it "
                "there, or try with keep_going (--keep-going): each block is compared with its "
                "checksum."
            )
