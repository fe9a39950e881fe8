"""Flow matching: train a continuous flow without solving its equation."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.transforms import Bijection, Compose, ContinuousFlow


def flow_matching_loss(flow: Bijection, x: Tensor, context: Tensor | None = None) -> Tensor:
    r"""Return the flow-matching loss of a continuous flow from data to noise.

    Use this loss to train `pyro_exact.flows.cnf` in place of the likelihood. A step costs as much
    as a regression, while the trained flow is the same kind of flow: it scores and samples data.

    .. math::
        \mathbb{E}\left\|v(t, x_t, c) - (z - x)\right\|^2, \qquad x_t = (1 - t)\, x + t z, \quad
        z \sim \mathcal{N}(0, I), \quad t \sim \mathcal{U}(0, 1)

    Layers before the continuous flow, such as the `ActNorm` of `cnf`, are applied without gradient:
    call ``flow.initialize`` first, to standardise the data.

    Args:
        flow: A `ContinuousFlow`, or a `Compose` whose last layer is a `ContinuousFlow`.
        x: Data.
        context: Optional context of the flow.

    Shape:
        - x: (N, dim); context: (N, context_dim); the loss is a scalar, the mean over all elements.

    Raises:
        TypeError: If the flow is not such a flow.

    Reference:
        Lipman, Chen, Ben-Hamu, Nickel and Le (2023), Flow Matching for Generative Modeling,
        equation 23.

    Example:
        >>> from pyro_exact import flows
        >>> flow_matching_loss(flows.cnf(3), torch.randn(5, 3)).shape
        torch.Size([])
    """
    *earlier, last = list(flow.parts) if isinstance(flow, Compose) else [flow]
    if not isinstance(last, ContinuousFlow):
        raise TypeError(
            f"flow_matching_loss expects a ContinuousFlow, or a Compose that ends with one; got "
            f"{type(last).__name__} at the end. Build one with flows.cnf, and leave out .inv."
        )

    if earlier:
        with torch.no_grad():
            x, _ = Compose(earlier).forward_and_ladj(x, context)

    # A path from the datum to noise is a straight line of constant velocity z - x.
    z, t = torch.randn_like(x), torch.rand_like(x[..., :1])
    path = torch.lerp(x, z, t)
    difference = last.velocity(t.squeeze(-1), path, context) - (z - x)
    return difference.square().mean()
