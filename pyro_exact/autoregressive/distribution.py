"""The distribution of an autoregressive network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from tqdm import tqdm

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.sampler import Sampler, SamplingInputs
from pyro_exact.checks import (
    check_broadcast,
    check_event,
    check_finite,
    check_mask,
    check_size,
    check_tensor,
)
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.nn.finite import check_output, check_weights_for
from pyro_exact.nn.precision import cast


class Autoregressive(TorchDistribution):
    r"""The distribution of an autoregressive network, for use in Pyro models.

    .. math:: \log p(x) = \sum_k \log p(x_{o_k} \mid x_{o_1}, \dots, x_{o_{k-1}}, \mathrm{context})

    `log_prob` calls the network once; `sample` takes steps, or whole passes when a step would cost
    as much as a pass. This object holds no parameters: train and save the network, and create a
    distribution when you need it.

    The network may be an ensemble of K orders or masks. This distribution is then the uniform
    mixture of the members, in which *joint* probabilities are averaged (the product of averaged
    conditionals would not sum to one),

    .. math:: \log p(x) = \log \frac1K \sum_{k=1}^K p_k(x)

    Args:
        net: A `pyro_exact.autoregressive.CausalNet`.
        context: Context of the network, required when the network has a ``context_shape``. The
            batch shape of the context is also the batch shape of this distribution.
        member: Index of one member of an ensemble; by default all members are used.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.

    Attributes:
        passes: Number of steps, or of whole passes, used by the last call of `sample`.

    Shape:
        - value: (\*batch, \*event_shape), of any dtype; log_prob: (\*batch), in nats.

    Raises:
        ValueError: If a context is missing, superfluous, of another shape or, with validation, not
            finite; if a value has another shape, or is outside the support of the likelihood.

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
        net: CausalNet,
        context: Tensor | None = None,
        member: int | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name = "Autoregressive"
        if member is not None:
            member = check_size(
                name,
                "member",
                member,
                least=0,
                most=len(net.orders) - 1,
            )

        self.net = net
        self.member = member
        self.context = _checked_context(net, context)

        batch = torch.Size()
        if self.context is not None:
            batch = check_event(name, "context", self.context, net.context_shape or ())
        super().__init__(batch, net.event_shape, validate_args=validate_args)

        if self._validate_args and self.context is not None:
            check_finite(name, "context", self.context, "Check the code that computes it")

    def __repr__(self) -> str:
        member = "" if self.member is None else f", member={self.member}"
        return shapes_of(self, f"{type(self.net).__name__}{member}")

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.net.likelihood.support, len(self.event_shape))

    @property
    def members(self) -> Sequence[int]:
        """Members of the network whose mixture this is."""
        return range(len(self.net.orders)) if self.member is None else [self.member]

    def expand(self, batch_shape: Shape, _instance: object = None) -> Autoregressive:
        new: Autoregressive = self._get_checked_instance(Autoregressive, _instance)
        batch_shape = expanded("Autoregressive", self.batch_shape, batch_shape)
        new.net, new.member, new.context = self.net, self.member, self._expand_context(batch_shape)
        super(Autoregressive, new).__init__(
            batch_shape, self.event_shape, validate_args=self._validate_args
        )
        return new

    def condition(self, context: Tensor) -> Autoregressive:
        """Return the distribution under another context."""
        return Autoregressive(self.net, context, self.member, self._validate_args)

    def one_member(self) -> Autoregressive:
        """Return the distribution of one member, drawn at random."""
        if len(self.members) == 1:
            return self
        member = self.members[int(torch.randint(len(self.members), ()))]
        single = Autoregressive(self.net, self.context, member, self._validate_args)
        return single.expand(self.batch_shape)

    def check_value(self, value: Tensor, mask: Tensor | None = None) -> None:
        """Raise an error if a value has another shape, or is outside of the support.

        Args:
            value: (*batch, *event_shape).
            mask: True at the elements to check; by default all.
        """
        check_event("Autoregressive", "value", value, self.event_shape)
        self.net.likelihood.check_values(value, mask)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log p in nats, of shape (\*batch)."""
        name = "Autoregressive.log_prob"
        rows = check_event(name, "value", check_tensor(name, "value", value), self.event_shape)
        if self._validate_args:
            self.check_value(value)

        batch = check_broadcast(
            name,
            "value",
            rows,
            "the context",
            self.batch_shape,
        )
        x = cast(value, _weight(self.net)).expand(batch + self.event_shape)
        values = self.net.to_sites(x).unflatten(len(batch), self.net.grid)
        context = self._expand_context(batch)
        grid_dims = list(range(-len(self.net.grid), 0))

        joint = []
        for member in self.members:
            theta = self.net(x, context, member)
            theta = theta.to(torch.promote_types(theta.dtype, torch.float32))  # sums are long
            by_site = self.net.likelihood.log_prob(theta, values.to(theta.dtype))
            joint.append(by_site.sum(grid_dims))

        if len(joint) == 1:
            return joint[0]
        return torch.stack(joint).logsumexp(0) - math.log(len(joint))

    @torch.no_grad()
    def sample(
        self,
        sample_shape: Shape = torch.Size(),  # noqa: B008
        observed: Tensor | None = None,
        mask: Tensor | None = None,
        progress: bool = False,
        shared_noise: bool = False,
    ) -> Tensor:
        """Draw vectors or images, or complete partly observed ones.

        Each site is drawn given the sites before it in the order of the network, whether drawn or
        observed. A completion is therefore a sample of the conditional distribution if the observed
        sites come first in that order; sites that are observed later have no influence on earlier
        sites. Under an ensemble each row is drawn in the order of one member, all equally
        likely.

        The uniform noise is drawn before the first step, row by row: on a CPU the first of many
        rows is the row that would be drawn alone. Given the noise, a sample is a fixed point of a
        pass of the network. When a network of discrete values does not define steps
        (``net.incremental`` is False), it is therefore evaluated on the whole sample until nothing
        changes, which takes far fewer passes than there are sites. On a CUDA device steps of the
        same kind (`CausalNet.phase`) are recorded in a graph once, and replayed.

        Args:
            sample_shape: As for any distribution.
            observed: Values; the values in the mask are kept.
            mask: True where a value is observed; it broadcasts with ``observed``, and their batch
                with that of the distribution.
            progress: If true, show a progress bar if sampling takes more than a second.
            shared_noise: If true, all rows use the same noise, so that they differ by their
                contexts alone.

        Raises:
            ValueError: If ``observed`` is given without ``mask``, or ``mask`` without ``observed``,
                an observed value is outside of the support, a mask divides a site, a weight is not
                finite, or the network computes NaN.
        """
        name = "Autoregressive.sample"
        if (observed is None) != (mask is None):
            raise ValueError(
                f"{name} expects observed and mask together; got only one. Pass both, or neither."
            )
        check_weights_for(name, self.net)

        batch = self.batch_shape
        if observed is not None and mask is not None:
            observed, mask = self._checked_observations(observed, mask)
            rows = observed.shape[: -len(self.event_shape)]
            batch = check_broadcast(
                name,
                "observed",
                rows,
                "the context",
                batch,
            )
        shape = checked_shape(name, sample_shape) + batch

        # Steps write into tensors in the precision of the weights, which autocast would change.
        with torch.autocast(_weight(self.net).device.type, enabled=False):
            x = self._draw(
                shape,
                observed,
                mask,
                progress,
                shared_noise,
            )
        return check_output(name, "the sample", x, self.net)

    def _draw(
        self,
        shape: torch.Size,
        observed: Tensor | None,
        mask: Tensor | None,
        progress: bool,
        shared_noise: bool,
    ) -> Tensor:
        """Draw values of a batch shape, from noise that is drawn first."""
        net, likelihood, n = self.net, self.net.likelihood, shape.numel()
        weight = _weight(net)

        # Uniform noise for each site, and for an ensemble one element more, which selects the
        # member. Noise in half precision would never reach rare values.
        count = net.sites * likelihood.num_noise
        width = count + (len(self.members) > 1)
        precise = torch.promote_types(weight.dtype, torch.float32)
        rows = 1 if shared_noise else n
        noise = torch.rand(rows, width, dtype=precise, device=weight.device).expand(n, -1)

        def by_row(value: Tensor | None, event: Sequence[int]) -> Tensor | None:
            if value is None:
                return None
            return value.expand(*shape, *event).reshape(n, *event)

        def by_site(value: Tensor | None) -> Tensor | None:
            value = by_row(value, self.event_shape)
            return None if value is None else net.to_sites(value)

        inputs = SamplingInputs(
            noise=noise[:, :count].view(-1, net.sites, likelihood.num_noise),
            context=by_row(self.context, net.context_shape or ()),
            observed=by_site(observed),
            mask=by_site(mask),
        )

        draw = self._draw_by_passes
        if net.incremental or not self.support.is_discrete:
            draw = self._draw_by_steps

        self.passes = 0
        x = weight.new_empty(n, net.sites, *likelihood.site_shape)
        for member, index in _rows_of_members(noise, self.members):
            x[index] = draw(member, inputs.rows(index), progress)
        return net.from_sites(x).reshape(shape + self.event_shape)

    def _draw_by_steps(
        self,
        member: int,
        inputs: SamplingInputs,
        progress: bool,
    ) -> Tensor:
        """Draw rows, (n, sites, *site_shape), step by step in the order of a member."""
        sampler = Sampler(self.net, member, inputs)
        steps = range(self.net.num_steps)
        for index in tqdm(steps, disable=not progress, delay=1, leave=False):
            sampler.take(index)

        self.passes += len(steps)
        return sampler.x

    def _draw_by_passes(
        self,
        member: int,
        inputs: SamplingInputs,
        progress: bool,
    ) -> Tensor:
        """Draw the same rows by whole passes. Each pass settles at least another site."""
        net, weight = self.net, _weight(self.net)
        x = weight.new_zeros(*inputs.noise.shape[:2], *net.likelihood.site_shape)

        for _ in tqdm(range(net.sites), disable=not progress, delay=1, leave=False):
            # x <- draw(theta(x), noise)
            theta = net(net.from_sites(x), inputs.context, member).flatten(1, -2)
            drawn = net.likelihood.draw(theta.to(inputs.noise.dtype), inputs.noise)
            before, x = x, inputs.keep_observed(drawn.to(x.dtype))

            self.passes += 1
            # NaN is not equal to itself; it is reported when sampling ends.
            if torch.equal(before, x) or bool(x.isnan().any()):
                break
        return x

    def _checked_observations(
        self,
        observed: Tensor,
        mask: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return observed values and the mask, of equal shapes, or raise an error."""
        name = "Autoregressive.sample"
        observed, mask = check_tensor(name, "observed", observed), check_mask(name, "mask", mask)
        shape = check_broadcast(
            name,
            "mask",
            mask.shape,
            "observed",
            observed.shape,
        )
        observed, mask = observed.expand(shape), mask.expand(shape)
        self.check_value(observed, mask)

        site_shape = self.net.likelihood.site_shape
        if site_shape:
            pixels = self.net.to_sites(mask).flatten(-len(site_shape))
            if not torch.equal(pixels.all(-1), pixels.any(-1)):
                raise ValueError(
                    "Autoregressive.sample expects a mask that is equal in all channels of a "
                    "pixel, because this network draws whole pixels; got a mask that differs "
                    "between channels. Observe all channels of a pixel, or none."
                )
        return cast(observed, _weight(self.net)), mask

    def _expand_context(self, batch: torch.Size) -> Tensor | None:
        """Return the context of each row of a batch."""
        if self.context is None:
            return None
        return self.context.expand(*batch, *(self.net.context_shape or ()))

    def _validate_sample(self, value: Tensor) -> None:
        self.check_value(value)


def _weight(net: CausalNet) -> Tensor:
    """Return a tensor with the dtype and the device of the weights of a network."""
    return next(net.parameters())


def _checked_context(net: CausalNet, context: Tensor | None) -> Tensor | None:
    """Return the context in the precision of the network, or raise an error."""
    shape, name = net.context_shape, "Autoregressive"
    if context is None:
        if shape is None:
            return None
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"{name} expects a context of shape (*batch, {expected}); got none. Pass a context."
        )

    check_tensor(name, "context", context)
    if shape is None:
        raise ValueError(
            f"{name} expects no context for this network; got a context of shape "
            f"{tuple(context.shape)}. Omit it."
        )
    return cast(context, _weight(net))


def _rows_of_members(noise: Tensor, members: Sequence[int]) -> Iterator[tuple[int, Tensor | slice]]:
    """Yield each member that draws a row, and the rows whose last noise element selects it."""
    if len(members) == 1:
        yield members[0], slice(None)
        return

    # The product can be rounded up to the number of members.
    chosen = (noise[:, -1] * len(members)).long().clamp_max(len(members) - 1)
    for k in chosen.unique().tolist():
        yield members[k], (chosen == k).nonzero().squeeze(-1)
