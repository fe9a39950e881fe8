"""The metaclass of abstract modules."""

from __future__ import annotations

from abc import ABCMeta

from pyro.nn import PyroModule


class AbstractModuleMeta(ABCMeta, type(PyroModule)):  # type: ignore[misc]  # Pyro's metaclass has no public name
    """The metaclass that must be used by every abstract module of this library.

    `pyro.nn.module.to_pyro_module_` derives a class from that of a module and from `PyroModule`,
    which has another metaclass. When using `abc.ABCMeta` alone, the two types would be in conflict.
    """
