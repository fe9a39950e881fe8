"""Laws of every builder of vectors: training does not depend on units, and a guide can go anywhere."""

import math

import pytest
import torch
from pyro.distributions import Normal
from torch.testing import assert_close

from pyro_exact import flows
from pyro_exact.distributions import Flow, StandardNormal
from pyro_exact.models.initialization import initialize_flow
from pyro_exact.transforms import ActNorm, MixtureCDF

pytestmark = pytest.mark.usefixtures("double")

DIM, CONTEXT = 3, 2
STEPS, RATE, EPSILON = 6, 1e-2, 1e-8  # the last one is the default of Adam

# From data to noise, and from noise to a latent.
TO_NOISE = {
    "bernstein": lambda c=None: flows.bernstein(DIM, 2, 6, hidden_dims=(8,), context_dim=c),
    "bnaf": lambda c=None: flows.bnaf(DIM, 2, 3, 1, c),
    "couplings": lambda c=None: flows.couplings(DIM, MixtureCDF(3), 2, (8,), c),
    "gaussianization": lambda c=None: flows.gaussianization(DIM, 2, 3, c),
    "maf": lambda c=None: flows.maf(DIM, 2, (8,), c),
    "naf": lambda c=None: flows.naf(DIM, 2, 4, hidden_dims=(8,), context_dim=c),
    "nice": lambda c=None: flows.nice(DIM, 3, (8,), c),
    "nsf": lambda c=None: flows.nsf(DIM, 2, hidden_dims=(8,), context_dim=c),
    "real_nvp": lambda c=None: flows.real_nvp(DIM, 2, (8,), c),
    "spline_coupling": lambda c=None: flows.spline_coupling(
        DIM, 2, hidden_dims=(8,), context_dim=c
    ),
    "tarflow": lambda c=None: flows.tarflow(DIM, 1, 2, 1, 8, 2, context_dim=c),
    "sos": lambda c=None: flows.sos(DIM, 2, 2, 2, hidden_dims=(8,), context_dim=c),
    "umnn": lambda c=None: flows.umnn(DIM, 2, 3, (4,), (8,), c),
}
TO_LATENT = {
    "iaf": lambda c=None: flows.iaf(DIM, 2, (8,), c),
    "planar": lambda c=None: flows.planar(DIM, 3, c),
    "radial": lambda c=None: flows.radial(DIM, 3, c),
    "sylvester": lambda c=None: flows.sylvester(DIM, 2, context_dim=c),
}
BUILDERS = TO_NOISE | TO_LATENT


def test_laws_cover_every_builder_of_vectors():
    bounded = {"bounded", "circular_spline", "constrained"}  # their data have other limits
    others = {"cnf", "idf"}  # exact to a tolerance; of integers
    names = {name for name in flows.__all__ if not takes_images(name)}
    assert names - bounded - others == set(BUILDERS)


def takes_images(name):
    return name.startswith(("image_", "flow_pp", "glow"))


def data():
    """Skewed and correlated rows, whose columns have locations and scales of their own."""
    noise = torch.randn(200, DIM)
    return torch.tensor([1.0, 20.0, 0.3]) * (noise + 0.3 * noise[:, :1] ** 2) + 5.0


def curve(name, x, context):
    """Return the nats of the first steps of training, from seeded weights."""
    torch.manual_seed(1)
    flow = BUILDERS[name](None if context is None else CONTEXT)
    flow = flow if name in TO_NOISE else flow.inv
    bound = flow if context is None else flow.condition(context)
    initialize_flow(Flow(StandardNormal(DIM), bound.inv), x, "The law")

    optimizer = torch.optim.Adam(flow.parameters(), lr=RATE)
    losses = []
    for _ in range(STEPS):
        noise, ladj = flow.forward_and_ladj(x, context)
        loss = -(Normal(0.0, 1.0).log_prob(noise).sum(-1) + ladj).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@pytest.mark.parametrize(("scale", "shift"), [(1e-4, 0.0), (10.0, 1000.0)], ids=["small", "far"])
@pytest.mark.parametrize("context", [False, True], ids=["plain", "conditional"])
@pytest.mark.parametrize("name", BUILDERS)
def test_training_does_not_depend_on_the_units_of_the_data(name, context, scale, shift):
    """Nats change by the logarithm of the unit, and by rounding.

    The standardised rows differ by the rounding of x: the machine epsilon times its size over its
    spread. Adam divides a gradient by its size plus 1e-8, so the rounding error of a gradient that
    vanishes grows by the rate over 1e-8 in each step.
    """
    x, c = data(), torch.randn(200, CONTEXT) if context else None
    expected = curve(name, x, c)
    found = curve(name, scale * x + shift, c)

    rounding = torch.finfo(x.dtype).eps * (1 + shift / scale)
    assert_close(
        found - DIM * math.log(scale), expected, rtol=0, atol=STEPS * RATE / EPSILON * rounding
    )
    assert expected[-1] < expected[0]


# The normalisations are the same in all builders: the slow inverses need not all be trained.
@pytest.mark.parametrize(
    ("name", "inverse"),
    [(name, False) for name in BUILDERS] + [(name, True) for name in ("nice", "maf", "radial")],
)
def test_guide_can_move_and_scale_from_the_first_step(name, inverse):
    """With new networks, the normalisations alone fit a normal far outside of where splines bend.

    A new flow is near the identity, up to 0.05 nats for each dimension; so the loss is near that of
    the exact map m + s z.
    """
    torch.manual_seed(0)
    flow = BUILDERS[name]()
    norms = [layer for layer in flow.modules() if isinstance(layer, ActNorm)]
    flow = flow.inv if inverse else flow

    target = Normal(torch.tensor([10.0, -8.0, 0.0]), torch.tensor([0.5, 1.0, 2.0]))
    noise = torch.randn(64, DIM)
    noise = (noise - noise.mean(0)) / noise.std(0, correction=0)

    weights = [p for layer in norms for p in layer.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.3, betas=(0.8, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 250)
    for _ in range(250):
        latent, ladj = flow.forward_and_ladj(noise)
        loss = -(target.log_prob(latent).sum(-1) + ladj).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    exact = DIM / 2 * math.log(2 * math.pi * math.e)
    assert loss.item() < exact + 0.05 * DIM
