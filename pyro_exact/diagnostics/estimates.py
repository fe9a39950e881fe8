"""Monte Carlo estimates of a diagnosis: weights, bounds, divergences, use of the latents."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_exact.diagnostics.diagnosis import Level
from pyro_exact.models import GenerativeModel
from pyro_exact.models.generative_model import log_prob

DRAWS = 20  # draws of the latents, and of data sets, that are kept
AT_ONCE = 1_600_000  # elements of all data and samples of one portion
OTHERS = 10  # data whose latents the decoder gets instead of those of a datum


class _Site:
    """Sums over the samples of a latent, which come in portions."""

    def __init__(self) -> None:
        self.kl: list[Tensor] = []
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.draws: Tensor | None = None
        self.kl_by_unit: Tensor | None = None

    def add(self, q: Any, p: Any) -> None:
        """Add a portion: the site of the guide, and that of the model."""
        z = q["value"]
        precise = z.double()
        kl = q["log_prob"] - p["log_prob"]

        self.kl.append(kl.double().cpu())
        self.total = self.total + precise.sum(0).cpu()
        self.squares = self.squares + precise.square().sum(0).cpu()

        if self.draws is None:
            self.draws = z[:DRAWS].cpu()
            self.kl_by_unit = _kl_by_unit(q["fn"], p["fn"])

    def level(self) -> Level:
        """Return the findings."""
        kl = torch.cat(self.kl)
        samples = len(kl)
        mean = torch.as_tensor(self.total) / samples
        square = torch.as_tensor(self.squares) / samples

        # The mean of few samples has a variance that makes any unit look active: subtract it.
        variance = square - mean.square()
        error = variance.mean(0) / (samples - 1)
        activity = (mean.var(0) - error).clamp_min(0)

        return Level(
            kl.mean(0),
            self.kl_by_unit,
            activity,
            torch.as_tensor(self.draws),
        )


def weights_and_levels(
    model: GenerativeModel,
    x: Tensor,
    samples: int,
) -> tuple[Tensor, dict[str, Level]]:
    """Return the log-weights, (samples, N), and the findings on each latent."""
    weights = []
    sites = defaultdict[str, _Site](_Site)
    most = max(1, AT_ONCE // x.numel())

    for done in range(0, samples, most):
        guide, joint = model.traces(x, min(most, samples - done))
        log_weight = log_prob(joint) - log_prob(guide)
        weights.append(log_weight.double().cpu())
        for name, q in _latents(guide):
            sites[name].add(q, joint.nodes[name])

    log_weights = torch.cat(weights)
    _check_weights(log_weights)
    return log_weights, {name: site.level() for name, site in sites.items()}


def bound(log_weights: Tensor, k: int) -> Tensor:
    """Return the importance-weighted bound of each datum, using disjoint groups of k samples."""
    used = len(log_weights) // k * k
    groups = log_weights[:used].unflatten(0, (-1, k))

    # log (1/k) sum_i w_i
    log_mean = groups.logsumexp(1) - math.log(k)
    return log_mean.mean(0)


def mutual_information(model: GenerativeModel, x: Tensor) -> float:
    """Return the mutual information of data and latents, from a draw for each datum."""
    n = len(x)
    drawn, _ = model.traces(x, 1)

    # (1, N, *event) -> (N, 1, *event): the draw of each datum is scored under all posteriors.
    latents = {}
    for name, site in _latents(drawn):
        latents[name] = site["value"].transpose(0, 1)

    with pyro.plate("samples", n, dim=-2), pyro.plate("data", n, dim=-1):
        scored = poutine.trace(poutine.condition(model.infer, data=latents)).get_trace(x)
    scored.compute_log_prob()

    # E log q(z_n | x_n) - log mean_m q(z_n | x_m)
    log_q = log_prob(scored).double()
    own = log_q.diagonal()
    of_all = log_q.logsumexp(1) - math.log(n)
    return (own - of_all).mean().item()


def decoder_gain(model: GenerativeModel, x: Tensor) -> float:
    """Return the gain of log-probability of data when the corresponding latents are used."""
    n = len(x)
    others = min(OTHERS, len(x) - 1)
    drawn, joint = model.traces(x)

    # Each datum gets the latents of the data that follow it.
    ahead = torch.arange(1, others + 1, device=x.device)
    own = torch.arange(n, device=x.device)
    others_of = (ahead[:, None] + own) % n
    latents = {name: site["value"][others_of] for name, site in _latents(drawn)}
    with pyro.plate("samples", others, dim=-2), pyro.plate("data", n, dim=-1):
        exchanged = poutine.trace(poutine.condition(model.generate, data=latents)).get_trace(x)
    exchanged.compute_log_prob()

    gain = 0.0
    for name, site in joint.nodes.items():
        if site["type"] == "sample" and site["is_observed"]:
            difference = site["log_prob"] - exchanged.nodes[name]["log_prob"]
            gain += difference.double().mean().item()
    return gain


def reconstructed(model: GenerativeModel, x: Tensor) -> Tensor:
    """Draw data from the model using a draw of the latents of each datum."""
    guide, _ = model.traces(x)
    latents = {name: site["value"] for name, site in _latents(guide)}
    with pyro.plate("data", len(x)):
        return poutine.condition(model.generate, data=latents)()


def _latents(guide: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """Return the latent sites of a guide."""
    for name, site in guide.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site):
            yield name, site


def _kl_by_unit(q: Any, p: Any) -> Tensor | None:
    """Return the mean divergence of each element of a latent, if the elements are independent."""
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    try:
        divergence = kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:  # no closed form
        return None
    return divergence.double().mean((0, 1)).cpu()  # over the samples, which are equal, and the data


def _check_weights(log_weights: Tensor) -> None:
    """Raise an error if weights of a datum are not finite, or all weights are zero."""
    finite = log_weights.amax(0).isfinite()
    if not bool(finite.all()):
        bad = (~finite).nonzero().flatten().tolist()
        raise ValueError(
            "diagnose expects finite weights p(x, z) / q(z | x) that are not all zero; got other "
            f"weights for {len(bad)} of {log_weights.shape[1]} data, first for datum {bad[0]}. "
            "Check the distribution of the guide for this datum."
        )
