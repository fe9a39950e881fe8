"""Recipes from files that nobody vouches for."""

import resource

import pytest

from pyro_exact.cli import main
from pyro_exact.recipes import Recipe, load_recipe
from pyro_exact.recipes.limits import LARGEST_MODEL

VALUES = {
    "name": "mine",
    "model": {"name": "glow", "scales": 1, "steps": 2, "width": 4},
    "data": "digits",
    "training": {"steps": 10},
    "paper": {"reference": "A paper", "value": 3.35},
}


def changed(**values):
    return {**VALUES, **values}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: [", "is not valid YAML"),
        ("", "expects names with values; got None"),
        ("- 1", r"expects names with values; got \[1\]"),
        ("!!python/object/apply:os.system [touch ran]", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
    ],
)
def test_recipe_file_that_is_no_recipe_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_recipe(str(path))
    assert list(tmp_path.iterdir()) == [path]


def test_recipe_file_of_bytes_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"mine\.yaml"):
        load_recipe(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    "name",
    ["../../escape", "/absolute", "a/b", "..", ".", "", "x\0y", "\x1b[31m", "a\\b", "n" * 256],
)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(
        ValueError, match="a recipe expects a name that is valid for a folder"
    ) as caught:
        Recipe.from_dict(changed(name=name), "the test")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["glow", "-rf", ".hidden", "ü 2 (new)", "n" * 255])
def test_names_of_other_kinds_are_taken(name):
    assert Recipe.from_dict(changed(name=name), "the test").name == name


LAUGHS = ", ".join(
    f"&a{i} [{', '.join(['lol' if i == 0 else f'*a{i - 1}'] * 10)}]" for i in range(11)
)

LAUGHS = f"[{LAUGHS}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "has an anchor or an alias"),
        ("&a [*a]", "has an anchor or an alias"),
        ("[" * 3000 + "]" * 3000, "holds more than 16 levels"),
        ("[" * 60_000, "holds more than 16 levels"),
        ("- 1\n" * 15_000, "at most 10000 values; got more"),
        ("a: " + "x" * 70_000, "at most 65536 bytes"),
        ("a: " + "9" * 5000, "not valid YAML: Exceeds the limit"),
        ("a: 0x" + "f" * 5000, "integers of at most 64 bits; got an integer of 20000 bits"),
        ("a: 2020-13-45", "not valid YAML: month must be in"),
        ("a: !!int x", "has a tag"),
        ("a: 1\na: 2", "has 'a' twice"),
        ("1: 2", "got the name 1"),
        ("data: 2020-01-01", "data expects text, numbers and lists of them; got <date>"),
        (
            f"model: {{name: glow, steps: '{LAUGHS}'}}\ndata: digits",
            "steps expects a text; got .* YAML in it",
        ),
        (f"model: '{LAUGHS}'\ndata: digits", "model expects a text; got .* YAML in it"),
    ],
)
def test_recipe_file_is_refused_before_it_is_expanded(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    # Expanded, the longest of these would not fit into memory.
    with pytest.raises(ValueError, match=message) as caught:
        load_recipe(str(path))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", [LAUGHS, f"training: {{steps: 1}}\nmodel: '{LAUGHS}'", "[" * 3000])
def test_recipe_argument_is_not_expanded_either(tmp_path, capsys, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    for flags in (["--model", text], ["--config", str(path)]):
        with pytest.raises(SystemExit):
            main(["train", "glow_digits", *flags])
        assert len(capsys.readouterr().err) < 1000


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"name": "glow", "scales": 2, "steps": 10**9},
            r"expects steps from 1 to 10000; got 10{9}\. Choose",
        ),
        ({"name": "glow", "scales": 10**9}, r"expects scales from 1 to \d\d; got 10{9}\. Choose"),
        ({"name": "glow", "scales": 2, "width": 70_000}, "would take more than 16,384 MiB"),
        ({"name": "made", "hidden_dims": [10**7]}, "would take more than"),
        ({"name": "dense_vae", "hidden_dims": [10**4] * 1000}, "would take more than"),
        ({"name": "glow", "scales": 2, "steps": 10**4}, "takes more than 1000 calls"),
    ],
)
def test_recipe_model_without_end_is_refused_before_it_is_built(model, message):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(changed(model=model), "the test").build(
            (1, 28, 28), 2, LARGEST_MODEL._replace(calls=1000)
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


@pytest.mark.parametrize(
    ("shape", "levels", "message"),
    [
        ((1, 10**6, 10**6), 17, "data of at most 4194304 elements"),
        ((-1, 8, 8), 17, "each of shape from 1"),
        ((8, 8), 17, r"a shape \(C, H, W\) of images; got \(8, 8\)"),
        ((1, 8, 8), 1, "levels from 2"),
        ((1, 8, 8), 10**9, "levels from 2 to 65536"),
    ],
)
def test_images_that_cannot_be_are_refused(shape, levels, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_dict(VALUES, "the test").build(shape, levels)
