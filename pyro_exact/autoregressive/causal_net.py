"""The contract of autoregressive networks: causal in one pass, or step by step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor, nn

from pyro_exact.checks import check_broadcast, check_event, check_numbers, check_shape, check_tensor
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.nn.conditioner import required
from pyro_exact.nn.precision import cast, weight_of
from pyro_exact.nn.step_state import StepState


class CausalNet(nn.Module, ABC):
    r"""The base class of networks for `pyro_exact.autoregressive.Autoregressive`.

    .. math:: \theta_{o_k} = g_k(x_{o_1}, \dots, x_{o_{k-1}}, \mathrm{context}), \qquad
        \log p(x) = \sum_k \log p(x_{o_k} \mid \theta_{o_k})

    A site is the part of a value that the network predicts at once: an element of a vector or
    image, or, with some likelihoods, a pixel with all channels.

    A subclass must define `orders` and `forward`, which computes all sites in one pass. When a
    step costs less than a pass, it should define `init_state` and `step` as well. Both must agree:
    all steps must give the parameters that `forward` gives. By default a step predicts a single
    site; `num_steps` and `group` should be defined when a step predicts several. The state is
    passed from step to step and never stored in the module. A network may be an ensemble with
    shared weights, in which each member uses a different order. Use
    `pyro_exact.testing.check_causal_net` to check all of this.

    Args:
        shape: Size of a vector, or shape of an image. The first dimensions are the shape of the
            value of a site, the remaining dimensions the grid of sites, in the order of the rows.
        likelihood: The distribution of a site given the corresponding parameters ``theta``.
        context_shape: Shape of the context on which every site may depend, or the size of a context
            vector; `None` for a network without a context.

    Attributes:
        event_shape: Shape of a value.
        grid: Shape of the grid of sites.
        sites: Number of sites.

    Shape:
        - x: (\*batch, \*event_shape), where event_shape is (\*site_shape, \*grid); context:
          (\*batch, \*context_shape).
        - theta: (\*batch, \*grid, likelihood.num_params).

    Raises:
        TypeError: If ``likelihood`` is not a `Likelihood`.
        ValueError: If the shape is empty, or does not begin with the shape of a site's value.
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        likelihood: Likelihood,
        context_shape: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not isinstance(likelihood, Likelihood):
            raise TypeError(
                f"{name} expects a Likelihood, for example from pyro_exact.likelihoods; got "
                f"{type(likelihood).__name__}. Pass an instance, not the class."
            )

        self.event_shape = torch.Size(check_shape(name, "shape", shape))
        self.likelihood = likelihood
        self.context_shape: tuple[int, ...] | None = None
        if context_shape is not None:
            self.context_shape = check_shape(name, "context_shape", context_shape)

        dims = self._site_dims
        if self.event_shape[:dims] != likelihood.site_shape:
            raise ValueError(
                f"{name} expects a shape that begins with the site shape of the likelihood, "
                f"{likelihood.site_shape}; got {tuple(self.event_shape)}. Build the likelihood "
                "for this shape."
            )
        self.grid = self.event_shape[dims:]
        self.sites = self.grid.numel()

    @property
    def _site_dims(self) -> int:
        """Dimensions of the value of a site."""
        return len(self.likelihood.site_shape)

    # The contract
    # ---------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def orders(self) -> Tensor:
        """Order of the sites for each member: integers of shape (members, sites)."""

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        member: int = 0,
    ) -> Tensor:
        """Return the parameters of every site, each from the values of earlier sites in ``x``."""

    @property
    def incremental(self) -> bool:
        """True if this network defines `step`, which should cost less than a pass."""
        return type(self).step is not CausalNet.step

    @property
    def num_steps(self) -> int:
        """Number of steps that predict all sites; by default a step for each site."""
        return self.sites

    def group(self, index: int) -> slice:
        """Return the places in the order that step ``index`` predicts; by default a single place.

        The groups of all steps must cover the order without gaps. The sites of a group are
        independent given the sites of earlier groups.
        """
        return slice(index, index + 1)

    def phase(self, index: int) -> Hashable | None:
        """Return a key of step ``index``; steps with equal keys run the same operations.

        Steps of a phase must differ in nothing but the values of tensors in their cache, so that a
        CUDA graph can record one step and replay it for the rest. Use `None`, the default, for
        a step that must never be replayed.
        """
        return None

    def init_state(
        self,
        batch_shape: Sequence[int],
        context: Tensor | None = None,
        member: int = 0,
    ) -> StepState:
        """Return the state before the first step.

        Args:
            batch_shape: Batch shape of the values that the steps predict.
            context: (*batch, *context_shape), if the network needs a context.
            member: Member of an ensemble.
        """
        weight = next(self.parameters())
        x = weight.new_zeros(*batch_shape, self.sites, *self.likelihood.site_shape)
        return StepState(member, 0, (x, context))

    def step(
        self,
        state: StepState,
        previous: Tensor | None = None,
    ) -> tuple[Tensor, StepState]:
        """Return the parameters of the next group of sites, and the next state.

        By default each step runs `forward`, which is always correct, and slow.

        Args:
            state: From `init_state` or from the previous step. A step may write into the cache, so
                each state should be used only once.
            previous: Values of the group of the previous step, (*batch, group, *site_shape); `None`
                at the first step. This tensor may be overwritten after the call.

        Returns:
            The parameters, (*batch, group, num_params), and the state after the step.
        """
        x, context = state.cache
        order = self.orders[state.member]

        if previous is not None:
            known = order[self.group(state.done - 1)]
            x = x.index_copy(-1 - self._site_dims, known, previous)

        theta = self(self.from_sites(x), context, member=state.member)
        by_site = theta.flatten(-1 - len(self.grid), -2)
        return by_site.index_select(-2, order[self.group(state.done)]), state.next((x, context))

    def initialize(self, x: Tensor) -> None:
        """Set the parameters that depend on data from a batch. By default there are none."""

    # For subclasses
    # ---------------------------------------------------------------------------------------------

    def to_sites(self, x: Tensor) -> Tensor:
        """Return the values of all sites, (*batch, sites, *site_shape)."""
        self._check_event(x)
        flat = x.flatten(-len(self.grid))
        return flat.movedim(-1, -1 - self._site_dims)

    def from_sites(self, values: Tensor) -> Tensor:
        """Return the inverse of `to_sites`."""
        flat = values.movedim(-1 - self._site_dims, -1)
        return flat.unflatten(-1, self.grid)

    def check_input(self, x: Tensor) -> Tensor:
        """Return x in the dtype of the weights, or raise an error if it has another shape."""
        self._check_event(x)
        weight = weight_of(self)
        if not weight.is_meta:
            check_numbers(type(self).__name__, "x", x)
        return cast(x, weight)

    def check_data(self, x: Tensor) -> Tensor:
        """Return a batch of data, (n, sites, *site_shape), for `initialize`.

        Raises:
            ValueError: If ``x`` is not a batch, or has values that the likelihood does not allow.
        """
        name = type(self).__name__
        rows = self.to_sites(x)
        if rows.dim() == 1 + self._site_dims or not len(rows):
            raise ValueError(
                f"{name} expects a batch of data; got shape {tuple(x.shape)}. Add the batch "
                "dimension."
            )

        check_numbers(name, "data", x)
        if not (self.likelihood.support.check(x) & x.isfinite()).all():
            raise ValueError(
                f"{name} expects data with {self.likelihood.values}; got other values. "
                "Compare the data with the likelihood."
            )
        return cast(rows.reshape(-1, self.sites, *self.likelihood.site_shape), weight_of(self))

    def flatten_context(
        self,
        context: Tensor | None,
        batch_shape: Sequence[int],
    ) -> Tensor | None:
        """Return the context of each row of a flattened batch, (N, *context_shape).

        Raises:
            ValueError: If the context is missing, or has another shape, or a larger batch than x.
        """
        if self.context_shape is None:
            return None

        context = required(context, self.context_shape, next(self.parameters()))
        rows = context.shape[: context.dim() - len(self.context_shape)]
        name, batch = type(self).__name__, torch.Size(batch_shape)
        if check_broadcast(name, "context", rows, "x", batch) != batch:
            raise ValueError(
                f"{name} expects x with the batch shape of the context, {tuple(rows)}; got "
                f"{tuple(batch_shape)}. Expand x to this shape."
            )
        return context.expand(*batch, *self.context_shape).reshape(-1, *self.context_shape)

    def _check_event(self, x: Tensor) -> None:
        name = type(self).__name__
        check_event(name, "x", check_tensor(name, "x", x), self.event_shape)


def check_scalar_sites(name: str, likelihood: Likelihood) -> Likelihood:
    """Return the likelihood of a network whose sites are single elements, or raise an error."""
    if isinstance(likelihood, Likelihood) and likelihood.site_shape:
        raise ValueError(
            f"{name} expects a likelihood of single elements; got a {type(likelihood).__name__} of "
            f"sites of shape {likelihood.site_shape}. Use a network of images, such as "
            "GatedPixelCNN, for whole pixels."
        )
    return likelihood
