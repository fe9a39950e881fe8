"""Numbers on how well a guide fits, and on what the latent tells of the data."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_exact.checks import check_seed, check_size, check_sizes, check_tensor
from pyro_exact.diagnostics.inference_data import pareto_k
from pyro_exact.models import Dequantized, GenerativeModel
from pyro_exact.models.generative_model import evaluating, log_prob

KS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
DRAWS = 20  # of the latents, and of data sets, that are kept
AT_ONCE = 1_600_000  # numbers of all data and samples together
ACTIVE = 0.01  # Burda et al.: a unit whose posterior mean varies more is active
LITTLE = 1.0  # nats: a latent that tells less is ignored
OTHERS = 10  # data whose latents the decoder is given in place of a datum's own


@dataclass(frozen=True)
class Level:
    """What one latent site tells of the data.

    Attributes:
        kl: Divergence of the posterior from the prior, of each datum in nats, by Monte Carlo; of a
            level below another, its expectation over the other.
        kl_by_unit: Its mean over the data for each number of the latent, in closed form; `None`
            where the numbers of the posterior depend on each other, as behind a flow.
        activity: Variance over the data of the posterior mean, for each number, less that of its
            estimate.
        draws: Some draws, (draws, N, *event).
    """

    kl: Tensor
    kl_by_unit: Tensor | None
    activity: Tensor
    draws: Tensor

    @property
    def active(self) -> int:
        """Number of active units (Burda, Grosse and Salakhutdinov, 2016, section 5.2)."""
        return int((self.activity > ACTIVE).sum())

    @property
    def ignored(self) -> bool:
        """Whether the latent tells less than a nat."""
        return self.kl.mean().item() < LITTLE


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
        log_weights: log p(x, z) - log q(z | x) in nats, (samples, N).
        bounds: k, and the importance-weighted bound of k samples for each datum, (N,).
        pareto_k: The shape of the tail of each datum's weights, (N,).
        levels: Each latent site.
        mutual_information: Of datum and latents under the guide, in nats: a lower bound, at most
            log N.
        decoder_gain: What the decoder makes of the latents, in nats: by how much a datum is more
            probable given its own than given those of other data.
        data: What was diagnosed, (N, *event).
        reconstructed: One draw given one draw of the latents of each datum.
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
        """Pareto's k up to which so many samples suffice (Vehtari et al., 2024, equation 13), at most 0.7."""
        return min(1 - 1 / math.log10(len(self.log_weights)), 0.7)

    @property
    def unreliable(self) -> int:
        """Number of data whose weights have too heavy a tail."""
        return int((~(self.pareto_k <= self.reliable_k)).sum())

    @property
    def kl(self) -> float:
        """Mean divergence of the posterior from the prior, of all levels together, in nats."""
        return sum(level.kl.mean().item() for level in self.levels.values())

    @property
    def ignored(self) -> bool:
        """Whether the latent tells less than a nat, or the decoder makes less of it."""
        told = min(LITTLE, 0.5 * math.log(len(self.data)))  # of few data little can be told
        return min(self.kl, self.decoder_gain) < LITTLE or self.mutual_information < told

    @property
    def verdict(self) -> str:
        """What to think of it, in plain words."""
        active = sum(level.active for level in self.levels.values())
        units = sum(level.activity.numel() for level in self.levels.values())
        found = (
            f"KL {self.kl:.1f} nats, {active} of {units} units active. The guide tells one datum from others by "
            f"{_rounded(self.mutual_information)} nats, the decoder by {_rounded(self.decoder_gain)}."
        )
        if not self.ignored:
            told = f"The latent is used: {found}"
        elif self.kl < LITTLE:
            told = (
                f"The decoder explains the data without z: {found} Try free bits (training.elbo.free_nats), an "
                f"annealed divergence (training.elbo.anneal kl), or a decoder that models less by itself."
            )
        else:
            told = (
                f"The decoder explains the data without z, and the divergence buys nothing: {found} Train longer, or "
                f"anneal the divergence from the start (training.elbo.anneal kl), while the decoder has yet to learn."
            )
        if len(self.levels) > 1 and not self.ignored:
            little = [
                f"{name} (KL {level.kl.mean():.1f} nats, {level.active} of {level.activity.numel()} units active)"
                for name, level in self.levels.items()
                if level.ignored
            ]
            told += f" But next to nothing is told by {', '.join(little)}." if little else ""
        largest = max(self.bounds)
        gap = (self.bounds[largest] - self.bounds[1]).mean().item()
        told += f" The bound of {largest:,} samples is {gap:.1f} nats above the ELBO."
        if self.unreliable:
            told += (
                f" Pareto's k exceeds {self.reliable_k:.2f} for {self.unreliable} of {len(self.data)} data: for those "
                f"even that bound may be loose. Try a richer posterior (a flow, or a longer one)."
            )
        return told

    def summary(self) -> dict[str, Any]:
        """Return the numbers in plain values, for JSON; those of all data are means."""
        return {
            "data": len(self.data),
            "samples": len(self.log_weights),
            "bounds": {str(k): bound.mean().item() for k, bound in self.bounds.items()},
            "kl": {name: level.kl.mean().item() for name, level in self.levels.items()},
            "active_units": {name: level.active for name, level in self.levels.items()},
            "units": {name: level.activity.numel() for name, level in self.levels.items()},
            "mutual_information": self.mutual_information,
            "decoder_gain": self.decoder_gain,
            "unreliable": self.unreliable,
            "reliable_pareto_k": self.reliable_k,
            "ignored": self.ignored,
            "verdict": self.verdict,
        }


