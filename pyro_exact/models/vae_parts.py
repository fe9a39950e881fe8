"""Parts of VAEs that are chosen by name: the likelihood of pixels, and the posterior."""

from __future__ import annotations

from typing import Literal

from pyro_exact import flows
from pyro_exact.distributions.flow_posterior import FlowPosterior
from pyro_exact.likelihoods.likelihood import Likelihood
from pyro_exact.likelihoods.names import AnyLikelihood, make_likelihood
from pyro_exact.transforms.affine import Affine
from pyro_exact.transforms.bijection import Bijection

FlowName = Literal["planar", "radial", "iaf", "coupling", "spline", "sylvester"]


def pixel_likelihood(
    likelihood: AnyLikelihood | None, shape: tuple[int, int, int], levels: int
) -> tuple[Likelihood, tuple[int, ...]]:
    """Return the likelihood of a site, and the grid of sites: elements, or whole pixels.

    Args:
        likelihood: A likelihood, as an object, by name, or as settings with a name; see
            `pyro_exact.likelihoods.make_likelihood`. The default is Bernoulli for two levels, and
            a discretised logistic with more.
        shape: (C, H, W) of the images.
        levels: Pixel levels; the values of an image are 0, ..., levels - 1.

    Raises:
        ValueError: If there is no such likelihood, or the levels differ from the data.
    """
    logistic = {"name": "discretized_logistic_mixture", "components": 1}
    default = "bernoulli" if levels == 2 else logistic
    made = make_likelihood(default if likelihood is None else likelihood, shape[0], levels)

    # The site of a likelihood of whole pixels has all channels.
    return made, shape[1:] if made.site_shape else shape


def posterior(
    features: int,
    latent_dim: int,
    flow: FlowName | None,
    flow_layers: int,
    flow_width: int,
    flow_rank: int,
) -> FlowPosterior:
    """Return the posterior q(z | x): a diagonal normal, with an optional amortised flow.

    Args:
        features: Size of the features that the encoder returns, which are the context of the flow.
        latent_dim: Dimension of z.
        flow: Name of the flow; `None` for the normal alone.
        flow_layers: Layers of the flow.
        flow_width: Width of the hidden layers, used by "iaf", "coupling" and "spline".
        flow_rank: Hidden units of each layer, used by "sylvester".
    """
    if flow is None:
        return FlowPosterior(features, latent_dim)

    bijection = _flow(flow, latent_dim, flow_layers, features, flow_width, flow_rank)
    return FlowPosterior(features, latent_dim, bijection)


def _flow(
    name: FlowName, dim: int, layers: int, context_dim: int, width: int, rank: int
) -> Bijection:
    match name:
        case "planar":
            return flows.planar(dim, layers, context_dim, act_norm=False)
        case "radial":
            return flows.radial(dim, layers, context_dim, act_norm=False)
        case "iaf":
            return flows.iaf(
                dim, layers, (width,), context_dim, Affine(shift_first=True), act_norm=False
            )
        case "coupling":
            return flows.couplings(
                dim, Affine(), layers, (width,), context_dim, act_norm=False, shuffle=False
            )
        case "spline":
            return flows.spline_coupling(
                dim,
                layers,
                bins=8,
                bound=3.0,
                hidden_dims=(width,),
                context_dim=context_dim,
                act_norm=False,
                shuffle=False,
            )
        case "sylvester":
            return flows.sylvester(dim, layers, rank, context_dim=context_dim, act_norm=False)
