"""The distribution of a causal network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from tqdm import tqdm

from pyro_exact.autoregressive.sampler import Causal, Rows, Steps
from pyro_exact.checks import (
    check_broadcast,
    check_event,
    check_finite,
    check_mask,
    check_size,
    check_tensor,
)
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.distributions.independent_sites import check_values
from pyro_exact.nn.finite import check_output, check_weights_for
from pyro_exact.nn.precision import cast


class Autoregressive(TorchDistribution):
    r"""The product of the conditional distributions that a causal network computes.

    .. math:: \log p(x) = \sum_k \log p(x_{o_k} \mid x_{o_1}, \dots, x_{o_{k-1}}, \mathrm{context})

    `log_prob` is one call of the network, `sample` takes its steps. Where a step would cost as much
    as a pass, whole passes find the same sample (see `sample`). The network may be an ensemble of K
    orders or masks: then the distribution is their uniform mixture, and what is averaged are
    *joint* probabilities,

    .. math:: \log p(x) = \log \frac1K \sum_{k=1}^K p_k(x)

    (the product of averaged conditionals of several orders would not sum to one). A distribution is
    a light thing around its network, which trains and is saved elsewhere: make one wherever it is
    needed.

    Args:
        net: A `pyro_exact.autoregressive.CausalNet`.
        context: What the distribution depends on, if the network takes it; its batch shape is that
            of the distribution.
        member: The only member of an ensemble to take; all of them by default.
        validate_args: Whether to check the values that are scored; as Pyro does by default.

    Attributes:
        passes: Steps, or whole passes of the network, that the last `sample` of this object took.

    Shape:
        - value: (\*batch, \*event_shape), of any dtype; log_prob: (\*batch), in nats.

    Raises:
        ValueError: If a context is missing, or not needed, or of another shape, or, with
            validation, not finite; on values of another shape, or that the likelihood cannot take.

    Reference:
        Uria, Murray and Larochelle (2014), A Deep and Tractable Density Estimator, for ensembles of
        orders; Germain, Gregor, Murray and Larochelle (2015), MADE: Masked Autoencoder for
        Distribution Estimation, for those of masks; Song, Meng, Liao and Ermon (2021), Accelerating
        Feedforward Computation via Parallel Nonlinear Equation Solving, for whole passes.

    Example:
        >>> from pyro_exact.autoregressive import NADE
        >>> d = Autoregressive(NADE(3, width=8))
        >>> every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
        >>> torch.allclose(d.log_prob(every).exp().sum(), torch.tensor(1.0))
        True
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    passes: int = 0

    def __init__(
        self,
        net: Causal,
        context: Tensor | None = None,
        member: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if member is not None:
            member = check_size(
                "Autoregressive", "member", member, least=0, most=len(net.orders) - 1
            )
        self.net, self.member, self.context = net, member, self._checked_context(net, context)
        batch = torch.Size() if self.context is None else self._context_batch(self.context)
        super().__init__(batch, self.net.event_shape, validate_args=validate_args)
        if self._validate_args and self.context is not None:
            check_finite(
                "Autoregressive", "context", self.context, "Repair it, or look at what computed it"
            )

    def __repr__(self) -> str:
        member = "" if self.member is None else f", member={self.member}"
        return shapes_of(self, f"{type(self.net).__name__}{member}")

    def _checked_context(self, net: Causal, context: Tensor | None) -> Tensor | None:
        """Return the context in the precision of the network, or say that it is missing, or not needed."""
        shape, name = net.context_shape, "Autoregressive"
        if context is not None:
            check_tensor(name, "context", context)
            if shape is not None:
                return cast(context, _weight(net))
            found = tuple(context.shape)
            raise ValueError(
                f"{name} expects no context for this network; got one of shape {found}. Leave it out."
            )
        if shape is not None:
            expected = ", ".join(map(str, shape))
            raise ValueError(
                f"{name} expects a context of shape (*batch, {expected}); got none. Pass one."
            )
        return None

    def _context_batch(self, context: Tensor) -> torch.Size:
        """Return the batch shape of the context, or say how its shape is wrong."""
        return check_event("Autoregressive", "context", context, self.net.context_shape or ())

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.net.likelihood.support, len(self.event_shape))

    def expand(self, batch_shape: Shape, _instance: object = None) -> Autoregressive:
        new: Autoregressive = self._get_checked_instance(Autoregressive, _instance)
        batch_shape = expanded("Autoregressive", self.batch_shape, batch_shape)
        new.net, new.member, new.context = self.net, self.member, self._contexts(batch_shape)
        super(Autoregressive, new).__init__(
            batch_shape, self.event_shape, validate_args=self._validate_args
        )
        return new

    def one_member(self) -> Autoregressive:
        """Return the distribution of one member, drawn at random."""
        members = self._members()
        if len(members) == 1:
            return self
        member = members[int(torch.randint(len(members), ()))]
        return Autoregressive(self.net, self.context, member, self._validate_args).expand(
            self.batch_shape
        )

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log p in nats, of shape (\*batch)."""
        name = "Autoregressive.log_prob"
        rows = check_event(name, "value", check_tensor(name, "value", value), self.event_shape)
        if self._validate_args:
            self._validate_sample(value)
        batch = check_broadcast(name, "value", rows, "the context", self.batch_shape)
        x = cast(value, _weight(self.net)).expand(batch + self.event_shape)
        values = self.net.to_sites(x).unflatten(len(batch), self.net.grid)
        context, grid = self._contexts(batch), list(range(-len(self.net.grid), 0))
        joint = []
        for member in self._members():
            theta = self.net(x, context, member)
            theta = theta.to(torch.promote_types(theta.dtype, torch.float32))  # sums are long
            joint.append(self.net.likelihood.log_prob(theta, values.to(theta.dtype)).sum(grid))
        return (
            joint[0] if len(joint) == 1 else torch.stack(joint).logsumexp(0) - math.log(len(joint))
        )

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Shape = torch.Size(),  # noqa: B008
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        progress: bool = False,
        shared_noise: bool = False,
    ) -> Tensor:
        """Draw vectors or images, or complete those that are partly observed.

        A site is drawn given the sites before it in the network's order, drawn or observed. So a
        completion is a sample of the conditional distribution where what is observed comes first in
        that order; what is observed later does not reach back. Under an ensemble each row is drawn
        in the order of a member, all of them equally likely.

        The uniform noise is drawn first, row by row: on a CPU the first of many rows is the one
        that would come alone. Given the noise a sample is a fixed point of one pass of the network,
        which fixes one site more at least, in order. A network of discrete values whose step would
        be a whole pass anyway (``net.incremental`` is False) passes over the whole sample until
        nothing changes, which takes far fewer passes than there are sites. On a CUDA device steps
        of the same kind (`CausalNet.phase`) are captured once in a graph, and replayed.

        Args:
            sample_shape: As for any distribution.
            observed: Values, of which those in the mask are kept.
            mask: True where a value is observed; it broadcasts with ``observed``, and their batch
                with that of the distribution.
            progress: Whether to show a progress bar, if it takes more than a second.
            shared_noise: Whether all draws come from the same noise, so that they differ by their
                contexts alone.

        Raises:
            ValueError: If only one of ``observed`` and ``mask`` is given, an observed value is
                impossible, a mask divides a site, a weight is not finite, or the network computes
                NaN.
        """
        if (observed is None) != (mask is None):
            raise ValueError(
                "Autoregressive.sample expects observed and mask together; got one of them. Pass both, or none."
            )
        check_weights_for("Autoregressive.sample", self.net)
        batch = self.batch_shape
        if observed is not None and mask is not None:
            observed, mask = self._given(observed, mask)
            rows = observed.shape[: -len(self.event_shape)]
            batch = check_broadcast("Autoregressive.sample", "observed", rows, "the context", batch)
        shape = checked_shape("Autoregressive.sample", sample_shape) + batch

        # The steps write into tensors of the precision of the weights: autocast would give them
        # others.
        with torch.autocast(_weight(self.net).device.type, enabled=False):
            x = self._draw(shape, observed, mask, progress, shared_noise)
        return check_output("Autoregressive.sample", "what it draws", x, self.net)

    def _draw(
        self,
        shape: torch.Size,
        observed: Tensor | None,
        mask: Tensor | None,
        progress: bool,
        shared_noise: bool,
    ) -> Tensor:
        """Draw values of a batch shape, from noise that comes first."""
        members = self._members()
        weight, likelihood = _weight(self.net), self.net.likelihood
        count = self.net.sites * likelihood.num_noise
        # An ensemble takes one more number a row, which chooses the member.
        width = count + (len(members) > 1)
        precise = torch.promote_types(
            weight.dtype, torch.float32
        )  # noise of half precision misses rare values
        noise = torch.rand(
            1 if shared_noise else shape.numel(), width, dtype=precise, device=weight.device
        )
        noise = noise.expand(shape.numel(), -1)
        every = noise[:, :count].view(-1, self.net.sites, likelihood.num_noise)

        def by_row(values: Tensor | None, event: Sequence[int]) -> Tensor | None:
            return (
                None
                if values is None
                else values.expand(*shape, *event).reshape(len(noise), *event)
            )

        seen = (
            None if v is None else self.net.to_sites(v)
            for v in (by_row(v, self.event_shape) for v in (observed, mask))
        )
        given = Rows(every, by_row(self.context, self.net.context_shape or ()), *seen)
        x = weight.new_empty(len(noise), self.net.sites, *likelihood.site_shape)
        draw = self._steps if self.net.incremental or not self.support.is_discrete else self._passes
        self.passes = 0
        for member, mine in _shares(noise, members):
            x[mine] = draw(member, given.some(mine), progress)
        return self.net.from_sites(x).reshape(shape + self.event_shape)

    def _given(self, observed: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is observed and where, of one shape, or say what is wrong with them."""
        name = "Autoregressive.sample"
        observed, mask = check_tensor(name, "observed", observed), check_mask(name, "mask", mask)
        shape = check_broadcast(name, "mask", mask.shape, "observed", observed.shape)
        observed, mask = observed.expand(shape), mask.expand(shape)
        self._validate_sample(observed, mask)
        if self.net.likelihood.site_shape:
            pixels = self.net.to_sites(mask).flatten(-len(self.net.likelihood.site_shape))
            if not torch.equal(pixels.all(-1), pixels.any(-1)):
                raise ValueError(
                    "Autoregressive.sample expects a mask that is the same for all channels of a pixel, which this "
                    "network draws at once; got one that divides a pixel. Take all of its channels, or none."
                )
        return cast(observed, _weight(self.net)), mask

    def _steps(self, member: int, given: Rows, progress: bool) -> Tensor:
        """Draw rows, (n, sites, *site_shape), one site after the other in the order of a member."""
        steps = Steps(self.net, member, given)
        for done in tqdm(range(self.net.sites), disable=not progress, delay=1, leave=False):
            steps.take(done)
        self.passes += self.net.sites
        return steps.x

    def _passes(self, member: int, given: Rows, progress: bool) -> Tensor:
        """Draw the same rows by whole passes: after each of them at least one more site is as it will stay."""
        weight, likelihood = _weight(self.net), self.net.likelihood
        x = weight.new_zeros(*given.noise.shape[:2], *likelihood.site_shape)
        for _ in tqdm(range(self.net.sites), disable=not progress, delay=1, leave=False):
            theta = self.net(self.net.from_sites(x), given.context, member).flatten(1, -2)
            before, x = (
                x,
                given.kept(likelihood.draw(theta.to(given.noise.dtype), given.noise).to(x.dtype)),
            )
            self.passes += 1
            if torch.equal(before, x) or bool(
                x.isnan().any()
            ):  # NaN equals nothing, and is refused at the end
                break
        return x

    def _members(self) -> Sequence[int]:
        """Return which orders of the network the mixture is of."""
        return range(len(self.net.orders)) if self.member is None else [self.member]

    def _contexts(self, batch: torch.Size) -> Tensor | None:
        """Return the context of each row of a batch."""
        return (
            None
            if self.context is None
            else self.context.expand(*batch, *(self.net.context_shape or ()))
        )

    def _validate_sample(self, value: Tensor, mask: Tensor | None = None) -> None:
        """Say what is wrong with a value, where it is in the mask."""
        check_event("Autoregressive", "value", value, self.event_shape)
        check_values(value, self.net.likelihood, mask)


def _weight(net: Causal) -> Tensor:
    """Return a tensor with the dtype and the device of the weights of a network."""
    return next(net.parameters())


def _shares(noise: Tensor, members: Sequence[int]) -> Iterator[tuple[int, Tensor | slice]]:
    """Yield each member that draws a row, and the rows for which the last noise chooses it."""
    if len(members) == 1:
        yield members[0], slice(None)
        return
    chosen = (
        (noise[:, -1] * len(members)).long().clamp_max(len(members) - 1)
    )  # the product can round up
    for k in chosen.unique().tolist():
        yield members[k], (chosen == k).nonzero().squeeze(-1)
