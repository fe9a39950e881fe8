"""What the package promises as a whole: who imports whom, a light import, a complete wheel, no asserts."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_exact.cli.parser import COMMANDS

ROOT = Path(__file__).parents[2]

PACKAGE = ROOT / "pyro_exact"

FILES = sorted(PACKAGE.rglob("*.py"))

# A package or module imports only what stands before it in this list, the order of
# docs/architecture.md: tensors, layers, distributions, networks, builders; then images, models of
# them, what to train, pictures, how to train (with pictures of samples), and
# how to look at it.
ORDER = [
    "checks",
    "ops",
    "files",
    "provenance",
    "noise",
    "nn",
    "transforms",
    "likelihoods",
    "distributions",
    "autoregressive",
    "flows",
    "data",
    "models",
    "codec",  # codes what models score, and needs no training; the commands bring checkpoints
    "testing",
    "infer",
    "recipes",
    "plots",
    "train",
    "diagnostics",
    "pretrained",
    "cli",
]

LEAVES = {
    "ops",
    "nn",
    "data",
}  # a network knows no distribution, an image no model: these import GROUND alone

GROUND = {"checks", "ops"}

ONLY_IN = {"matplotlib": {"plots", "diagnostics"}}

LATE = [
    "lightning",
    "torchvision",
    "sklearn",
    "arviz",
    "matplotlib",
    "constriction",
    "imagecodecs",
]  # loaded where they are used, not on import

HEAVY = [
    "torch",
    "pyro",
    "numpy",
    *LATE,
]  # what the command line does without, until a command runs


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a file imports, in functions too; `from a import b` is a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def component(file: Path) -> str:
    """The entry of ORDER that a file belongs to; `__init__` for that of the package itself."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def misplaced(source: str, owner: str) -> list[str]:
    """The imports that a file of `owner` must not have."""
    allowed = GROUND if owner in LEAVES else set(ORDER[: ORDER.index(owner)])
    found = []
    for name in imports(ast.parse(source)):
        top, *rest = name.split(".")
        ours = top == "pyro_exact" and rest[0] in ORDER
        if (ours and rest[0] not in {owner, *allowed}) or owner not in ONLY_IN.get(top, {owner}):
            found.append(name)
    return found


def test_imports_point_downwards():
    files = [file for file in FILES if component(file) != "__init__"]
    assert {component(file) for file in files} <= set(ORDER), "every package needs a place in ORDER"
    found = {file: misplaced(file.read_text(), component(file)) for file in files}
    assert {str(file): names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("source", "owner", "expected"),
    [
        ("from pyro_exact.nn.conv import ConvNet", "transforms", []),
        ("from pyro_exact import flows, nn", "transforms", ["pyro_exact.flows"]),
        ("from pyro_exact import __version__", "nn", []),
        ("import pyro_exact.models.base as base", "data", ["pyro_exact.models.base"]),
        ("from pyro_exact import data, recipes", "models", ["pyro_exact.recipes"]),
        ("def f():\n    import matplotlib.pyplot", "cli", ["matplotlib.pyplot"]),
        ("from matplotlib.figure import Figure", "plots", []),
    ],
)
def test_imports_check_sees_what_is_misplaced(source, owner, expected):
    assert misplaced(source, owner) == expected


def test_package_has_no_assert_statement():
    found = [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert found == [], "python -O drops asserts: raise ValueError or TypeError"


def python(code: str, folder: Path, *options: str, **environment: str) -> str:
    """The output of a fresh interpreter that starts in an empty folder, so that it sees only what is installed."""
    command = [sys.executable, *options, "-c", code]
    result = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("modules", "late"),
    [
        ("pyro_exact.checks, pyro_exact.files", HEAVY),
        ("pyro_exact.recipes, pyro_exact.cli", HEAVY),
        (
            "pyro_exact.plots, pyro_exact.infer, pyro_exact.data, pyro_exact.models, pyro_exact.codec, pyro_exact.diagnostics",
            LATE,
        ),
    ],
)
def test_imports_are_light(tmp_path, modules, late):
    loaded = set(python(f"import sys, {modules}; print(*sys.modules)", tmp_path).split())
    assert set(modules.split(", ")) <= loaded
    assert loaded.isdisjoint(late)


SAID = [
    (
        "--help",
        ",".join(COMMANDS),
    ),
    ("--version", "0.1"),
    ("recipes", "glow_cifar10"),
    ("train --help", "--training.learning_rate"),
    ("sample --help", "Standard deviation of a flow's base noise"),
    ("diagnose --help", "Folder for diagnosis.json"),
    ("trian", "'trian'"),
    ("sample x --temprature 1", "Did you mean 'temperature'?"),
    ("train glow_digits --training.steps x", "--training.steps"),
    ("train glow_digts", "Did you mean 'glow_digits'?"),
    ("train nowhere.yaml", "There is no recipe file nowhere.yaml."),
    ("recipes --show glow_digts", "Did you mean 'glow_digits'?"),
]


def test_command_line_starts_without_torch(tmp_path):
    code = f"""
import sys
from pyro_exact.cli import main
sys.stderr = sys.stdout
for command in {[command.split() for command, _ in SAID]}:
    try:
        main(command)
    except SystemExit:
        pass
    print("NEXT")
print(*sys.modules)
"""
    *outputs, loaded = python(code, tmp_path).split("NEXT\n")
    for output, (_, said) in zip(outputs, SAID, strict=True):
        assert said in output
    assert set(loaded.split()).isdisjoint(HEAVY)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which a wheel of this tree was installed, without a network and without dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools would leave build/ in the tree, and take deleted files out of an old
    # one.
    source = folder / "source"
    shutil.copytree(PACKAGE, source / "pyro_exact", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)

    def run(*command: str | Path) -> None:
        result = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr

    run("build", "--wheel", "--no-isolation", "--outdir", folder, source)
    (wheel,) = folder.glob("*.whl")
    run("pip", "install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    return folder / "site"


def test_wheel_carries_every_file(installed):
    def files(folder: Path) -> set[str]:
        return {
            str(f.relative_to(folder))
            for f in folder.rglob("*")
            if f.suffix in {".py", ".yaml", ".typed", ".json", ".safetensors"}
        }

    assert files(installed / "pyro_exact") == files(PACKAGE)
    assert "py.typed" in files(PACKAGE)
    assert any(name.startswith("recipes/") and name.endswith(".yaml") for name in files(PACKAGE))


def test_wheel_carries_no_other_package(installed):
    folders = {f.name for f in installed.iterdir() if not f.name.endswith(".dist-info")} - {"bin"}
    assert folders == {"pyro_exact"}


def test_wheel_works_where_the_tree_is_not(installed, tmp_path):
    # -S leaves out the site folder and with it the editable install; the dependencies come back by
    # their path.
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    code = "from pyro_exact import recipes; print(recipes.__file__, *recipes.recipe_names(), sep='\\n')"
    file, *names = python(code, tmp_path, "-S", PYTHONPATH=path).splitlines()
    assert Path(file).is_relative_to(installed)
    assert sorted(names) == sorted(f.stem for f in (PACKAGE / "recipes").glob("*.yaml"))
