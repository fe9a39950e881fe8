"""Networks of a graph: each output sees the parents and nothing else."""

import pytest
import torch

from pyro_exact import flows
from pyro_exact.nn import GraphDense

# 0 <- 2, 1 <- 0 and 2, 3 <- 1
GRAPH = torch.tensor([[0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]])


def moved(net):
    """The network with positive weights, which for positive inputs has no unit that is cut off."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.rand_like(weight))
    return net.double()


@pytest.mark.parametrize("hidden_dims", [None, (), (3,), (7, 5, 9)])
def test_graph_dense_sees_exactly_the_parents(hidden_dims):
    net = moved(GraphDense(GRAPH, 2, hidden_dims))
    x = torch.rand(5, 4, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(net))(x)
    seen = jacobian.abs().amax((0, 2)) > 0  # in any parameter, at any point
    assert torch.equal(seen, GRAPH.bool())


def test_graph_dense_passes_the_context_to_all_outputs():
    net = moved(GraphDense(GRAPH, 1, (8,), context_dim=2))
    x, context = torch.rand(20, 4).double(), torch.rand(20, 2).double()
    jacobian = torch.func.vmap(torch.func.jacrev(net, argnums=1))(x, context)
    assert (jacobian.abs().amax((0, 2)) > 0).all()


def test_graph_dense_has_an_order_with_parents_first():
    order = list(GraphDense(GRAPH, 1).order)
    assert sorted(order) == [0, 1, 2, 3]
    for child, parent in GRAPH.nonzero().tolist():
        assert order.index(parent) < order.index(child)


def test_maf_of_a_graph_has_the_jacobian_of_the_graph():
    flow = moved(flows.maf(4, layers=1, adjacency=GRAPH, act_norm=False))
    x = torch.rand(5, 4, dtype=torch.float64)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: flow.transform(x)[0]))(x)
    seen = jacobian.abs().amax(0) > 0
    assert torch.equal(seen, GRAPH.bool() | torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GraphDense([[0, 1], [1, 0]], 1), r"without cycles; got a cycle among .*\[0, 1\]"),
        (lambda: GraphDense(torch.ones(2, 3), 1), "square matrix"),
        (lambda: GraphDense([], 1), "square matrix"),
        (lambda: GraphDense(GRAPH, 1, (2,)), "at least 3"),
        (lambda: flows.maf(3, adjacency=GRAPH), r"shape \(3, 3\)"),
    ],
)
def test_graph_dense_refuses_impossible_graphs(make, message):
    with pytest.raises(ValueError, match=message):
        make()
