"""The distribution of the missing values of each row of data, given the rest of the row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_exact.checks import check_broadcast, check_event, check_tensor
from pyro_exact.distributions.batch import Shape, checked_shape, expanded, shapes_of
from pyro_exact.nn.finite import check_output, check_weights_for
from pyro_exact.nn.precision import cast, weight_of

if TYPE_CHECKING:
    from pyro_exact.autoregressive.order_agnostic.net import Features, OrderAgnosticNet


class Completion(TorchDistribution):
    r"""The distribution of the missing values of vectors or images. Use it for missing data.

    .. math:: \log p(x_w \mid x_m) = \sum_{i \in w} \log p(x_i \mid x_m, x_{w, \text{before } i})

    for the mask :math:`m` and the wanted sites :math:`w` of each row, as a mixture over the orders
    of the network. Each row may have different observed sites. Use `OrderAgnosticNet.condition_on`
    to create this distribution. A sample has the observed values, with the wanted sites drawn;
    `log_prob` scores the wanted sites of a value. A value that contradicts the observed values has
    probability zero.

    Args:
        net: An order-agnostic network.
        observed: (\*batch, \*event_shape), with any values outside of the mask.
        mask: True where a value is observed; this mask must broadcast to ``observed``.
        wanted: True at the sites to predict; by default all sites that are not observed. Sites that
            are neither are summed out.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.

    Shape:
        - value: (\*batch, \*event_shape), of any dtype; log_prob: (\*batch), in nats.

    Raises:
        ValueError: If a site is both observed and wanted, or an observed value is outside of the
            support.

    Example:
        >>> from pyro_exact.autoregressive import DeepNADE
        >>> rows = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        >>> known = torch.tensor([[1, 1, 0], [0, 0, 1]])
        >>> DeepNADE(3, hidden_dims=(8, 8)).condition_on(rows, known).sample().shape
        torch.Size([2, 3])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        net: OrderAgnosticNet,
        observed: Tensor,
        mask: Tensor,
        wanted: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, event = "condition_on", net.event_shape
        for what, value in (("observed", observed), ("mask", mask), ("wanted", wanted)):
            if value is not None:
                check_event(name, what, value, event)

        wanted = ~mask if wanted is None else wanted
        shape = check_broadcast(
            name,
            "mask",
            mask.shape,
            "observed",
            observed.shape,
        )
        shape = check_broadcast(
            name,
            "wanted",
            wanted.shape,
            "observed",
            shape,
        )
        if bool((mask & wanted).any()):
            raise ValueError(
                "condition_on expects only unobserved sites in wanted; got observed sites. "
                "Remove them from wanted."
            )

        self.net, self.known, self.wanted = net, mask.expand(shape), wanted.expand(shape)
        self.observed = cast(observed, weight_of(net)).expand(shape)
        net.likelihood.check_values(self.observed, self.known)
        super().__init__(shape[: len(shape) - len(event)], event, validate_args=validate_args)

    def __repr__(self) -> str:
        return shapes_of(self, type(self.net).__name__)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(self.net.likelihood.support, len(self.event_shape))

    def expand(
        self,
        batch_shape: Shape,
        _instance: object = None,
    ) -> Completion:
        shape = expanded("Completion", self.batch_shape, batch_shape) + self.event_shape
        observed, known, wanted = (
            part.expand(shape) for part in (self.observed, self.known, self.wanted)
        )
        return Completion(
            self.net,
            observed,
            known,
            wanted,
            self._validate_args,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Return log p in nats, of shape (\*batch)."""
        name = "Completion.log_prob"
        rows = check_event(name, "value", check_tensor(name, "value", value), self.event_shape)
        batch = check_broadcast(
            name,
            "value",
            rows,
            "what is observed",
            self.batch_shape,
        )
        if self._validate_args:
            whole = value.expand(batch + self.event_shape)
            self.net.likelihood.check_values(whole, self.wanted)

        x, observed, mask, wanted = self._rows(batch, cast(value, self.observed))
        likelihood, dtype = self.net.likelihood, torch.promote_types(x.dtype, torch.float32)
        joint = []
        for member in range(len(self.net.orders)):
            total = x.new_zeros(len(x), dtype=dtype)
            for site, theta in self._predictions(
                member,
                x,
                observed,
                mask,
                wanted,
            ):
                values = x[:, site].squeeze(1).to(dtype)
                log_p = likelihood.log_prob(theta.to(dtype), values)
                total = total + log_p.where(wanted[:, site].squeeze(1), 0)
            joint.append(total)

        # log mean over the orders of p(x), and -inf where a value contradicts the observed values
        mixture = torch.stack(joint).logsumexp(0) - math.log(len(joint))
        agrees = ((x == observed) | ~mask).all(-1)
        return mixture.where(agrees, -torch.inf).view(batch)

    @torch.no_grad()
    def sample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        check_weights_for("Completion.sample", self.net)
        batch = checked_shape("Completion.sample", sample_shape) + self.batch_shape
        x, *given = self._rows(batch, self.observed)
        x = x.clone()

        precise = torch.promote_types(x.dtype, torch.float32)
        noise = torch.rand(*x.shape, self.net.likelihood.num_noise, dtype=precise, device=x.device)
        members = torch.randint(len(self.net.orders), (len(x),), device=x.device)

        with torch.autocast(x.device.type, enabled=False):
            for member in members.unique().tolist():
                mine = (members == member).nonzero().squeeze(-1)
                parts = (part[mine] for part in (x, noise, *given))
                x[mine] = self._draw(member, *parts)

        check_output("Completion.sample", "the sample", x[given[-1]], self.net)
        return x.view(batch + self.event_shape)

    def _draw(
        self,
        member: int,
        x: Tensor,
        noise: Tensor,
        observed: Tensor,
        mask: Tensor,
        wanted: Tensor,
    ) -> Tensor:
        """Draw the wanted sites of some rows in the order of a member into ``x``."""
        for site, theta in self._predictions(
            member,
            x,
            observed,
            mask,
            wanted,
        ):
            drawn = self.net.likelihood.draw(theta.to(noise.dtype), noise[:, site].squeeze(1))
            x[:, site] = drawn.to(x.dtype).unsqueeze(1).where(wanted[:, site], x[:, site])
        return x

    def _rows(
        self,
        batch: torch.Size,
        x: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a value, the observed values and both masks by row and site, (n, sites) each."""
        parts = (x, self.observed, self.known, self.wanted)
        rows = [
            part.expand(batch + self.event_shape).reshape(batch.numel(), self.net.sites)
            for part in parts
        ]
        return rows[0], rows[1], rows[2], rows[3]

    def _predictions(
        self,
        member: int,
        x: Tensor,
        observed: Tensor,
        mask: Tensor,
        wanted: Tensor,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each wanted site in the order of a member, and the parameters in all rows.

        After each site the rows that want this site observe the value in ``x``, which the caller
        should draw before the next site.
        """
        features = self.net.init_features(observed.where(mask, 0), mask)
        some_want = wanted.any(0).tolist()
        for index in self.net.orders[member].tolist():
            if not some_want[index]:
                continue
            site = torch.tensor([index], device=x.device)
            yield site, self.net.predict(features, site)

            mine = wanted[:, index]
            after = self.net.observe(features, site, x[:, index].where(mine, 0))
            features = _where(mine, after, features)


def _where(
    mine: Tensor,
    after: Features,
    before: Features,
) -> Features:
    """Return the new features in some rows, and the old features in the other rows."""
    return tuple(
        new.where(mine.view(-1, *[1] * (new.dim() - 1)), old)
        for new, old in zip(after, before, strict=True)
    )
