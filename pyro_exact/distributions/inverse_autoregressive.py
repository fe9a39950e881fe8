"""The distribution of a latent map after an inverse autoregressive step (IAF)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import ClassVar

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_exact.checks import check_broadcast, check_floating, check_numbers
from pyro_exact.distributions.batch import Shape, checked_shape, expanded
from pyro_exact.nn.precision import cast
from pyro_exact.transforms.elementwise import Elementwise
from pyro_exact.transforms.memory import FORWARD, Memory, Record


class InverseAutoregressive(TorchDistribution):
    r"""A latent map of normals after an inverse autoregressive step (IAF). Use it in a posterior.

    .. math::
        \epsilon_i \sim N(\mu_i, \sigma_i^2), \quad z_i = f(\epsilon_i;\, g_i(\epsilon_{<i})),
        \qquad \log q(z_i \mid z_{<i}) = \log N(\epsilon_i; \mu_i, \sigma_i^2) - \log |f'_i|

    The elements of the map are the batch of this distribution, and `log_prob` returns the
    log-density of each element given the preceding elements, so that any elements can be summed;
    use ``.to_event(3)`` to get the distribution of the map.

    A draw takes one evaluation of :math:`g`. The score of this draw uses the stored results,
    as long as no weight has changed since (which is known when the conditioner is a module, or a
    `functools.partial` of a module). For any other map the noise is computed using evaluations
    until nothing changes: the k-th element is exact after k evaluations, and usually all elements
    are exact after a few.

    Args:
        mean: :math:`\mu`.
        std: :math:`\sigma`.
        conditioner: :math:`g`, for example a `pyro_exact.nn.MaskedConvNet` with the context bound.
        formula: :math:`f`, for example ``Affine()``.
        validate_args: If true, values are checked before they are scored; the default is the
            setting of Pyro.

    Shape:
        - mean, std: (\*batch, C, H, W), which is the batch shape.
        - conditioner: (\*sample, \*batch, C, H, W) -> (\*sample, \*batch, C, H, W,
          formula.num_params).

    Raises:
        ValueError: If the output of the conditioner has another shape.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling (2016), Improved Variational
        Inference with Inverse Autoregressive Flow, section 3; Song, Meng, Liao and Ermon (2021),
        Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving, for the
        inverse.

    Example:
        >>> from functools import partial
        >>> from pyro_exact.nn import MaskedConvNet
        >>> net = MaskedConvNet(2, Affine.num_params, width=6)
        >>> conditioner = partial(net, context=torch.randn(5, 4, 4, 6))
        >>> mean, std = torch.zeros(5, 2, 4, 4), torch.ones(5, 2, 4, 4)
        >>> q = InverseAutoregressive(mean, std, conditioner, Affine())
        >>> z = q.rsample()
        >>> q.log_prob(z).shape, q.to_event(3).log_prob(z).shape
        (torch.Size([5, 2, 4, 4]), torch.Size([5]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        mean: Tensor,
        std: Tensor,
        conditioner: Callable[[Tensor], Tensor],
        formula: Elementwise,
        validate_args: bool | None = None,
    ) -> None:
        mean = check_floating("InverseAutoregressive", "mean", mean)
        std = check_floating("InverseAutoregressive", "std", std)
        check_broadcast("InverseAutoregressive", "std", std.shape, "mean", mean.shape)
        self.base = Normal(mean, std)
        self.conditioner = conditioner
        self.formula = formula
        self._parts = _Parts.of(conditioner, formula)
        self._memory = Memory()
        super().__init__(self.base.batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: object = None) -> InverseAutoregressive:
        base = self.base.expand(expanded("InverseAutoregressive", self.batch_shape, batch_shape))
        return InverseAutoregressive(
            base.loc, base.scale, self.conditioner, self.formula, self._validate_args
        )

    def rsample(self, sample_shape: Shape = torch.Size()) -> Tensor:  # noqa: B008
        noise = self.base.rsample(checked_shape("InverseAutoregressive.sample", sample_shape))
        z, ladj = self.formula.forward_and_ladj(noise, self._theta(noise))

        if self._parts is not None:
            self._memory.write(
                self._parts, z, Record(noise, noise, z.detach().clone(), ladj, FORWARD)
            )

        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of each element given the preceding elements."""
        name = "InverseAutoregressive.log_prob"
        value = cast(
            check_numbers(name, "value", check_floating(name, "value", value)), self.base.loc
        )
        record = None if self._parts is None else self._memory.find(self._parts, value, FORWARD)

        if record is not None:
            return self.base.log_prob(record.source) - record.ladj

        shape = check_broadcast(name, "value", value.shape, "the distribution", self.batch_shape)
        if self._validate_args:
            self._validate_sample(value)

        noise, ladj = self._inverse(value.expand(shape))
        return self.base.log_prob(noise) + ladj

    def _inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the noise of a map, and the log-derivative of each element in this noise."""
        noise = z
        ladj = torch.zeros_like(z)

        for _ in range(prod(z.shape[-3:])):
            before = noise
            noise, ladj = self.formula.inverse_and_ladj(z, self._theta(before))
            if torch.equal(noise, before):
                break

        return noise, ladj

    def _theta(self, noise: Tensor) -> Tensor:
        return self.formula.check_theta(self.conditioner(noise), noise)


class _Parts(nn.Module):
    """The tensors that a density depends on: of the network, the formula, and bound arguments."""

    def __init__(self, net: nn.Module, formula: Elementwise, bound: list[Tensor]) -> None:
        super().__init__()
        self.net = net
        self.formula = formula

        for i, tensor in enumerate(bound):
            self.register_buffer(f"bound{i}", tensor, persistent=False)

    @classmethod
    def of(cls, conditioner: Callable[[Tensor], Tensor], formula: Elementwise) -> _Parts | None:
        """Return the parts, or `None` if the tensors of the conditioner are unknown."""
        given = conditioner if isinstance(conditioner, partial) else partial(conditioner)
        bound = [
            value for value in (*given.args, *given.keywords.values()) if isinstance(value, Tensor)
        ]

        return cls(given.func, formula, bound) if isinstance(given.func, nn.Module) else None
