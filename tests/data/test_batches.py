"""Batches: exact epochs, resumption, ranks, flips."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pyro_exact.data import Batches


def pixels(count, *shape, levels=256, seed=0):
    """Random images in which the highest level occurs."""
    x = torch.randint(
        levels, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    x.view(count, -1)[0, 0] = levels - 1
    return x


def rows(x):
    return {bytes(image.numpy().tobytes()) for image in x}


@st.composite
def plans(draw):
    """Numbered images, and batches that fit them: (images, per-rank batch size, world size, seed)."""
    batch_size, world_size = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    total = draw(st.integers(batch_size * world_size, 60))
    images = torch.arange(2 * total, dtype=torch.uint8).view(total, 1, 1, 2)
    return images, batch_size, world_size, draw(st.integers(0, 2**40))


def take(batches, count):
    return list(islice(batches, count))


@given(plans(), st.integers(0, 3))
def test_batches_hold_every_image_at_most_once_an_epoch(plan, epoch):
    images, batch_size, _, seed = plan
    batches = Batches(images, batch_size, seed)
    seen = torch.cat(
        [batches.batch(epoch * batches.steps_per_epoch + t) for t in range(batches.steps_per_epoch)]
    )
    assert len(rows(seen)) == len(seen) == len(images) // batch_size * batch_size


@given(plans(), st.integers(0, 40), st.booleans())
def test_batches_resume_with_the_ones_missed(plan, start, flip):
    images, batch_size, world_size, seed = plan
    options = {"rank": world_size - 1, "world_size": world_size, "flip": flip}
    through = take(Batches(images, batch_size, seed, **options), start + 3)[start:]
    resumed = Batches(images, batch_size, seed, start, **options)
    for expected, got in zip(through, take(resumed, 3), strict=True):
        assert torch.equal(expected, got)
    resumed.start = 0
    assert torch.equal(next(iter(resumed)), Batches(images, batch_size, seed, **options).batch(0))


@given(plans(), st.integers(0, 40), st.booleans())
def test_batches_of_all_ranks_partition_the_global_batch(plan, step, flip):
    images, batch_size, world_size, seed = plan
    whole = Batches(images, batch_size * world_size, seed, flip=flip).batch(step)
    parts = [
        Batches(images, batch_size, seed, rank=rank, world_size=world_size, flip=flip).batch(step)
        for rank in range(world_size)
    ]
    assert torch.equal(whole, torch.cat(parts))


@given(plans(), st.integers(0, 40))
def test_batches_keep_labels_beside_images_and_flips_mirror(plan, step):
    images, batch_size, _, seed = plan
    x, labels = Batches(
        images, batch_size, seed, flip=True, conditions=torch.arange(len(images))
    ).batch(step)
    assert x.dtype == torch.uint8
    for image, label in zip(x, labels, strict=True):
        assert image.flatten().tolist() in ([2 * label, 2 * label + 1], [2 * label + 1, 2 * label])


def test_batches_have_fair_and_independent_flips():
    images = torch.tensor([0, 1], dtype=torch.uint8).expand(100, 1, 1, 2)
    flipped = torch.stack(
        [batch[:, 0, 0, 0] for batch in take(Batches(images, 100, 0, flip=True), 100)]
    ).double()
    assert flipped.mean() == pytest.approx(0.5, abs=0.02)
    assert (flipped[1:] == flipped[:-1]).double().mean() == pytest.approx(0.5, abs=0.02)


def test_batches_differ_by_seed_and_epoch():
    """Also seeds that share their low 32 bits, which is all of a seed that torch's generator looks at."""
    images = pixels(64, 1, 2, 2)
    first = [next(iter(Batches(images, 64, seed))) for seed in (0, 1, 2**32)]
    first.append(Batches(images, 64, 0).batch(1))
    assert len({x.numpy().tobytes() for x in first}) == 4


def test_batches_serve_a_data_loader():
    batches = Batches(pixels(10, 1, 2, 2), 4, seed=0)
    loader = DataLoader(batches, batch_size=None)
    for expected, got in zip(take(batches, 5), take(loader, 5), strict=True):
        assert torch.equal(expected, got)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(workers):
    batches = Batches(pixels(10, 1, 2, 2), 4, seed=0, start=5, flip=True)
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    for expected, got in zip(take(batches, 7), loader, strict=False):
        assert torch.equal(expected, got)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"batch_size": 11},
            r"batch_size \* world_size of at most 10, the number of rows; got 11 \* 1. Lower",
        ),
        ({"batch_size": 6, "world_size": 2}, r"at most 10, the number of rows; got 6 \* 2"),
        ({"batch_size": 0}, r"expects batch_size from 1 to .*; got 0"),
        ({"seed": -1}, r"expects seed from 0 to .*; got -1"),
        ({"start": -1}, r"expects start from 0 to .*; got -1"),
        ({"world_size": 0}, r"expects world_size from 1 to .*; got 0"),
        ({"rank": 2, "world_size": 2}, r"expects rank from 0 to 1; got 2"),
        (
            {"rows": pixels(10, 2, 2), "flip": True},
            r"expects images of shape \(N, C, H, W\) for flip; got \(10, 2, 2\)",
        ),
        (
            {"conditions": torch.arange(9)},
            r"expects 10 conditions, one for each row; got shape \(9,\)",
        ),
    ],
)
def test_batches_name_what_is_wrong(change, match):
    with pytest.raises(ValueError, match=match):
        Batches(**({"rows": pixels(10, 1, 2, 2), "batch_size": 2, "seed": 0} | change))


def test_batches_refuse_a_start_set_below_zero():
    batches = Batches(pixels(10, 1, 2, 2), 2, seed=0)
    batches.start = -1
    with pytest.raises(ValueError, match=r"expects step from 0 to .*; got -1"):
        next(iter(batches))
