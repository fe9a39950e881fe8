"""Files of checkpoints from elsewhere: what is damaged, larger than it says, or no checkpoint at all."""

import copy
import pickle
import random
import shutil
import struct
import zipfile

import pytest
import torch

from pyro_exact import data, recipes, train
from pyro_exact.train.checkpoint import AtomicCheckpointIO
from pyro_exact.train.checkpoint_checks import check_members
from pyro_exact.train.checksum import DamagedError, write_checksum

RECIPE = {
    "name": "toy",
    "model": {"name": "glow", "scales": 1, "steps": 1, "width": 4},
    "data": "toy",
    "training": {"steps": 2, "batch_size": 8, "ema_decay": 0.9},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint of two steps."""
    folder = tmp_path_factory.mktemp("run")
    pixels = torch.randint(4, (32, 1, 4, 4), dtype=torch.uint8)
    images = data.Images("toy", train=pixels, valid=pixels[:8], test=pixels[:8], levels=4)
    train.fit(
        recipes.Recipe.from_dict(RECIPE, "the test"),
        images,
        out=folder,
        progress=False,
        device="cpu",
    )
    return folder / train.LAST


@pytest.fixture
def path(whole, tmp_path):
    """A copy of it."""
    return shutil.copy(whole, tmp_path / train.LAST)


def write(contents, path):
    """Write what a forger would: all is in order but the contents."""
    AtomicCheckpointIO().save_checkpoint(contents, path)


def test_checkpoint_with_any_flipped_bit_is_refused(path):
    whole, chosen = path.read_bytes(), random.Random(0)
    for place in [
        *range(0, 300, 7),
        *range(-300, 0, 7),
        *(chosen.randrange(len(whole)) for _ in range(200)),
    ]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chosen.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is refused: it (is damaged|ends without)"):
            train.read_checkpoint(path)


@pytest.mark.parametrize("extra", [b"x", bytes(100)])
def test_checkpoint_with_something_appended_is_refused(path, extra):
    path.write_bytes(path.read_bytes() + extra)
    with pytest.raises(ValueError, match="without a checksum"):
        train.read_checkpoint(path)


def test_checkpoint_with_a_seal_is_still_one_of_torch(path):
    ours = train.read_checkpoint(path)
    theirs = torch.load(path, weights_only=True)
    assert ours.keys() == theirs.keys()
    assert all(
        torch.equal(ours["state_dict"][name], theirs["state_dict"][name])
        for name in ours["state_dict"]
    )


def test_checkpoint_without_a_checksum_says_that_it_may_be_an_old_one(path):
    torch.save(train.read_checkpoint(path), path)
    with pytest.raises(ValueError, match="of an older version"):
        train.load_model(path)


def run_of(contents):
    return contents["pyro_exact"]


def first(contents):
    return next(iter(contents["state_dict"]))


def set_weight(change):
    def edit(contents):
        contents["state_dict"][first(contents)] = change(contents["state_dict"][first(contents)])

    return edit


def multiplied(value, times):
    for _ in range(times):
        value = [value] * 10
    return value


def holding_itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: run_of(c).update(shape=[-1, 4, 4]), "each of shape from 1 to .*; got -1"),
        (
            lambda c: run_of(c).update(shape=[1, 10**6, 10**6]),
            r"data of at most .* elements; got shape \(1, 1000000, 1000000\)",
        ),
        (lambda c: run_of(c).update(levels=1), "levels from 2 to .*; got 1"),
        (lambda c: run_of(c).update(levels=10**30), "levels expects integers of at most 64 bits"),
        (lambda c: run_of(c).update(seed=-1), "seed from 0 to .*; got -1"),
        (
            lambda c: run_of(c).update(seconds=float("nan")),
            "seconds expects a finite number; got nan",
        ),
        (
            lambda c: run_of(c).update(clock="sundial"),
            "clock as one of computing, wall; got 'sundial'",
        ),
        (lambda c: run_of(c).update(curve={}), "curve expects train and valid; got {}"),
        (
            lambda c: run_of(c).update(curve={"train": [[1]], "valid": []}),
            r"curve: train expects .*; got \[\[1\]\]",
        ),
        (
            lambda c: run_of(c).update(recent=[0.0] * 10**4),
            "recent expects a list of fewer than 10 losses",
        ),
        (
            lambda c: run_of(c).update(source={"name": "digits", "evil": 1}),
            "source has an unknown key 'evil'",
        ),
        (
            lambda c: run_of(c).update(source={"name": "digits", "seed": "x"}),
            "source: seed expects int; got 'x'",
        ),
        (
            lambda c: run_of(c).update(data=multiplied("lol", 11)),
            r"pyro_exact\.data holds more values",
        ),
        (lambda c: run_of(c).update(data=holding_itself()), r"pyro_exact\.data holds more values"),
        (lambda c: run_of(c).update(data="x" * 10**6), "data expects at most 10000 characters"),
        (
            lambda c: run_of(c).update(name="../../escape"),
            "a name that is valid for a folder",
        ),
        (
            lambda c: run_of(c)["model"].update(width=10**4),
            "state_dict expects .* of shape .*10000.*; got",
        ),
        (
            lambda c: run_of(c)["model"].update(width=10**6),
            "expects a weight of at most",
        ),
        (
            lambda c: run_of(c)["model"].update(scales=10**9),
            r"expects scales from 1 to \d+; got 10{9}\. Choose",
        ),
        (
            lambda c: c.update(state_dict=[]),
            r"the field state_dict expects tensors by name; got \[\]",
        ),
        (
            lambda c: c.update(state_dict={1: torch.zeros(1)}),
            "the field state_dict expects tensors by name",
        ),
        (lambda c: c.update(global_step=5), "the field global_step expects that of the run; got 5"),
        (lambda c: c.pop("optimizer_states"), "the field optimizer_states is missing"),
        (
            lambda c: c["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(7)),
            "optimizer_states expects the shapes",
        ),
        (lambda c: c.pop("averaging_state"), "the field averaging_state is missing"),
        (lambda c: c.pop("current_model_state"), "the field current_model_state is missing"),
        (
            lambda c: c["callbacks"].clear(),
            "the field callbacks expects that of the averages; got {}",
        ),
        (lambda c: c.update(loops={}), "the field loops expects the progress of each loop; got {}"),
        (
            lambda c: c.update({"pytorch-lightning_version": "x"}),
            "pytorch-lightning_version expects a version; got 'x'",
        ),
        (lambda c: c.update(unused=torch.zeros(1).expand(10**13)), "unused declares shape"),
        (lambda c: c.update(unused={1, 2}), "unused expects tensors and plain values"),
        (set_weight(lambda t: t.long()), "state_dict; got others"),
        (set_weight(lambda t: t.to_sparse()), "expects a dense tensor of real numbers"),
    ],
)
def test_checkpoint_field_that_is_not_right_is_named_in_one_line(path, edit, message):
    contents = copy.deepcopy(train.read_checkpoint(path))
    edit(contents)
    write(contents, path)
    with pytest.raises(ValueError, match=message) as caught:
        train.load_model(path)
    assert len(str(caught.value)) < 1000


def rebuilt(path, change, compression=zipfile.ZIP_STORED):
    """Write the members again, each as ``change(name, content)`` says; seal the file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))
    write_checksum(path)


