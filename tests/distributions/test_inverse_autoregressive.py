"""InverseAutoregressive: scores of its own draws and of others."""

from functools import partial
from itertools import product

import pytest
import torch
from pyro.distributions import Normal
from torch.testing import assert_close

from pyro_exact.distributions import InverseAutoregressive
from pyro_exact.nn import MaskedConvNet
from pyro_exact.transforms import Affine

pytestmark = pytest.mark.usefixtures("double")


def perturb(module, std=0.1):
    with torch.no_grad():
        for p in module.parameters():
            p.add_(std * torch.randn_like(p))
    return module


def step(*batch, channels=2, size=(2, 3)):
    net = perturb(MaskedConvNet(channels, 2, 4), 0.5)
    mean, context = torch.randn(*batch, channels, *size), torch.randn(*batch, *size, 4)
    return InverseAutoregressive(mean, mean.exp(), partial(net, context=context), Affine())


def test_inverse_autoregressive_scores_a_draw_as_its_inverse_does():
    q, calls = step(5), []
    q.conditioner.func.register_forward_hook(lambda *_: calls.append(1))
    z = q.rsample((3,))
    known = q.log_prob(z)
    assert len(calls) == 1
    assert_close(q.log_prob(z.clone()), known, rtol=1e-10, atol=1e-10)
    assert 2 < len(calls) <= 1 + z[0, 0].numel()


def test_inverse_autoregressive_log_density_is_the_change_of_variables():
    q = step()
    noise = torch.randn(2, 2, 3)

    def transform(noise):
        return q.formula.forward_and_ladj(noise, q.conditioner(noise))[0]

    jacobian = torch.autograd.functional.jacobian(transform, noise).view(12, 12)
    expected = Normal(q.base.loc, q.base.scale).log_prob(noise).sum() - jacobian.slogdet()[1]
    assert_close(q.to_event(3).log_prob(transform(noise)), expected, rtol=1e-10, atol=1e-10)


def test_inverse_autoregressive_log_density_is_a_sum_over_elements():
    q = step()
    z = q.sample()
    before = q.log_prob(z)
    for i, (row, column, channel) in enumerate(
        order := list(product(range(2), range(3), range(2)))
    ):
        other = z.clone()
        other[channel, row, column] += 1
        changed = q.log_prob(other) != before
        assert [bool(changed[c, h, w]) for h, w, c in order[: i + 1]] == [False] * i + [True]


def test_inverse_autoregressive_density_of_one_element_has_mass_one():
    q = step(channels=1, size=(1, 2))
    grid = torch.linspace(-60, 60, 20_001)
    z = torch.stack((torch.full_like(grid, 0.7), grid), dim=-1).view(-1, 1, 1, 2)
    mass = q.log_prob(z)[:, 0, 0, 1].exp().sum() * (grid[1] - grid[0])
    assert_close(mass, torch.ones(()), rtol=0, atol=1e-6)


def test_inverse_autoregressive_scores_have_gradients_in_maps_and_parameters():
    q = step()
    z, context = q.sample(), torch.randn(2, 3, 4, requires_grad=True)

    def score(z, mean, context):
        net = q.conditioner.func
        return InverseAutoregressive(
            mean, q.base.scale, partial(net, context=context), q.formula
        ).log_prob(z)

    assert torch.autograd.gradcheck(
        score, (z.requires_grad_(), q.base.loc.clone().requires_grad_(), context)
    )


def test_inverse_autoregressive_scores_a_draw_that_was_written_to_anew():
    q = step()
    z = q.sample()
    q.log_prob(z)
    z.add_(1)
    assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        lambda net, context: net.last.bias.data.add_(1).sum() + torch.nn.init.ones_(net.first.bias),
        lambda net, context: net.load_state_dict(
            {name: 2 * p for name, p in net.state_dict().items()}
        ),
        lambda net, context: context.add_(1),
    ],
    ids=["written to", "loaded", "another context"],
)
def test_inverse_autoregressive_scores_a_draw_anew_after_a_change(change):
    q = step(5)
    with torch.no_grad():
        z = q.sample()
        before = q.log_prob(z)
        change(q.conditioner.func, q.conditioner.keywords["context"])
        after = q.log_prob(z)
    assert_close(after, q.log_prob(z.clone()), rtol=1e-10, atol=1e-10)
    assert not torch.allclose(after, before)


def test_inverse_autoregressive_scores_a_draw_of_hidden_weights_anew():
    known, scale = step(5), torch.ones(())
    net = known.conditioner
    q = InverseAutoregressive(
        known.base.loc, known.base.scale, lambda noise: scale * net(noise), known.formula
    )
    with torch.no_grad():
        z = q.sample()
        scale.mul_(2)
        assert torch.equal(q.log_prob(z), q.log_prob(z.clone()))


def test_inverse_autoregressive_scores_a_draw_without_gradient_with_one():
    net = perturb(MaskedConvNet(2, 2, 4), 0.5)
    q = InverseAutoregressive(
        torch.zeros(2, 2, 3),
        torch.ones(2, 2, 3),
        partial(net, context=torch.zeros(2, 3, 4)),
        Affine(),
    )
    q.log_prob(q.sample()).sum().backward()
    assert net.last.bias.grad.abs().max() > 0
