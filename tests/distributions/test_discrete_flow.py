"""An integer flow is a permutation of images, with probabilities that sum to one."""

import pytest
import torch
from torch.testing import assert_close

from pyro_exact.flows import idf


def flow(shape=(1, 2, 4), levels=3, scales=1, **options):
    torch.manual_seed(0)
    made = idf(shape, levels=levels, scales=scales, steps=3, width=4, depth=1, components=2)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return made


def every(shape, levels):
    count = torch.Size(shape).numel()
    digits = torch.arange(levels**count)[:, None] // levels ** torch.arange(count) % levels
    return digits.float().view(-1, *shape)


def test_probabilities_of_all_images_sum_to_one():
    made = flow()
    log_p = made().log_prob(every((1, 2, 4), 3)).double()
    assert_close(log_p.exp().sum(), torch.tensor(1.0).double(), atol=1e-4, rtol=0)


def test_scales_are_permutations():
    made = flow((1, 4, 4), 256, 2)
    x = torch.randint(256, (7, 1, 4, 4)).float()
    latents = made.latents(x)
    given = iter([z for z, _ in latents])
    assert torch.equal(made.images(lambda theta: next(given), 7), x)
    assert all(((z >= 0) & (z <= 255) & (z == z.round())).all() for z, _ in latents)
    assert not torch.equal(
        torch.cat([z.flatten(1) for z, _ in latents], 1).sum(1), x.sum((1, 2, 3))
    )


def test_draws_have_the_probabilities():
    made = flow((1, 2, 2), 2)
    values = every((1, 2, 2), 2)
    p = made().log_prob(values).exp()
    drawn = made().sample((20_000,)).long().flatten(1)
    counts = torch.bincount((drawn * 2 ** torch.arange(4)).sum(1), minlength=16)
    assert ((counts - 20_000 * p).abs() <= 6 * (20_000 * p).sqrt() + 1).all()


def test_gradient_reaches_every_weight():
    made = flow((1, 4, 4), 8, 2)
    made().log_prob(torch.randint(8, (20, 1, 4, 4))).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
    names = [name for name, p in made.named_parameters() if "couplings" in name and p.grad.any()]
    assert len(names) > 10  # through the rounding


def test_initialisation_raises_the_likelihood():
    made = idf((1, 4, 4), levels=256, scales=2, steps=2, width=4, depth=1)
    x = torch.randint(20, (100, 1, 4, 4))
    before = made().log_prob(x).mean()
    made.initialize(x)
    assert made().log_prob(x).mean() > before + 16 * 1.5


def test_temperature_is_refused():
    with pytest.raises(ValueError, match="An integer flow has no base noise to scale; got"):
        flow()(0.5)


@pytest.mark.parametrize("value", [3.0, -1.0, 0.5])
def test_other_levels_are_refused(value):
    with pytest.raises(ValueError, match="expects integers from 0 to 2"):
        flow()().log_prob(torch.full((1, 2, 4), value))
