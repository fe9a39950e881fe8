"""Laws of flow layers, for the layers of this package and for your own: see `check_bijection`."""

from pyro_exact.testing.check import check_bijection, laws
from pyro_exact.testing.law import Law
from pyro_exact.testing.trial import Trial

__all__ = ["Law", "Trial", "check_bijection", "laws"]