@torch.no_grad()
def diagnose(
    model: GenerativeModel, data: Tensor, samples: int = 5000, ks: Sequence[int] = KS, seed: int = 0
) -> Diagnosis:
    r"""Look at the guide of a model: how tight its bound is, and what its latents tell.

    Of the weights :math:`w_i = p(x, z_i) / q(z_i \mid x)` of many samples it takes the
    importance-weighted bounds :math:`\mathbb{E} \log \frac1k \sum_i w_i` and Pareto's k, for each
    datum; of the latents, their divergence from the prior, which of their units are active, and

    .. math:: I(x; z) \approx \frac1N \sum_n \log q(z_n \mid x_n) - \log \frac1N \sum_m q(z_n \mid x_m)

    That is what the guide tells; what the decoder makes of it is the mean of
    :math:`\log p(x_n \mid z_n) - \log p(x_n \mid z_m)` over other data :math:`m`.

    The model is put into evaluation mode and back. The random state of the caller is left alone.

    Args:
        model: A model with latents, such as `pyro_exact.models.VAE`, on its own device.
        data: Of shape (N, ...); the mutual information takes N² scores, so a hundred or a few.
        samples: Of the guide for each datum.
        ks: Sizes of the importance-weighted bounds beside 1 and ``samples``; those above are left
            out.
        seed: Of the noise.

    Raises:
        TypeError: If it is no `GenerativeModel`, or another argument is of another type.
        ValueError: If the model has no latents, or they are dequantisation noise; on data that it
            cannot score, and on weights that are not finite.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders; Vehtari, Simpson,
        Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling; Hoffman and Johnson
        (2016), ELBO surgery.
    """
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"diagnose expects a GenerativeModel; got {type(model).__name__}. Pass one, such as a VAE."
        )
    if type(model).infer is GenerativeModel.infer:
        raise ValueError(
            "diagnose expects a model with a guide; this one's likelihood is exact. Use evaluate."
        )
    if isinstance(model, Dequantized):
        raise ValueError(
            "diagnose expects latents; got dequantisation noise. Use evaluate with several k."
        )
    samples, ks = check_size("diagnose", "samples", samples), check_sizes("diagnose", "ks", ks)
    seed = check_seed("diagnose", seed)
    if check_tensor("diagnose", "data", data).dim() == 0:
        raise ValueError(
            "diagnose expects data of shape (N, ...); got a single number, of shape (). Stack them."
        )
    if samples < 100 or len(data) < 2:
        raise ValueError(
            f"diagnose expects 100 samples (k) and 2 data (n) at least; got {samples} and {len(data)}. Raise them."
        )
    model.check(data)
    device = next(model.parameters()).device
    with (
        evaluating(model),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        x = data.to(device)
        log_weights, levels = _weights(model, x, samples)
        _check_finite(log_weights)
        return Diagnosis(
            log_weights,
            {k: _bound(log_weights, k) for k in sorted({1, samples, *ks}) if k <= samples},
            pareto_k(log_weights),
            levels,
            _mutual_information(model, x),
            _decoder_gain(model, x),
            data.cpu(),
            _reconstructed(model, x).cpu(),
            model.sample(DRAWS * len(data)).unflatten(0, (DRAWS, -1)).cpu(),
        )


class _Site:
    """What is gathered of one latent, from one portion of samples after the other."""

    def __init__(self) -> None:
        self.kl: list[Tensor] = []
        self.total: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0
        self.draws: Tensor | None = None
        self.kl_by_unit: Tensor | None = None

    def add(self, q: Any, p: Any) -> None:
        """Take the site of a guide and that of the model."""
        z = q["value"]
        self.kl.append((q["log_prob"] - p["log_prob"]).double().cpu())
        self.total = self.total + z.double().sum(0).cpu()
        self.squares = self.squares + z.double().square().sum(0).cpu()
        if self.draws is None:
            self.draws = z[:DRAWS].cpu()
            self.kl_by_unit = _kl_by_unit(q["fn"], p["fn"])

    def level(self) -> Level:
        """Return what has been gathered."""
        kl = torch.cat(self.kl)
        mean, square = (torch.as_tensor(total) / len(kl) for total in (self.total, self.squares))
        error = (square - mean.square()).mean(0) / (
            len(kl) - 1
        )  # of few samples, enough to make any unit active
        activity = (mean.var(0) - error).clamp_min(0)
        return Level(kl.mean(0), self.kl_by_unit, activity, torch.as_tensor(self.draws))


def _weights(model: GenerativeModel, x: Tensor, samples: int) -> tuple[Tensor, dict[str, Level]]:
    """Return the log-weights, (samples, N), and what each latent tells."""
    weights, sites = [], defaultdict[str, _Site](_Site)
    most = max(1, AT_ONCE // x.numel())
    for done in range(0, samples, most):
        guide, joint = model.traces(x, min(most, samples - done))
        weights.append((log_prob(joint) - log_prob(guide)).double().cpu())
        for name, q in _latents(guide):
            sites[name].add(q, joint.nodes[name])
    return torch.cat(weights), {name: site.level() for name, site in sites.items()}


def _rounded(nats: float) -> str:
    """Return nats to one digit; noise around zero has no sign."""
    return f"{round(nats, 1) + 0.0:.1f}"


def _check_finite(log_weights: Tensor) -> None:
    """Say so if weights of a datum are no finite numbers, or all of them zero."""
    bad = (~log_weights.amax(0).isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"diagnose expects weights p(x, z) / q(z | x) that are finite, and not all zero; those of {len(bad)} of "
            f"{log_weights.shape[1]} data are not so, first of datum {bad[0]}. Look there at the guide's distribution."
        )


def _latents(guide: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """Return the latent sites of a guide."""
    for name, site in guide.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site):
            yield name, site


def _kl_by_unit(q: Any, p: Any) -> Tensor | None:
    """Return the mean divergence of each number of a latent, if neither distribution ties them to each other."""
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    try:
        divergence = kl_divergence(q.base_dist, p.base_dist)
    except NotImplementedError:  # no closed form
        return None
    return divergence.double().mean((0, 1)).cpu()  # over samples, which are all the same, and data


def _bound(log_weights: Tensor, k: int) -> Tensor:
    """Return the importance-weighted bound of k samples of each datum, a mean over disjoint groups of k."""
    groups = log_weights[: len(log_weights) // k * k].unflatten(0, (-1, k))
    return (groups.logsumexp(1) - math.log(k)).mean(0)


def _mutual_information(model: GenerativeModel, x: Tensor) -> float:
    """Score one draw of the latents of each datum under the posteriors of all."""
    n = len(x)
    drawn, _ = model.traces(x, 1)
    # (1, N, *event) -> (N, 1, *event): every draw meets every datum
    latents = {name: site["value"].transpose(0, 1) for name, site in _latents(drawn)}
    with pyro.plate("samples", n, dim=-2), pyro.plate("data", n, dim=-1):
        scored = poutine.trace(poutine.condition(model.infer, data=latents)).get_trace(x)
    scored.compute_log_prob()
    log_q = log_prob(scored).double()
    return (log_q.diagonal() - (log_q.logsumexp(1) - math.log(n))).mean().item()


def _decoder_gain(model: GenerativeModel, x: Tensor) -> float:
    """Score each datum given one draw of its own latents, and given those of the data that follow it."""
    n, others = len(x), min(OTHERS, len(x) - 1)
    drawn, joint = model.traces(x)
    shifts = torch.arange(others, device=x.device)[:, None] + torch.arange(n, device=x.device) + 1
    latents = {name: site["value"][shifts % n] for name, site in _latents(drawn)}
    with pyro.plate("samples", others, dim=-2), pyro.plate("data", n, dim=-1):
        exchanged = poutine.trace(poutine.condition(model.generate, data=latents)).get_trace(x)
    exchanged.compute_log_prob()
    observed = [
        name
        for name, site in joint.nodes.items()
        if site["type"] == "sample" and site["is_observed"]
    ]
    gains = [joint.nodes[name]["log_prob"] - exchanged.nodes[name]["log_prob"] for name in observed]
    return sum(gain.double().mean().item() for gain in gains)


def _reconstructed(model: GenerativeModel, x: Tensor) -> Tensor:
    """Draw data from the model given one draw of the latents of each datum."""
    guide, _ = model.traces(x)
    with pyro.plate("data", len(x)):
        return poutine.condition(
            model.generate, data={name: site["value"] for name, site in _latents(guide)}
        )()
