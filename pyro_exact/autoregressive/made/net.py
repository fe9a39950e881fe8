"""MADE: an autoencoder whose masks make it autoregressive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet, check_scalar_sites
from pyro_exact.checks import (
    LARGEST_COUNT,
    check_elements,
    check_seed,
    check_share,
    check_size,
    check_sizes,
)
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.nn.masked_dense import MaskedDense
from pyro_exact.nn.orders import permutations
from pyro_exact.nn.step_state import StepState


class MADE(CausalNet):
    r"""The masked autoencoder MADE. Use this network for vectors and small images.

    .. math::
        \theta = b + (A \odot M^A)\, x + (V \odot M^V)\, h^L, \qquad
        h^l = \mathrm{relu}\left(b^l + (W^l \odot M^l)\, h^{l-1}\right), \quad h^0 = x

    The masks are computed using degrees, which are drawn at random once and saved with the weights:
    a hidden unit of degree m sees inputs and units of degrees up to m, an output sees everything
    that comes before the corresponding site. Every site is also seen directly by all later sites
    (:math:`A`), so that no width is too small. Several masks, each with another order of the sites,
    make an ensemble; see `pyro_exact.autoregressive.Autoregressive`.

    Args:
        shape: Size of the vectors, or shape of images, whose pixels are read row by row.
        hidden_dims: Width of each hidden layer.
        masks: How many masks to use.
        order: A permutation of the indices of the sites, or a permutation for each mask, for
            example the `scans` of an image. By default 0, 1, ..., or with several masks random
            orders.
        seed: Seed of the masks.
        likelihood: Distribution of an element, as an object or by name; the default is Bernoulli.
        context_dim: Size of a context vector on which every site may depend.
        dropout: Probability with which a hidden unit is dropped in training.

    Shape:
        - x: (\*batch, \*shape); context: (\*batch, context_dim); theta: (\*batch, \*shape,
          likelihood.num_params).

    Raises:
        ValueError: If a size is not positive, ``order`` is not a permutation, the orders do not
            match the masks, ``dropout`` is outside of [0, 1), or a site of the likelihood has
            several elements.

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
        likelihood: AnyLikelihood | None = None,
        context_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        if context_dim is not None:
            context_dim = check_size("MADE", "context_dim", context_dim)
        likelihood = make_likelihood("bernoulli" if likelihood is None else likelihood)
        super().__init__(shape, check_scalar_sites("MADE", likelihood), context_dim)

        outputs = self.sites * likelihood.num_params
        hidden_dims = check_sizes("MADE", "hidden_dims", hidden_dims)
        for below, above in pairwise((self.sites, *hidden_dims, outputs)):
            check_elements("MADE", below, above)
        check_elements("MADE", self.sites, outputs)

        masks = check_size("MADE", "masks", masks, most=LARGEST_COUNT)
        seed, dropout = check_seed("MADE", seed), check_share("MADE", "dropout", dropout)
        orders = None if order is None else permutations(order, self.sites, "MADE")
        self.dense = MaskedDense(
            self.sites,
            likelihood.num_params,
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

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        flat = self.to_sites(self.check_input(x))
        theta: Tensor = self.dense(flat, context, member)
        return theta.unflatten(-2, self.event_shape)

    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        return self.dense.start(batch_shape, context, member)

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        value = None if previous is None else previous.squeeze(-1)
        theta, state = self.dense.step(state, value)
        return theta.unsqueeze(-2), state

    def initialize(self, x: Tensor) -> None:
        """Set the output bias to the parameters of the marginal distributions of a batch."""
        self.dense.set_output_bias(self.likelihood.marginal(self.check_data(x)))
