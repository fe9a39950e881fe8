"""Loading a data set by its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyro_exact.data import load


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"name": "mnits"},
            ValueError,
            r"got 'mnits'. Did you mean mnist.* The names are digits, photos, .*celeba",
        ),
        (
            {"name": ""},
            ValueError,
            r"load expects the name of a data set, a file or a folder; got ''",
        ),
        (
            {"name": "no/such/folder"},
            FileNotFoundError,
            r"no/such/folder: load expects a table, an .npz or .npy file, or a folder of images; got none",
        ),
        ({"name": "absent.npz"}, FileNotFoundError, r"absent.npz: no such file"),
        ({"name": "mnist"}, ValueError, r"mnist expects root, the folder .* \(--data-root\)"),
        (
            {"name": "binarized_mnist", "root": "nowhere"},
            FileNotFoundError,
            r"nowhere.BinarizedMNIST.*got neither",
        ),
        ({"name": "digits", "valid_fraction": 0.0}, ValueError, r"above 0 and below 1; got 0.0"),
        ({"name": "digits", "valid_fraction": 1}, ValueError, r"above 0 and below 1; got 1"),
        (
            {"name": "digits", "valid_fraction": float("nan")},
            ValueError,
            r"above 0 and below 1; got nan",
        ),
    ],
)
def test_load_names_what_is_wrong(arguments, error, match):
    with pytest.raises(error, match=match):
        load(**arguments)


def test_data_import_is_light():
    """Checked on the modules of the package itself: what its parents import is not its concern."""
    code = (
        "import sys, types; parent = types.ModuleType('pyro_exact'); parent.__path__ = [sys.argv[1]]; "
        "sys.modules['pyro_exact'] = parent; import pyro_exact.data; "
        "print(*{'torchvision', 'sklearn', 'PIL', 'scipy', 'pyro'} & set(sys.modules))"
    )
    package = Path(__file__).parents[2] / "pyro_exact"
    result = subprocess.run(
        [sys.executable, "-c", code, str(package)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []
