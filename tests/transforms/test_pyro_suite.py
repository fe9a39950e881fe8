"""The checks of Pyro's own tests of transforms that our laws lack: stock distributions, and training.

The laws have the inverse, the log-determinant and copies. Here each layer is used inside of a stock
`TransformedDistribution`: the batch shapes of its samples, and three steps of maximum likelihood.
"""

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import TransformedDistribution
from registry import TRANSFORMS

CASES = {name: (case, None) for name, case in TRANSFORMS.items()} | {
    f"{name} | context": (case, 2) for name, case in TRANSFORMS.items() if case.conditional
}

over_all = pytest.mark.parametrize(("case", "context_dim"), CASES.values(), ids=list(CASES))


def on_stock(case, context_dim):
    """A layer, and the same layer as a stock transform, with a context for the whole batch."""
    torch.manual_seed(0)
    layer = case.make(context_dim).eval()
    if context_dim is None:
        return layer, layer
    return layer, layer.condition(torch.rand(layer.context_shape))


@over_all
def test_stock_distributions_have_the_batch_shapes_of_their_base(case, context_dim):
    _, transform = on_stock(case, context_dim)
    for batch in ((3,), (3, 2)):
        source = case.draw((*batch, *case.shape))
        event_dim = transform.domain.event_dim
        base = dist.Delta(source, event_dim=event_dim)
        made = TransformedDistribution(base, [transform])
        y = transform(source)
        assert made.batch_shape + made.event_shape == y.shape
        assert made.sample().shape == y.shape


@over_all
def test_stock_distributions_train_their_layer(case, context_dim):
    layer, transform = on_stock(case, context_dim)
    source = case.draw((2, *case.shape))
    x = transform(source).detach()
    base = dist.Normal(torch.zeros_like(source), 1.0).to_event(transform.domain.event_dim)
    made = TransformedDistribution(base, [transform], validate_args=False)
    weights = list(layer.parameters())
    optimizer = torch.optim.Adam(weights, 1e-4) if weights else None

    for _ in range(3):
        loss = -made.log_prob(x).mean()
        assert loss.isfinite()
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


AUTOREGRESSIVE = ["maf", "naf", "bnaf", "sos", "bernstein", "umnn"]


@pytest.mark.parametrize("name", AUTOREGRESSIVE)
def test_autoregressive_layers_have_a_triangular_jacobian(name, double):
    """In the order of some permutation: the matrix of dependences without the diagonal is nilpotent."""
    case = TRANSFORMS[name]
    torch.manual_seed(0)
    layer = case.make(None)
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    first = next(p for p in layer.parts if len(list(p.parameters())) > 2)
    x = torch.randn(case.shape)
    depends = (torch.autograd.functional.jacobian(first, x) != 0).double()
    assert depends.diagonal().all()
    strict = depends - depends.diagonal().diag()
    assert not strict.matrix_power(len(x)).any()
    assert strict.any()
