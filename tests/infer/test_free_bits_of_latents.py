"""Free bits act on latents that tell too little, and on nothing else."""

import pyro
import pytest
import torch
from helpers.vaes import bits, small
from pyro.infer import Trace_ELBO
from torch.distributions import kl_divergence
from torch.testing import assert_close

from pyro_exact.infer import FreeBitsELBO

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("particles", [1, 3])
def test_free_bits_leave_a_latent_that_tells_less_without_gradient(particles):
    model, x = small(), bits()
    q = model.posterior_of(x)
    assert kl_divergence(q, model.prior()).mean() < 20
    elbo = FreeBitsELBO(
        20.0, num_particles=particles, vectorize_particles=particles > 1, max_plate_nesting=1
    )
    torch.manual_seed(3)
    loss = elbo.differentiable_loss(model.model, model.guide, x)
    torch.manual_seed(3)
    z = model.posterior_of(x).rsample((particles,) if particles > 1 else ())
    reconstruction = -model.likelihood_of(z).log_prob(x).sum() / particles
    assert_close(loss, reconstruction + 20.0 * len(x))
    weights = list(model.posterior.parameters())
    assert_close(torch.autograd.grad(loss, weights), torch.autograd.grad(reconstruction, weights))


def test_free_bits_let_a_latent_that_tells_more_train():
    model, x = small(), bits()
    losses = []
    for elbo in (Trace_ELBO(), FreeBitsELBO(0.01)):
        torch.manual_seed(3)
        losses.append(elbo.differentiable_loss(model.model, model.guide, x).item())
    assert losses[0] == losses[1]


def test_free_bits_leave_auxiliary_sites_of_the_guide_alone():
    model, x = small(), bits()

    def guide(x):
        pyro.sample("a", pyro.distributions.Normal(0.0, 1.0), infer={"is_auxiliary": True})
        model.guide(x)

    assert FreeBitsELBO(1.0).differentiable_loss(model.model, guide, x).isfinite()
