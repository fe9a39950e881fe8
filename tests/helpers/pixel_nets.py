"""Networks of pixels with random weights, and which elements each output depends on."""

import torch


def randomised(net, seed):
    torch.manual_seed(seed)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def dependence(make, seeds=3, train=False):
    """Return the sites on which theta of each site depends, (sites, sites), found by changing one site at a time.

    A ReLU can hide a dependence for some weights and values, so that several of both are tried.
    """
    found = torch.zeros(())
    for seed in range(seeds):
        net = randomised(make(), seed).train(train)
        x = torch.randint(net.levels, (4, *net.event_shape)).double()
        sites = torch.arange(net.sites)
        moved = x.flatten(1).repeat(net.sites, 1, 1)
        moved[sites, :, sites] = (moved[sites, :, sites] + 1) % net.levels
        # Batches of one size: the rounding of a row may depend on where it stands in its batch.
        theta, after = (
            net(images.reshape(-1, *net.event_shape))
            .detach()
            .flatten(1, -2)
            .unflatten(0, (net.sites, 4))
            for images in (x.repeat(net.sites, 1, 1, 1), moved)
        )
        found = found + (after != theta).any(-1).any(1).T
    order = net.orders[0]
    return (found > 0)[order][:, order]
