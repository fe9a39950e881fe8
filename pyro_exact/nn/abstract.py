"""Abstract classes of modules, of which Pyro can still make modules with random weights."""

from __future__ import annotations

from abc import ABCMeta

from pyro.nn import PyroModule


class AbstractModuleMeta(ABCMeta, type(PyroModule)):  # type: ignore[misc]  # Pyro's metaclass has no public name
    """The metaclass of our abstract modules.

    `pyro.nn.module.to_pyro_module_` derives a class from that of a module and from `PyroModule`,
    which has a metaclass of its own. With `abc.ABCMeta` alone the two would be in conflict.
    """
