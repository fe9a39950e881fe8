"""Code images by the steps of an autoregressive network."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_exact.autoregressive.causal_net import CausalNet
from pyro_exact.autoregressive.distribution import Autoregressive
from pyro_exact.autoregressive.pixel_cnn import DiagonalPixelCNN, PixelCNN
from pyro_exact.codec.entropy import Coder, uniform_code
from pyro_exact.codec.values import code_sites
from pyro_exact.nn.precision import weight_of


def code_autoregressive(
    d: Autoregressive,
    coder: Coder,
    count: int,
    x: Tensor | None,
    bits: Tensor | None = None,
) -> Tensor:
    """Code values by the steps of a network, and return them.

    The last bits of a matrix product depend on the size of the batch. Therefore an encoder takes
    the same steps as a decoder, and does not use a whole pass of the network. A `PixelCNN` takes a
    step for each diagonal of pixels.

    Under an ensemble, an encoder chooses the member with the highest probability for each value,
    and codes this choice first; this costs at most log2 K bits for K members.

    Args:
        d: The distribution.
        coder: An encoder or a decoder.
        count: Count of the values.
        x: The values to encode, (count, *event_shape); `None` to decode.
        bits: Optional; the bits of each site are added, (count, sites).

    Returns:
        The values, (count, *event_shape).
    """
    net = DiagonalPixelCNN(d.net) if isinstance(d.net, PixelCNN) else d.net
    weight = weight_of(net)
    context = d._expand_context(torch.Size([count]))
    values = None if x is None else net.to_sites(x.to(weight))

    chosen = _code_members(d, coder, count, x)
    coded = weight.new_empty(count, net.sites, *net.likelihood.site_shape)
    for member in chosen.unique().tolist():
        rows = (chosen == member).nonzero().squeeze(-1)
        part = torch.zeros(len(rows), net.sites, dtype=torch.float64)

        coded[rows] = code_steps(
            net,
            coder,
            None if context is None else context[rows],
            None if values is None else values[rows],
            len(rows),
            member,
            None if bits is None else part,
        )
        if bits is not None:
            bits[rows] += part.to(bits)
    return net.from_sites(coded)


def code_steps(
    net: CausalNet,
    coder: Coder,
    context: Tensor | None,
    values: Tensor | None,
    count: int,
    member: int,
    bits: Tensor | None = None,
) -> Tensor:
    """Code values by the steps of a member, (count, sites, *site_shape); see the function above."""
    weight = weight_of(net)
    order = net.orders[member]
    coded = weight.new_zeros(count, net.sites, *net.likelihood.site_shape)

    state = net.init_state((count,), context, member)
    previous: Tensor | None = None
    for index in range(net.num_steps):
        # theta of the group, given the values of all earlier groups
        theta, state = net.step(state, previous)
        sites = order[net.group(index)]

        part = None if bits is None else torch.zeros(count, len(sites), dtype=torch.float64)
        given = None if values is None else values[:, sites]
        found = code_sites(net.likelihood, theta, coder, given, part)

        coded[:, sites] = previous = found.to(weight)
        if bits is not None and part is not None:
            bits[:, sites.cpu()] += part
    return coded


def _code_members(
    d: Autoregressive,
    coder: Coder,
    count: int,
    x: Tensor | None,
) -> Tensor:
    """Code the member of an ensemble that codes each value, and return its index, (count)."""
    members = torch.tensor(list(d.members))
    if len(members) == 1:
        return members.expand(count)

    best = None
    if x is not None:
        scores = [
            Autoregressive(d.net, d.context, k, validate_args=False).log_prob(x) for k in d.members
        ]
        best = torch.stack(scores).expand(-1, count).argmax(0).int().cpu().numpy()
    chosen = coder.code(uniform_code(len(members), count), best)
    return members[torch.from_numpy(chosen).long()]
