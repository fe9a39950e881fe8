"""The findings of a diagnosis: bounds, tails of weights, latents, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

ACTIVE = 0.01  # a unit whose posterior mean has a larger variance is active (Burda et al.)
LITTLE = 1.0  # nats: a latent that carries less information is ignored


@dataclass(frozen=True)
class Level:
    """A latent site, and the information on the data in this latent.

    Attributes:
        kl: Divergence of the posterior from the prior, for each datum in nats, computed via Monte
            Carlo; for a level below another, the expectation over the upper level.
        kl_by_unit: Mean of the divergence over the data for each element of the latent, in closed
            form; `None` when the elements of the posterior depend on each other, for example after
            a flow.
        activity: Variance over the data of the posterior mean of each element, minus the variance
            of the estimate of this mean.
        draws: Some draws, (draws, N, *event).
    """

    kl: Tensor
    kl_by_unit: Tensor | None
    activity: Tensor
    draws: Tensor

    @property
    def active(self) -> int:
        """Count of active units (Burda, Grosse and Salakhutdinov, 2016, section 5.2)."""
        return int((self.activity > ACTIVE).sum())

    @property
    def units(self) -> int:
        """Count of units."""
        return self.activity.numel()

    @property
    def ignored(self) -> bool:
        """True if the latent carries less than a nat."""
        return self.kl.mean().item() < LITTLE


@dataclass(frozen=True)
class Diagnosis:
    """The findings of `diagnose`.

    Attributes:
        log_weights: log p(x, z) - log q(z | x) in nats, (samples, N).
        bounds: For each k, the importance-weighted bound of k samples for each datum, (N,).
        pareto_k: The shape of the tail of the weights of each datum, (N,).
        levels: The latent sites by name.
        mutual_information: Mutual information of data and latents under the guide, in nats: a lower
            bound, at most log N.
        decoder_gain: Gain of log-probability of a datum, in nats, when the corresponding latents
            are used instead of the latents of other data.
        data: The data, (N, *event).
        reconstructed: A draw given a draw of the latents of each datum.
        predicted: Data sets drawn from the model, (draws, N, *event).
    """

    log_weights: Tensor
    bounds: Mapping[int, Tensor]
    pareto_k: Tensor
    levels: Mapping[str, Level]
    mutual_information: float
    decoder_gain: float
    data: Tensor
    reconstructed: Tensor
    predicted: Tensor

    @property
    def reliable_k(self) -> float:
        """Largest Pareto k that is reliable when this many samples are used, at most 0.7.

        Vehtari et al. (2024), equation 13.
        """
        return min(1 - 1 / math.log10(len(self.log_weights)), 0.7)

    @property
    def unreliable(self) -> int:
        """Count of data whose weights have too heavy a tail."""
        return int((~(self.pareto_k <= self.reliable_k)).sum())

    @property
    def kl(self) -> float:
        """Mean divergence of the posterior from the prior, of all levels together, in nats."""
        return sum(level.kl.mean().item() for level in self.levels.values())

    @property
    def ignored(self) -> bool:
        """True if the latent carries less than a nat, or the decoder gains less from it."""
        # The estimate of the mutual information is at most log N: few data cannot show a nat.
        required = min(LITTLE, 0.5 * math.log(len(self.data)))
        carried = min(self.kl, self.decoder_gain)
        return carried < LITTLE or self.mutual_information < required

    @property
    def verdict(self) -> str:
        """The findings in plain words, with advice."""
        return " ".join([self._of_latents(), *self._of_levels(), *self._of_bounds()])

    def summary(self) -> dict[str, Any]:
        """Return the findings in plain values, for JSON, using means over the data."""
        levels = self.levels.items()
        return {
            "data": len(self.data),
            "samples": len(self.log_weights),
            "bounds": {str(k): bound.mean().item() for k, bound in self.bounds.items()},
            "kl": {name: level.kl.mean().item() for name, level in levels},
            "active_units": {name: level.active for name, level in levels},
            "units": {name: level.units for name, level in levels},
            "mutual_information": self.mutual_information,
            "decoder_gain": self.decoder_gain,
            "unreliable": self.unreliable,
            "reliable_pareto_k": self.reliable_k,
            "ignored": self.ignored,
            "verdict": self.verdict,
        }

    def _of_latents(self) -> str:
        """Return whether the latents are used, with advice if they are not."""
        active = sum(level.active for level in self.levels.values())
        units = sum(level.units for level in self.levels.values())
        found = (
            f"KL {self.kl:.1f} nats, {active} of {units} units active. The guide tells one datum "
            f"from others by {_rounded(self.mutual_information)} nats, the decoder by "
            f"{_rounded(self.decoder_gain)}."
        )
        if not self.ignored:
            return f"The latent is used: {found}"

        if self.kl < LITTLE:
            return (
                f"The decoder explains the data without z: {found} Try free bits "
                "(training.elbo.free_nats), an annealed divergence (training.elbo.anneal kl), or a "
                "decoder that models less by itself."
            )
        return (
            f"The decoder explains the data without z, and the divergence buys nothing: {found} "
            "Train longer, or anneal the divergence from the start (training.elbo.anneal kl), "
            "before the decoder has learned to do without."
        )

    def _of_levels(self) -> list[str]:
        """Return which levels of several carry next to nothing."""
        if len(self.levels) == 1 or self.ignored:
            return []
        little = [
            f"{name} (KL {level.kl.mean():.1f} nats, {level.active} of {level.units} units active)"
            for name, level in self.levels.items()
            if level.ignored
        ]
        return [f"But next to nothing is told by {', '.join(little)}."] if little else []

    def _of_bounds(self) -> list[str]:
        """Return how tight the bounds are."""
        largest = max(self.bounds)
        gap = (self.bounds[largest] - self.bounds[1]).mean().item()
        found = [f"The bound of {largest:,} samples is {gap:.1f} nats above the ELBO."]

        if self.unreliable:
            found.append(
                f"Pareto's k exceeds {self.reliable_k:.2f} for {self.unreliable} of "
                f"{len(self.data)} data: for those even that bound may be loose. Try a richer "
                "posterior (a flow, or one of more layers)."
            )
        return found


def _rounded(nats: float) -> str:
    """Return nats to one digit; noise around zero has no sign."""
    return f"{round(nats, 1) + 0.0:.1f}"
