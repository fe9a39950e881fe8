"""Number of files from a call of the library to the code that does the work."""

import sys
from pathlib import Path

import pytest
import torch
from registry import NETS

import pyro_exact
from pyro_exact.autoregressive import Autoregressive

PACKAGE = Path(pyro_exact.__file__).parent


def calls(function):
    """The files of the package on the stack, outermost first, at each call below ``function``."""
    found = []

    def record(frame, event, _):
        if event != "call" or not frame.f_code.co_filename.startswith(str(PACKAGE)):
            return
        stack = []
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(PACKAGE):
                stack.append((path.relative_to(PACKAGE).as_posix(), frame.f_code.co_name))
            frame = frame.f_back
        found.append(stack[::-1])

    sys.setprofile(record)
    try:
        function()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize("name", [name for name in NETS if " " not in name])
def test_walk_from_sample_to_the_step_of_a_network_takes_five_files_of_one_package(name):
    net = NETS[name]()
    context = None if net.context_shape is None else torch.zeros(net.context_shape)
    family = Path(type(net).__module__.replace(".", "/")).parent.name

    walks = [
        list(dict.fromkeys(path for path, _ in stack))
        for stack in calls(lambda: Autoregressive(net, context).sample())
        if "step" in [function for _, function in stack] and f"/{family}/" in stack[-1][0]
    ]
    to_the_step, to_the_last_helper = min(walks, key=len), max(walks, key=len)
    assert len(to_the_step) <= 5
    assert len(to_the_last_helper) <= 7
    assert {path.split("/")[0] for walk in walks for path in walk} == {"autoregressive"}
