"""The ArviZ adapter (version 0.23 or 1): Pareto's k, the data format, and a predictive check."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pyro_exact.diagnostics.diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Groups = dict[str, dict[str, Any]]
Dims = dict[str, list[str]]


def pareto_k(log_weights: Tensor) -> Tensor:
    """Return the shape of the tail of the weights of each datum; equal weights have no tail, -inf.

    Args:
        log_weights: Log-weights, of shape (samples, N).

    Returns:
        Of shape (N,).
    """
    arviz = _module("arviz")
    rows = log_weights.T.numpy()
    vary = np.ptp(rows, axis=1) > 1e-6

    k = np.full(len(rows), -np.inf)
    if _is_new(arviz):
        # It takes log-likelihoods, whose negatives are the log-weights.
        k[vary] = _module("arviz_stats.base").array_stats.psislw(-rows[vary])[1]
    else:
        k[vary] = arviz.psislw(rows[vary])[1]
    return log_weights.new_tensor(k)


def inference_data(diagnosis: Diagnosis) -> Any:
    """Return a diagnosis in the format of ArviZ, an `InferenceData` or a `DataTree`.

    The groups are ``posterior``, draws of each latent; ``sample_stats``, the log-weights;
    ``posterior_predictive`` and ``observed_data``, summaries of the data sets drawn from the model
    and of the data; and ``constant_data``, the bounds by k, Pareto's k, divergences and activities.
    Use the method ``to_netcdf`` to write a file.
    """
    groups, dims = _of_data(diagnosis)
    _add_levels(diagnosis, groups, dims)
    coords = {"k": list(diagnosis.bounds)}

    arviz = _module("arviz")
    if _is_new(arviz):
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**groups, coords=coords, dims=dims)


def plot_ppc(data: Any, name: str, axis: Axes) -> None:
    """Draw the distribution of a summary over the data, and over draws of the model.

    Args:
        data: The return value of `inference_data`.
        name: Name of the summary.
        axis: The axis of matplotlib to draw on.
    """
    arviz = _module("arviz")
    if not _is_new(arviz):
        arviz.plot_ppc(data, var_names=[name], ax=axis, mean=False, textsize=10)
        return

    xarray = _module("xarray")
    place = xarray.DataArray(np.array(axis, dtype=object))
    plots = xarray.Dataset({name: place})
    figure = xarray.Dataset({"figure": axis.figure})
    drawn = data["posterior_predictive"].dataset.stack(sample=("chain", "draw"))

    panel = _module("arviz_plots").PlotCollection(
        drawn,
        xarray.DataTree.from_dict({"/": figure, "plot": plots}),
        aes={"overlay_ppc": ["sample"]},
        backend="matplotlib",
    )
    arviz.plot_ppc_dist(data, var_names=[name], plot_collection=panel)


def summaries(data: Tensor, event_dim: int) -> dict[str, Tensor]:
    """Return two summaries of each datum: the mean level, and the mean step between neighbours."""
    event = list(range(-event_dim, 0))
    x = data.float()
    return {"mean_level": x.mean(event), "roughness": x.diff(dim=-1).abs().mean(event)}


def _of_data(diagnosis: Diagnosis) -> tuple[Groups, Dims]:
    """Return the groups without the latents, and the names of their dimensions."""
    event_dim = diagnosis.data.dim() - 1
    predicted = summaries(diagnosis.predicted, event_dim)
    observed = summaries(diagnosis.data, event_dim)

    groups: Groups = {
        "posterior": {},
        "sample_stats": {"log_weight": diagnosis.log_weights[None].numpy()},
        "posterior_predictive": {name: t[None].numpy() for name, t in predicted.items()},
        "observed_data": {name: t.numpy() for name, t in observed.items()},
        "constant_data": {
            "bound": np.stack([bound.numpy() for bound in diagnosis.bounds.values()]),
            "pareto_k": diagnosis.pareto_k.numpy(),
        },
    }
    dims: Dims = {
        "log_weight": ["datum"],
        "bound": ["k", "datum"],
        "pareto_k": ["datum"],
    }
    dims |= {name: ["datum"] for name in observed}
    return groups, dims


def _add_levels(diagnosis: Diagnosis, groups: Groups, dims: Dims) -> None:
    """Add the draws, the divergences and the activities of each latent."""
    for name, level in diagnosis.levels.items():
        unit = [f"{name}_dim_{i}" for i in range(level.activity.dim())]

        groups["posterior"][name] = level.draws[None].numpy()
        groups["constant_data"][f"{name}_kl"] = level.kl.numpy()
        groups["constant_data"][f"{name}_activity"] = level.activity.numpy()
        dims[name] = ["datum", *unit]
        dims[f"{name}_kl"] = ["datum"]
        dims[f"{name}_activity"] = unit

        if level.kl_by_unit is not None:
            groups["constant_data"][f"{name}_kl_by_unit"] = level.kl_by_unit.numpy()
            dims[f"{name}_kl_by_unit"] = unit


def _module(name: str) -> Any:
    """Import a module on first use, without types, because the contents depend on the version."""
    return importlib.import_module(name)


def _is_new(arviz: Any) -> bool:
    return int(arviz.__version__.split(".")[0]) >= 1
