"""Run the fast tests on the oldest and on the newest supported Python, torch and Pyro.

python tests/matrix.py [oldest] [newest]

The versions are those of setup.cfg: the lower bounds of its requirements, and the oldest and the
newest Python of its classifiers. Each environment is in .matrix/, and is made once. An interpreter
is looked for on the PATH and among those of pyenv; if there is none, the page says so. The result
is written to docs/compatibility.md.
"""

import configparser
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".matrix"
PAGE = ROOT / "docs" / "compatibility.md"
SHOWN = ("torch", "pyro-ppl", "lightning", "arviz", "numpy")
ROW = re.compile(r"^\| (oldest|newest) \|.*$", re.MULTILINE)


def supported():
    """The versions of Python in the classifiers, and the lower bounds of the requirements."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    minors = re.findall(r"Python :: 3\.(\d+)", config["metadata"]["classifiers"])
    bounds = re.findall(
        r"^([\w-]+)(?:\[\w+\])?>=(.+)$", config["options"]["install_requires"], re.M
    )
    return sorted(int(minor) for minor in minors), [f"{name}=={bound}" for name, bound in bounds]


def interpreter(minor):
    """The path of an interpreter, or None."""
    found = shutil.which(f"python3.{minor}")
    if found and subprocess.run([found, "--version"], capture_output=True).returncode == 0:
        return found
    pyenv = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))
    return str(pyenv[-1]) if pyenv else None


def environment(name, python, constraints):
    """The folder of a virtual environment with the package and what its tests need."""
    folder = FOLDER / name
    done = folder / ".done"
    if not done.exists():
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.txt").write_text("".join(f"{line}\n" for line in constraints))
        pip = [folder / "bin" / "pip", "install", "--quiet"]
        subprocess.run([python, "-m", "venv", folder], check=True)
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "-c", FOLDER / f"{name}.txt", "-e", ".[test]"], cwd=ROOT, check=True)
        done.touch()
    return folder


def versions(folder):
    """The versions of Python and of the main requirements in an environment."""
    code = (
        "import platform; from importlib.metadata import version; "
        f"print(platform.python_version(), *map(version, {SHOWN}))"
    )
    python = folder / "bin" / "python"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.split()


def run(name, minor, constraints):
    """A row of the table: versions, and the last line of pytest."""
    python = interpreter(minor)
    if python is None:
        return [name, f"3.{minor}", *["-"] * len(SHOWN), "no such interpreter here"]
    try:
        folder = environment(name, python, constraints)
    except subprocess.CalledProcessError:
        return [name, f"3.{minor}", *["-"] * len(SHOWN), "the requirements cannot be installed"]
    command = [folder / "bin" / "python", "-m", "pytest", "-q", "-m", "not slow", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    (FOLDER / f"{name}.log").write_text(done.stdout + done.stderr)
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return [name, *versions(folder), re.sub(r" in [\d.]+s.*", "", last.strip("= "))]


if __name__ == "__main__":
    minors, bounds = supported()
    corners = {"oldest": (minors[0], bounds), "newest": (minors[-1], [])}
    failed = False
    for name in sys.argv[1:] or corners:
        row = run(name, *corners[name])
        failed |= "passed" not in row[-1] or "failed" in row[-1] or "error" in row[-1]
        date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        line = f"| {' | '.join([*row, date])} |"
        page = PAGE.read_text()
        PAGE.write_text(ROW.sub(lambda old: line if old[1] == name else old[0], page))  # noqa: B023
        print(line)
    sys.exit(failed)
