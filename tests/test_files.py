"""Files that are written whole or not at all."""

import os

import pytest
from helpers.runs import fit, recipe

from pyro_exact.files import UnwritableError, atomic_write, write_json

NO_PROCESS = 2**22 + 1  # above the largest number that Linux gives


def test_files_are_written_without_what_an_earlier_process_left(tmp_path):
    left, of_the_living, other = (
        tmp_path / f".{name}.partial.json"
        for name in (f"a.{NO_PROCESS}", f"a.{os.getppid()}", f"b.{NO_PROCESS}")
    )
    for path in (left, of_the_living, other):
        path.touch()
    write_json({}, tmp_path / "a.json")
    assert (left.exists(), of_the_living.exists(), other.exists()) == (False, True, True)


def test_json_has_no_number_that_is_not_finite(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.json expects finite numbers, as JSON does; got rows\.1\.value = nan"
    ):
        write_json({"rows": [{"value": 1.0}, {"value": float("nan")}]}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_files_say_that_a_name_is_too_long(tmp_path):
    with atomic_write(tmp_path / ("n" * 250)) as partial:  # its partial file has a shorter one
        partial.touch()
    with pytest.raises(
        UnwritableError,
        match=r"File name too long\. There is none before it\. Choose a shorter name",
    ):
        write_json({}, tmp_path / ("n" * 300))
    with pytest.raises(UnwritableError, match="cannot be written: File name too long"):
        fit(recipe(), tmp_path / ("n" * 300))
