"""What ArviZ does for a diagnosis, in its version 0.23 or 1: Pareto's k, its data format, and a predictive check."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pyro_exact.diagnostics.diagnosis import Diagnosis


def pareto_k(log_weights: Tensor) -> Tensor:
    """Return the shape of the tail of each datum's weights: (samples, N) -> (N,); equal weights have none, -inf."""
    arviz = _module("arviz")
    rows = log_weights.T.numpy()
    vary = np.ptp(rows, axis=1) > 1e-6
    k = np.full(len(rows), -np.inf)
    if _is_new(arviz):
        k[vary] = _module("arviz_stats.base").array_stats.psislw(-rows[vary])[
            1
        ]  # of log-likelihoods, whose negatives are the log-weights
    else:
        k[vary] = arviz.psislw(rows[vary])[1]
    return log_weights.new_tensor(k)


def inference_data(diagnosis: Diagnosis) -> Any:
    """Return a diagnosis as ArviZ keeps it: an `InferenceData`, or from its version 1 a `DataTree`.

    Its groups are ``posterior``, draws of each latent; ``sample_stats``, the log-weights;
    ``posterior_predictive`` and ``observed_data``, summaries of the data sets that the model draws
    and of the data; and ``constant_data``, the bounds by k, Pareto's k, divergences and activities.
    Its method
    ``to_netcdf`` writes a file.
    """
    arviz = _module("arviz")
    event_dim = diagnosis.data.dim() - 1
    predicted, observed = (
        summaries(diagnosis.predicted, event_dim),
        summaries(diagnosis.data, event_dim),
    )
    groups: dict[str, dict[str, Any]] = {
        "posterior": {name: level.draws[None].numpy() for name, level in diagnosis.levels.items()},
        "sample_stats": {"log_weight": diagnosis.log_weights[None].numpy()},
        "posterior_predictive": {name: t[None].numpy() for name, t in predicted.items()},
        "observed_data": {name: t.numpy() for name, t in observed.items()},
        "constant_data": {
            "bound": np.stack([bound.numpy() for bound in diagnosis.bounds.values()]),
            "pareto_k": diagnosis.pareto_k.numpy(),
        },
    }
    dims = {"log_weight": ["datum"], "bound": ["k", "datum"], "pareto_k": ["datum"]}
    dims |= {name: ["datum"] for name in groups["observed_data"]}
    for name, level in diagnosis.levels.items():
        unit = [f"{name}_dim_{i}" for i in range(level.activity.dim())]
        groups["constant_data"] |= {
            f"{name}_kl": level.kl.numpy(),
            f"{name}_activity": level.activity.numpy(),
        }
        dims |= {name: ["datum", *unit], f"{name}_kl": ["datum"], f"{name}_activity": unit}
        if level.kl_by_unit is not None:
            groups["constant_data"][f"{name}_kl_by_unit"] = level.kl_by_unit.numpy()
            dims[f"{name}_kl_by_unit"] = unit
    coords = {"k": list(diagnosis.bounds)}
    if _is_new(arviz):
        return arviz.from_dict(groups, coords=coords, dims=dims)
    return arviz.from_dict(**groups, coords=coords, dims=dims)


def plot_ppc(data: Any, name: str, axis: Axes) -> None:
    """Draw the distribution of one summary over the data, and over each data set that the model drew."""
    arviz = _module("arviz")
    if not _is_new(arviz):
        arviz.plot_ppc(data, var_names=[name], ax=axis, mean=False, textsize=10)
        return
    xarray = _module("xarray")
    plots = xarray.Dataset({name: xarray.DataArray(np.array(axis, dtype=object))})
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
    """Return numbers that a viewer sees of each datum: its mean level, and how much it differs from pixel to pixel."""
    event = list(range(-event_dim, 0))
    x = data.float()
    return {"mean_level": x.mean(event), "roughness": x.diff(dim=-1).abs().mean(event)}


def _module(name: str) -> Any:
    """Import a module where it is used; what it has depends on its version."""
    return importlib.import_module(name)


def _is_new(arviz: Any) -> bool:
    return int(arviz.__version__.split(".")[0]) >= 1