def test_checkpoint_that_inflates_is_refused_before_it_is_read(path):
    rebuilt(
        path,
        lambda name, content: bytes(2**26) if name.endswith("data/0") else content,
        zipfile.ZIP_DEFLATED,
    )
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match="is compressed"):
        train.read_checkpoint(path)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02]q\x00h\x00a.", "holds more values than were written"),
        (b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b".", "more than 24 levels"),
        (b"\x80\x02\x8e" + struct.pack("<Q", 2**40) + b"x.", "is refused"),
        (b"", "cannot be read"),
        (b"\x80\x02}.", "the field pyro_exact is missing"),
    ],
)
def test_checkpoint_with_a_foreign_pickle_is_refused(path, pickled, message):
    rebuilt(path, lambda name, content: pickled if name.endswith("data.pkl") else content)
    with pytest.raises(ValueError, match=message):
        train.read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["a/data.pkl", "a/evil"], "'a/evil', which `torch.save` does not write"),
        (["a/data.pkl", "../data.pkl"], "one pickle of at most"),
        (["a/version"], "one pickle of at most"),
        (["a/data.pkl", "a/data/0", "a/data/0"], "two members of the same name"),
    ],
)
def test_checkpoint_with_foreign_members_is_refused(path, members, message):
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, b"x")
    with path.open("rb") as file, pytest.raises(DamagedError, match=message):
        check_members(file, path.stat().st_size)


def test_checkpoint_that_is_a_raw_pickle_is_refused(path):
    path.write_bytes(pickle.dumps({"pyro_exact": {}}))
    with pytest.raises(ValueError, match="without a checksum"):
        train.load_model(path)
