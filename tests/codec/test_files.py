"""Damaged files, and files of another model or system: a clear error, and never a wrong image."""

import dataclasses
import io
import random

import pytest
import torch

from pyro_exact.autoregressive import NADE, Autoregressive
from pyro_exact.codec import (
    DamagedFileError,
    compress,
    container,
    decompress,
    read_images,
    write_images,
)
from pyro_exact.models import Density

COUNT, BLOCK = 7, 2


def model(width=3):
    torch.manual_seed(0)
    return Density(Autoregressive(NADE((1, 2, 3), width)))


def images():
    return torch.randint(2, (COUNT, 1, 2, 3), dtype=torch.uint8)


@pytest.fixture(scope="module")
def coded():
    """A model, images and the file."""
    each = model()
    x = images()
    return each, x, compress(each, x, block_size=BLOCK)


def damaged(data, rng):
    """A file with flipped bits, missing, repeated or exchanged bytes, and in words what was done."""
    data, kind = bytearray(data), rng.randrange(6)
    place = rng.randrange(len(data))
    if kind == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        del data[place : place + rng.randrange(1, 40)]
    elif kind == 3:
        data[place:place] = rng.randbytes(rng.randrange(1, 40))
    elif kind == 4:
        size = rng.randrange(1, 60)
        data[place : place + size] = rng.randbytes(len(data[place : place + size]))
    else:
        other = rng.randrange(len(data))
        data[place : place + 20] = data[other : other + 20]
    return bytes(data)


def test_thousand_damaged_files_give_no_wrong_image(coded):
    each, x, data = coded
    rng = random.Random(0)
    refused = kept = 0
    for _ in range(1000):
        broken = damaged(data, rng)
        if broken == data:
            continue

        with pytest.raises(DamagedFileError, match=r"expects|cannot be decoded"):
            decompress(each, broken)
        refused += 1

        try:
            found = read_images(each, broken, keep_going=True)
        except DamagedFileError:
            continue  # of the header
        assert torch.equal(found.images, x[found.index])
        assert found.faults
        kept += len(found.images) > 0
    assert refused > 900
    assert kept > 200


def test_damage_names_the_block_and_leaves_the_others(coded):
    each, _, data = coded
    places = [i for i in range(len(data)) if data.startswith(container.BLOCK, i)]
    for index, place in enumerate(places):
        for offset in (5, 9, 21, 26):  # fields, their CRC, contents
            broken = bytearray(data)
            broken[place + offset] ^= 4
            with pytest.raises(DamagedFileError, match=rf"Block {index} of 4"):
                decompress(each, bytes(broken))

            found = read_images(each, bytes(broken), keep_going=True)
            lost = range(BLOCK * index, BLOCK * index + BLOCK)
            assert found.index.tolist() == [i for i in range(COUNT) if i not in lost]
            assert len(found.faults) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "expects the magic number"),
        (lambda data: b"\x89PNG" + data[4:], "expects the magic number"),
        (lambda data: data.replace(b"\r\n", b"\n"), "expects the magic number"),
        (lambda data: data[:8] + b"\x02\x00" + data[10:], "expects version 1; got 2"),
        (lambda data: data[:20] + b"?" + data[21:], "expects a header that matches the checksum"),
        (lambda data: data[:-1], "expects an end record"),
        (lambda data: data + b"\x00", "expects an end record"),
    ],
)
def test_file_that_is_none_says_what_it_is(coded, change, message):
    with pytest.raises(DamagedFileError, match=message):
        decompress(coded[0], change(coded[2]))


def rewritten(data, **changes):
    """A file with other fields in the header, and a checksum that fits."""
    header, first = container.read_header(data)
    file = io.BytesIO()
    container.write_header(file, dataclasses.replace(header, **changes))
    return file.getvalue() + data[first:]


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": []},
        {"shape": [1, 2, "3"]},
        {"images": 0},
        {"images": 2**40},
        {"block_size": -1},
        {"threads": 1.5},
        {"system": ["x"]},
        {"about": {"recipe": 1}},
        {"weights": None},
    ],
)
def test_forged_header_is_refused(coded, changes):
    with pytest.raises(DamagedFileError, match="expects a header as `compress` writes it"):
        decompress(coded[0], rewritten(coded[2], **changes))


def test_other_weights_are_refused(coded):
    other = model()
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1
    for keep_going in (False, True):
        with pytest.raises(DamagedFileError, match="expects the weights of the model that coded"):
            read_images(other, coded[2], keep_going)


def test_other_shape_is_refused(coded):
    other = Density(Autoregressive(NADE((1, 3, 3), 3)))
    with pytest.raises(
        DamagedFileError, match=r"shape \(1, 2, 3\) expects a model of the same shape"
    ):
        decompress(other, coded[2])


@pytest.mark.parametrize("name", ["device", "torch", "constriction", "precision"])
def test_other_system_is_refused_or_tried(coded, name):
    each, x, data = coded
    system = dict(container.read_header(data)[0].system) | {name: "another"}
    moved = rewritten(data, system=system)
    with pytest.raises(DamagedFileError, match=f"last bits of a probability .*: {name} another"):
        decompress(each, moved)

    found = read_images(each, moved, keep_going=True)
    assert torch.equal(found.images, x)
    assert len(found.faults) == 1


def test_file_is_written_block_by_block():
    sizes = []

    class Sink(io.BytesIO):
        def write(self, data):
            sizes.append(len(data))
            return super().write(data)

    sink = Sink()
    coding = write_images(model(), images(), sink, block_size=1)
    assert len(sizes) == 2 + 2 * COUNT
    assert coding.total_bits == 8 * sum(sizes)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (torch.full((2, 1, 2, 3), 2), None, "expects values 0 and 1"),
        (torch.zeros(2, 1, 3, 3), None, "expects"),
        (torch.zeros(1, 2, 3), None, "expects"),
        (torch.zeros(2, 1, 2, 3), torch.zeros(2), "expects no labels"),
    ],
)
def test_compress_refuses_images_that_the_model_cannot_score(x, labels, message):
    with pytest.raises(ValueError, match=message):
        compress(model(), x, labels)


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "constriction", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install pyro_exact\[codec\]"):
        compress(model(), images())


@pytest.mark.parametrize("lost", [1, 12, 40])
def test_truncated_file_is_named_as_truncated_and_not_as_one_with_gaps(coded, lost):
    each, _, data = coded
    end = container._END.size + container._CRC.size
    faults = [
        str(fault) for fault in read_images(each, data[: -end - lost], keep_going=True).faults
    ]
    assert any("it is truncated" in fault or "it is missing" in fault for fault in faults)
    assert not any("without gaps" in fault for fault in faults)
