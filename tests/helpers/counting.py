"""A coupling layer whose network counts its evaluations."""

from torch import nn

from pyro_exact.nn import Conditioner, DenseConditioner
from pyro_exact.transforms import Affine, Coupling, Halves


class Counting(Conditioner):
    """A conditioner that counts its evaluations, and may drop hidden units at random."""

    def __init__(self, context_dim=None, dropout=0.0):
        super().__init__(2, context_dim)
        self.net = DenseConditioner(2, 2, 2, (6,), context_dim)
        self.dropout = nn.Dropout(dropout)
        self.calls = 0
        perturb(self)

    def forward(self, x, context=None):
        self.calls += 1
        return self.dropout(self.net(x, context))


def perturb(module, std=0.5):
    """Move all weights of a module, and return the module."""
    for p in module.parameters():
        nn.init.normal_(p, std=std)
    return module


def counted(context_dim=None, dropout=0.0):
    """Return a coupling of four dimensions."""
    return Coupling(Halves(4), Affine(), Counting(context_dim, dropout))
