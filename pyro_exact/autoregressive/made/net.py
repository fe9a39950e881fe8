"""MADE: an autoencoder that masks make autoregressive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_seed,
    check_share,
    check_size,
    check_sizes,
)
from pyro_exact.likelihoods.bernoulli import BernoulliLikelihood
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import State


class MADE(CausalNet):
    r"""The masked autoencoder for distribution estimation.

    .. math::
        \theta = b + (A \odot M^A)\, x + (V \odot M^V)\, h^L, \qquad
        h^l = \mathrm{relu}\left(b^l + (W^l \odot M^l)\, h^{l-1}\right), \quad h^0 = x

    The masks come from degrees, drawn once at random and saved with the weights: a hidden unit of
    degree m sees what is of degree up to m, an output what comes before its site. A site is seen by
    all later ones directly (:math:`A`), so that no width is too small. Several masks, each with its
    own order of the sites, make an ensemble; see `pyro_exact.autoregressive.Autoregressive`.

    Args:
        shape: Size of the vectors, or the shape of images, whose pixels come row by row.
        hidden_dims: Width of each hidden layer.
        masks: Number of masks.
        order: A permutation of the numbers of the sites, or one for each mask, such as the `scans`
            of an image; `None` for 0, 1, ..., or with several masks for random ones.
        seed: Of the masks.
        likelihood: What ``theta`` means: Bernoulli for bits, or Gaussian for real numbers.
        context_dim: Size of the context vector that every site may depend on.
        dropout: Share of the hidden units that are left out in training.

    Shape:
        - x: (\*batch, \*shape); context: (\*batch, context_dim); theta: (\*batch, \*shape,
          likelihood.num_params).

    Raises:
        ValueError: On sizes that are not positive, on an ``order`` that is no permutation, on
            another number of orders than of masks, and on a ``dropout`` outside [0, 1).

    Reference:
        Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for Distribution
        Estimation, sections 3 and 4; equations 8-9 and 12-13.

    Example:
        >>> from pyro_exact.autoregressive import Autoregressive
        >>> d = Autoregressive(MADE(4, hidden_dims=(16,), masks=3))
        >>> d.log_prob(d.sample((5,))).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        hidden_dims: Sequence[int] = (500,),
        masks: int = 1,
        order: Sequence[int] | Sequence[Sequence[int]] | None = None,
        seed: int = 0,
        likelihood: Likelihood | None = None,
        context_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        if context_dim is not None:
            context_dim = check_size("MADE", "context_dim", context_dim)
        super().__init__(
            shape, BernoulliLikelihood() if likelihood is None else likelihood, context_dim
        )
        hidden_dims = check_sizes("MADE", "hidden_dims", hidden_dims)
        outputs = self.sites * self.likelihood.num_params
        for below, above in pairwise((self.sites, *hidden_dims, outputs)):
            check_elements("MADE", below, above)
        check_elements("MADE", self.sites, outputs)
        masks = check_size("MADE", "masks", masks, most=LARGEST_COUNT)
        seed, dropout = check_seed("MADE", seed), check_share("MADE", "dropout", dropout)
        orders = None if order is None else permutations(order, self.sites, "MADE")
        self.dense = MaskedDense(
            self.sites,
            self.likelihood.num_params,
            hidden_dims,
            context_dim,
            orders,
            masks,
            seed,
            direct=True,
            dropout=dropout,
        )

    @property
    def orders(self) -> Tensor:
        return self.dense.orders

    def forward(self, x: Tensor, context: Tensor | None = None, member: int = 0) -> Tensor:
        theta: Tensor = self.dense(self.to_sites(self.values(x)), context, member)
        return theta.unflatten(-2, self.event_shape)

    def start(
        self, batch_shape: Sequence[int], context: Tensor | None = None, member: int = 0
    ) -> State:
        return self.dense.start(batch_shape, context, member)

    def step(self, state: State, previous: Tensor | None = None) -> tuple[Tensor, State]:
        return self.dense.step(state, previous)

    def initialize(self, x: Tensor) -> None:
        """Set the output bias to the parameters of the marginal distributions of a batch."""
        self.dense.set_output_bias(self.likelihood.marginal(self.examples(x)))
