"""Look at the guide of a model: the function `diagnose`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyro_exact.checks import check_seed, check_size, check_sizes, check_tensor
from pyro_exact.diagnostics.diagnosis import Diagnosis
from pyro_exact.diagnostics.estimates import (
    DRAWS,
    bound,
    decoder_gain,
    mutual_information,
    reconstructed,
    weights_and_levels,
)
from pyro_exact.diagnostics.inference_data import pareto_k
from pyro_exact.models import Dequantized, GenerativeModel
from pyro_exact.models.generative_model import evaluating

KS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@torch.no_grad()
def diagnose(
    model: GenerativeModel,
    data: Tensor,
    samples: int = 5000,
    ks: Sequence[int] = KS,
    seed: int = 0,
) -> Diagnosis:
    r"""Diagnose the guide and the latents of a VAE. Use it to find loose bounds and unused latents.

    From the weights :math:`w_i = p(x, z_i) / q(z_i \mid x)` of many samples this function computes
    the importance-weighted bounds :math:`\mathbb{E} \log \frac1k \sum_i w_i` and Pareto's k for
    each datum; for the latents, the divergence from the prior, the active units, and the mutual
    information of data and latents under the guide,

    .. math:: I(x; z) \approx
        \frac1N \sum_n \log q(z_n \mid x_n) - \log \frac1N \sum_m q(z_n \mid x_m)

    The gain of the decoder is the mean of :math:`\log p(x_n \mid z_n) - \log p(x_n \mid z_m)` over
    other data :math:`m`. For flows, use `flow_report`.

    The model is evaluated in evaluation mode; modes and the random state are restored.

    Args:
        model: A model with latents, for example `pyro_exact.models.VAE`, on any device.
        data: Data of shape (N, ...). N should be about a hundred, because the mutual information is
            computed using N² scores.
        samples: Samples of the guide, used for each datum.
        ks: Sizes k of the importance-weighted bounds, in addition to 1 and ``samples``; larger ones
            are left out.
        seed: Seed of the noise.

    Raises:
        TypeError: If the model is not a `GenerativeModel`, or another argument is of another type.
        ValueError: If the model has no latents, or they are dequantisation noise; on data that the
            model cannot score, and on weights that are not finite.

    Reference:
        Burda, Grosse and Salakhutdinov (2016), Importance Weighted Autoencoders; Vehtari, Simpson,
        Gelman, Yao and Gabry (2024), Pareto Smoothed Importance Sampling; Hoffman and Johnson
        (2016), ELBO surgery.
    """
    _check_model(model)
    samples = check_size("diagnose", "samples", samples)
    ks = check_sizes("diagnose", "ks", ks)
    seed = check_seed("diagnose", seed)
    _check_data(model, data, samples)

    device = next(model.parameters()).device
    with (
        evaluating(model),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        x = data.to(device)
        log_weights, levels = weights_and_levels(model, x, samples)
        return Diagnosis(
            log_weights=log_weights,
            bounds={k: bound(log_weights, k) for k in sorted({1, samples, *ks}) if k <= samples},
            pareto_k=pareto_k(log_weights),
            levels=levels,
            mutual_information=mutual_information(model, x),
            decoder_gain=decoder_gain(model, x),
            data=data.cpu(),
            reconstructed=reconstructed(model, x).cpu(),
            predicted=model.sample(DRAWS * len(data)).unflatten(0, (DRAWS, -1)).cpu(),
        )


def _check_model(model: object) -> None:
    """Raise an error if a model has no guide with latents."""
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"diagnose expects a GenerativeModel; got {type(model).__name__}. Pass one, such as a "
            "VAE."
        )
    if type(model).infer is GenerativeModel.infer:
        raise ValueError(
            "diagnose expects a model with a guide; this one's likelihood is exact. Use evaluate."
        )
    if isinstance(model, Dequantized):
        raise ValueError(
            "diagnose expects latents; got dequantisation noise. Use evaluate with several k."
        )


def _check_data(model: GenerativeModel, data: Tensor, samples: int) -> None:
    """Raise an error if there are too few data or samples, or data that the model cannot score."""
    if check_tensor("diagnose", "data", data).dim() == 0:
        raise ValueError(
            "diagnose expects data of shape (N, ...); got a single number, of shape (). Stack them."
        )
    if samples < 100 or len(data) < 2:
        raise ValueError(
            f"diagnose expects 100 samples (k) and 2 data (n) at least; got {samples} and "
            f"{len(data)}. Raise them."
        )
    model.check(data)
