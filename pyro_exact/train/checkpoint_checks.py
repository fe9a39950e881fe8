"""Checks of a checkpoint: members of the archive, sizes, and loaded values."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import torch
from torch import Tensor

from pyro_exact.checks import shown
from pyro_exact.train.checksum import DamagedError

LARGEST_PICKLE = 2**26  # bytes of all values that are no tensor; a curve of 10^6 steps has 3 * 10^6
MOST_LEVELS = 24

_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/\d+|byteorder|version|\.format_version|\.storage_alignment|\.data/\w+)"
)
_PLAIN = (str, int, float, type(None))


def check_members(file: BinaryIO, size: int) -> int:
    """Check that an archive holds the members that `torch.save` writes, without compression.

    No member is read.

    Args:
        file: The archive.
        size: Bytes of the file.

    Returns:
        The size of the pickle in bytes.

    Raises:
        DamagedError: If there is another member, a compressed member, or two members of the same
            name, or if the members declare more bytes than the file has.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DamagedError(f"it is no archive ({error})") from error

    for member in members:
        name = shown(member.filename)
        if not _MEMBER.fullmatch(member.filename):
            raise DamagedError(f"it holds {name}, which `torch.save` does not write")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise DamagedError(f"{name} is compressed, which `torch.save` does not do")

    if len({member.filename for member in members}) < len(members):
        raise DamagedError("it has two members of the same name")
    if sum(member.file_size for member in members) > size:
        raise DamagedError("its members overlap")

    pickles = [member.file_size for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0] > LARGEST_PICKLE:
        raise DamagedError(
            f"it expects one pickle of at most {LARGEST_PICKLE} bytes; got {pickles}"
        )
    return pickles[0]


def check_values(checkpoint: object, size: int, pickle_size: int) -> None:
    """Check that loaded values are of the expected types, and no larger than the file.

    A value that is referenced several times counts each time. Each value that was written takes at
    least a byte of the pickle, so when there are more values than bytes, they must have been
    multiplied via references.

    Args:
        checkpoint: The loaded values.
        size: Bytes of the file.
        pickle_size: Bytes of the pickle.

    Raises:
        DamagedError: With the name of the first field that is wrong.
    """
    walk = _Walk(pickle_size)
    walk.check(checkpoint, "checkpoint", 0)
    if sum(walk.storages.values()) > size:
        raise DamagedError("its tensors declare more than the file has")


class _Walk:
    """A walk through nested values, used to count values and the bytes of tensors."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.storages: dict[int, int] = {}  # bytes of each block of memory, which tensors may share

    def check(self, value: object, name: str, level: int) -> None:
        self.left -= 1
        if self.left < 0 or level > MOST_LEVELS:
            raise DamagedError(
                f"{name} holds more values than were written, or more than {MOST_LEVELS} levels"
            )

        if isinstance(value, Tensor):
            _check_tensor(value, name)
            storage = value.untyped_storage()
            self.storages[storage._cdata] = storage.nbytes()
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.check(item, f"{name}.{_key(key, name)}", level + 1)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.check(item, name, level + 1)
        elif not isinstance(value, _PLAIN):
            raise DamagedError(f"{name} expects tensors and plain values; got {shown(value)}")


def _key(key: object, owner: str) -> str:
    """Return a key of a mapping as text."""
    if isinstance(key, str):
        return key[:200]
    if isinstance(key, int):
        return shown(key)
    raise DamagedError(f"{owner} has the name {shown(key)}")


def _check_tensor(tensor: Tensor, name: str) -> None:
    """Check that a tensor is dense and real, and no larger than the stored memory."""
    strided = tensor.layout == torch.strided
    special = tensor.is_quantized or tensor.is_nested or tensor.is_meta or tensor.is_complex()
    if not strided or special:
        raise DamagedError(
            f"{name} expects a dense tensor of real numbers; got one of {tensor.dtype} "
            f"{tensor.layout}"
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise DamagedError(
            f"{name} declares shape {tuple(tensor.shape)}, which is more than was written"
        )
