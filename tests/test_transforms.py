"""The laws of every layer and every formula, plain and conditional, in float64 on weights away from their start.

Near the identity many mistakes are invisible, so each weight is moved by N(0, 0.5).
"""

import copy
import pickle
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import ConditionalTransformedDistribution, Normal, TransformedDistribution
from registry import ELEMENTWISE, PARTITIONS, TRANSFORMS, Case
from torch.autograd.functional import jacobian
from torch.testing import assert_close

from pyro_exact import flows, transforms
from pyro_exact.transforms import Bijection

pytestmark = pytest.mark.usefixtures("double")

CONTEXT_DIM = 2
BATCH = 3
CASES = {name: (case, None) for name, case in TRANSFORMS.items()} | {
    f"{name} | context": (case, CONTEXT_DIM) for name, case in TRANSFORMS.items() if case.conditional
}
CONDITIONAL = {name: made for name, made in CASES.items() if made[1]}
PLAIN = {name: made for name, made in CASES.items() if not made[1]}


@dataclass
class Made:
    """A layer with perturbed weights and a batch of inputs; `bound` has its context, if any, bound."""

    case: Case
    layer: Bijection
    x: torch.Tensor
    context: torch.Tensor | None

    @property
    def bound(self) -> Bijection:
        return self.layer if self.context is None else self.layer.condition(self.context)

    def row(self, i: int) -> Bijection:
        return self.layer if self.context is None else self.layer.condition(self.context[i])

    @property
    def output_shape(self) -> torch.Size:
        return self.layer.forward_shape(self.case.shape)

    def to_noise(self) -> TransformedDistribution:
        """The distribution of the inputs whose outputs are standard normal."""
        return TransformedDistribution(normal(self.output_shape), [self.bound.inv])


def make(case: Case, context_dim: int | None, std: float | None = None) -> Made:
    torch.manual_seed(0)
    layer = case.make(context_dim)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_((case.std if std is None else std) * torch.randn_like(p))
    return Made(case, layer, case.draw((BATCH, *case.shape)), torch.randn(BATCH, context_dim) if context_dim else None)


def over(cases):
    """Run a test over a choice of the cases, as its argument `made`."""
    return pytest.mark.parametrize("made", cases.values(), ids=list(cases), indirect=True)


@pytest.fixture
def made(request):
    return make(*request.param)


def normal(shape):
    """A base with a scale for each number: a rotation of the standard normal would change no density."""
    return Normal(torch.zeros(shape), torch.linspace(1, 2, torch.Size(shape).numel()).view(shape)).to_event(len(shape))


def gradients(value, layer):
    """The gradient of each parameter that has numbers in it."""
    weights = {name: p for name, p in layer.named_parameters() if p.numel()}
    if not weights:
        return {}
    found = torch.autograd.grad(value, list(weights.values()), retain_graph=True, allow_unused=True)
    return dict(zip(weights, found, strict=True))


# The registry ---------------------------------------------------------------------------------------------------------


def first_words(registry):
    return {name.split()[0] for name in registry}


def test_every_exported_layer_formula_partition_and_flow_is_registered():
    exempt = {"Bijection", "Conditioned", "Elementwise", "Inverse", "Partition"}  # abstract, or made by any other
    registered = first_words(TRANSFORMS) | first_words(ELEMENTWISE) | first_words(PARTITIONS)
    assert registered == (set(transforms.__all__) - exempt) | set(flows.__all__)


def test_names_say_what_is_made():
    for name, case in TRANSFORMS.items():
        layer = case.make(None)
        layer = layer.inv if name.endswith(" inv") else layer
        assert name.split()[0] in {*flows.__all__, type(layer).__name__}
    for name, formula in (ELEMENTWISE | PARTITIONS).items():
        assert name.split()[0] == type(formula()).__name__


@over(CASES)
def test_parameters_are_contiguous(made):
    """Of any other, `pyro.module` registers a copy, and stock SVI trains that instead of the layer."""
    assert all(p.is_contiguous() for p in made.layer.parameters())


@over(CONDITIONAL)
def test_a_conditional_layer_says_so(made):
    assert made.layer.context_shape == (CONTEXT_DIM,)


@over(PLAIN)
def test_a_plain_layer_takes_no_context(made):
    assert made.layer.context_shape is None
    assert made.layer.condition(torch.zeros(2)) is made.layer


# The formula ----------------------------------------------------------------------------------------------------------


@over(CASES)
def test_inverse_undoes_forward(made):
    y = made.bound(made.x).detach().clone()
    assert_close(made.bound.inv(y), made.x, rtol=1e-8, atol=1e-8)


@over(CASES)
def test_forward_undoes_inverse(made):
    y = torch.randn(BATCH, *made.output_shape)
    x = made.bound.inv(y).detach().clone()
    assert_close(made.bound(x), y, rtol=1e-8, atol=1e-8)


@over(CASES)
def test_ladj_is_that_of_the_autograd_jacobian(made):
    _, ladj = made.bound.forward_and_ladj(made.x)
    for i in range(BATCH):
        matrix = jacobian(lambda x, i=i: made.row(i).forward_and_ladj(x)[0].flatten(), made.x[i]).flatten(1)
        assert_close(ladj[i], matrix.slogdet().logabsdet, rtol=1e-8, atol=1e-8)


@over(CASES)
def test_ladj_of_the_inverse_is_minus_that_of_the_layer(made):
    y, ladj = made.bound.forward_and_ladj(made.x)
    assert_close(made.bound.inverse_and_ladj(y)[1], -ladj, rtol=1e-8, atol=1e-8)


@over(CASES)
def test_stock_calls_agree_with_the_pure_methods(made):
    y, ladj = made.bound.forward_and_ladj(made.x)
    t = made.bound
    stock = t(made.x)
    assert_close(stock, y, rtol=0, atol=0)
    assert_close(t.log_abs_det_jacobian(made.x, stock), ladj, rtol=0, atol=0)
    assert_close(t.inv.log_abs_det_jacobian(stock, made.x), -ladj, rtol=0, atol=0)


@over({name: c for name, c in CASES.items() if c[0].draw is torch.randn and not name.startswith(("F", "Sq"))})
def test_applying_it_twice_is_not_undone(made):
    t = made.bound
    y = t(made.x)
    assert_close(t(y), t.forward_and_ladj(y.detach().clone())[0])
    assert not torch.allclose(t(y), made.x)
    assert_close(t.inv(t.inv(y)), t.inverse_and_ladj(made.x)[0])


@over(CASES)
def test_a_row_of_a_batch_equals_the_row_alone(made):
    y, ladj = made.bound.forward_and_ladj(made.x)
    for i in range(BATCH):
        assert_close(made.row(i).forward_and_ladj(made.x[i]), (y[i], ladj[i]), rtol=1e-10, atol=1e-10)
        assert_close(made.row(i).inverse_and_ladj(y[i])[0], made.x[i], rtol=1e-8, atol=1e-8)


@over(CONDITIONAL)
def test_a_new_conditional_layer_equals_the_plain_one(made):
    plain, conditional = (make(made.case, dim, std=0).layer for dim in (None, CONTEXT_DIM))
    shapes = {name: value.shape for name, value in plain.state_dict().items()}
    shared = {name: v for name, v in conditional.state_dict().items() if shapes.get(name) == v.shape}
    plain.load_state_dict(shared, strict=False)  # the same random rotations
    assert_close(conditional.condition(made.context).forward_and_ladj(made.x), plain.forward_and_ladj(made.x))


@over(CONDITIONAL)
def test_the_context_matters(made):
    other = made.layer.condition(-made.context)
    assert not torch.allclose(made.bound.forward_and_ladj(made.x)[0], other.forward_and_ladj(made.x)[0])


# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (3,), (3, 4), (0,), (2, 0)], ids=str)
@over(CASES)
def test_any_batch_shape(made, batch):
    x = made.case.draw((*batch, *made.case.shape)).requires_grad_()
    context = None if made.context is None else torch.randn(*batch, CONTEXT_DIM)
    t = made.layer if context is None else made.layer.condition(context)
    y = t(x)
    ladj = t.log_abs_det_jacobian(x, y)
    assert y.shape == t.forward_shape(x.shape) == (*batch, *made.output_shape)
    assert ladj.shape == batch
    back = t.inv(y.detach().clone())
    assert back.shape == t.inverse_shape(y.shape) == x.shape
    assert_close(back, x.detach(), rtol=1e-8, atol=1e-8)
    (y.sum() + ladj.sum()).backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("batch", "context_batch"), [((3, 4), ()), ((3, 4), (4,)), ((), (3,)), ((4,), (3, 1)), ((1, 4), (3, 1))], ids=str
)
@over(CONDITIONAL)
def test_batches_of_input_and_context_broadcast(made, batch, context_batch):
    x = made.case.draw((*batch, *made.case.shape))
    context = torch.randn(*context_batch, CONTEXT_DIM)
    common = torch.broadcast_shapes(batch, context_batch)
    t = made.layer.condition(context)
    y = t(x)
    ladj = t.log_abs_det_jacobian(x, y)
    assert y.shape == t.forward_shape(x.shape) == (*common, *made.output_shape)
    assert ladj.shape == common

    rows = x.expand(*common, *made.case.shape).reshape(-1, *made.case.shape)
    contexts = context.expand(*common, CONTEXT_DIM).reshape(-1, CONTEXT_DIM)
    for row, row_context, row_y, row_ladj in zip(
        rows, contexts, y.reshape(-1, *made.output_shape), ladj.flatten(), strict=True
    ):
        assert_close(made.layer.condition(row_context).forward_and_ladj(row), (row_y, row_ladj))
    back = t.inv(y)
    assert back.shape == t.inverse_shape(y.shape)
    assert_close(back, x.expand(back.shape))


@over(CASES)
def test_event_dims_agree_with_the_shapes(made):
    assert made.layer.domain.event_dim == len(made.case.shape)
    assert made.layer.codomain.event_dim == len(made.output_shape)


@over(CASES)
def test_a_wrong_event_works_or_says_what_was_expected(made):
    for axis in range(len(made.case.shape)):
        shape = list(made.case.shape)
        shape[axis] += 1
        x = made.case.draw((BATCH, *shape))
        try:
            y = made.bound(x)
        except ValueError as error:
            assert "expects" in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert y.shape == made.bound.forward_shape(x.shape)
            assert_close(made.bound.inv(y.detach().clone()), x, rtol=1e-8, atol=1e-8)


@over(CASES)
def test_too_few_dimensions_are_refused(made):
    with pytest.raises(ValueError, match="expects"):
        made.layer(made.case.draw(made.case.shape[1:]))
    with pytest.raises(ValueError, match="expects"):
        made.layer.inv(torch.randn(made.output_shape[1:]))
    with pytest.raises(ValueError, match="expects"):
        made.bound(made.case.draw(made.case.shape[1:]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool], ids=str)
@over(CASES)
def test_numbers_that_are_not_floating_point_are_refused(made, dtype):
    with pytest.raises(TypeError, match="expects a floating-point tensor"):
        made.bound(made.x.to(dtype))
    with pytest.raises(TypeError, match="expects a floating-point tensor"):
        made.bound.inv(torch.ones(BATCH, *made.output_shape, dtype=dtype))


@over(CONDITIONAL)
def test_a_missing_or_misshapen_context_is_refused(made):
    with pytest.raises(ValueError, match="expects a context of shape"):
        made.layer(made.x)
    with pytest.raises(ValueError, match="expects a context of shape"):
        made.layer.condition(torch.randn(BATCH, CONTEXT_DIM + 1))
    with pytest.raises(ValueError, match="expects batch shapes of input and context that broadcast"):
        made.layer.condition(torch.randn(BATCH + 1, CONTEXT_DIM))(made.x)


# Gradients ------------------------------------------------------------------------------------------------------------


@over(CASES)
def test_the_inverse_is_differentiable_in_output_and_context(made):
    y = made.bound.forward_and_ladj(made.x)[0][:1].detach().requires_grad_()
    if made.context is None:
        assert torch.autograd.gradcheck(made.layer.inverse_and_ladj, y)
    else:
        context = made.context[:1].clone().requires_grad_()
        assert torch.autograd.gradcheck(made.layer.inverse_and_ladj, (y, context))


@pytest.mark.parametrize("direction", ["forward_and_ladj", "inverse_and_ladj"])
@over(CASES)
def test_every_parameter_gets_a_gradient(made, direction):
    source = made.x if direction == "forward_and_ladj" else torch.randn(BATCH, *made.output_shape)
    output, ladj = getattr(made.bound, direction)(source)
    for name, gradient in gradients((output * torch.randn_like(output)).sum() + ladj.sum(), made.layer).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.count_nonzero(), name


@over(CONDITIONAL)
def test_the_context_gets_a_gradient(made):
    made.context.requires_grad_()
    x = made.bound.inv(torch.randn(BATCH, *made.output_shape))
    made.bound.forward_and_ladj(x.detach())[0].square().sum().backward()
    assert made.context.grad.count_nonzero() == made.context.numel()


@over(CASES)
def test_scoring_a_sample_has_the_gradient_of_scoring_a_copy_of_it(made):
    d = made.to_noise()
    x = d.sample((4,))
    scored = gradients(d.log_prob(x).sum() + 0 * made.bound(x).sum(), made.layer)
    expected = gradients(d.log_prob(x.clone()).sum(), made.layer)
    assert_close(scored, expected, rtol=1e-10, atol=1e-10)
    assert all(gradient.count_nonzero() for gradient in expected.values())


@over(CASES)
def test_scoring_a_reparametrised_sample_has_the_gradient_of_the_formula(made):
    d = made.to_noise()
    torch.manual_seed(2)
    x = d.rsample((4,))
    torch.manual_seed(2)
    z = d.base_dist.sample((4,))
    t = made.bound
    formula = normal(made.output_shape).log_prob(z) - t.inverse_and_ladj(z)[1]
    assert_close(d.log_prob(x), formula, rtol=1e-10, atol=1e-10)
    expected = gradients(formula.sum() + 0 * x.sum(), made.layer)
    assert_close(gradients(d.log_prob(x).sum() + 0 * x.sum(), made.layer), expected, rtol=1e-8, atol=1e-8)
    assert_close(gradients(d.log_prob(x.clone()).sum(), made.layer), expected, rtol=1e-8, atol=1e-8)
    if expected and formula.requires_grad:
        assert any(gradient.count_nonzero() for gradient in expected.values())


@over({name: made for name, made in CASES.items() if list(made[0].make(made[1]).parameters())})
def test_two_steps_on_the_same_batch(made):
    d = made.to_noise()
    optimizer = torch.optim.SGD(made.layer.parameters(), lr=1e-6)
    losses = []
    for _ in range(2):
        loss = -d.log_prob(made.x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]


# Copies and precision -------------------------------------------------------------------------------------------------


def reload(layer, case, context_dim):
    other = make(case, context_dim, std=0.1).layer
    other.load_state_dict(layer.state_dict())
    return other


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "state_dict"])
@over(CASES)
def test_copies_after_a_call_are_equal(made, how):
    y = made.bound(made.x)
    if how == "deepcopy":
        other = copy.deepcopy(made.layer)
    elif how == "pickle":
        other = pickle.loads(pickle.dumps(made.layer))
    else:
        other = reload(made.layer, made.case, None if made.context is None else CONTEXT_DIM)
    assert all(a is not b for a, b in zip(made.layer.parameters(), other.parameters(), strict=True))
    again = Made(made.case, other, made.x, made.context)
    assert_close(again.bound(made.x), y, rtol=0, atol=0)
    assert_close(again.bound.inv(y.detach().clone()), made.x, rtol=1e-8, atol=1e-8)


def assert_close_to_scale(actual, expected, tolerance):
    scale = expected.abs().max().clamp(min=1)
    assert_close(actual.double() / scale, expected.double() / scale, rtol=0, atol=tolerance)


@over(CASES)
def test_float32_is_close_to_float64(made):
    y, ladj = made.bound.forward_and_ladj(made.x)
    single = Made(made.case, made.layer.float(), made.x.float(), None if made.context is None else made.context.float())
    y32, ladj32 = single.bound.forward_and_ladj(single.x)
    assert y32.dtype == ladj32.dtype == torch.float32
    assert_close_to_scale(y32, y, 1e-4)
    assert_close_to_scale(ladj32, ladj, 1e-4)
    x32, back = single.bound.inverse_and_ladj(y32)
    assert_close_to_scale(x32, made.x, 1e-4)
    assert_close_to_scale(-back, ladj, 1e-4)


@over(CASES)
def test_bfloat16_autocast_leaves_the_formula_in_float32(made):
    single = Made(made.case, made.layer.float(), made.x.float(), None if made.context is None else made.context.float())
    with torch.autocast("cpu", torch.bfloat16):
        y, ladj = single.bound.forward_and_ladj(single.x)
        x, back = single.bound.inverse_and_ladj(y)
    assert y.dtype == ladj.dtype == x.dtype == back.dtype == torch.float32
    assert_close_to_scale(x, single.x, 1e-4)
    assert_close_to_scale(-back, ladj, 1e-4)


# Stock Pyro -----------------------------------------------------------------------------------------------------------


def log_prob(made, x, context=None):
    """The log-density of f(x) under the base plus log|det df/dx|, by the pure methods."""
    z, ladj = made.layer.forward_and_ladj(x, context)
    return normal(made.output_shape).log_prob(z) + ladj


@over(PLAIN)
def test_in_a_stock_transformed_distribution(made):
    d = TransformedDistribution(normal(made.output_shape), [made.layer.inv])
    assert d.event_shape == made.case.shape
    assert_close(d.log_prob(made.x), log_prob(made, made.x), rtol=1e-10, atol=1e-10)
    x = d.sample((2, 3))
    assert x.shape == (2, 3, *made.case.shape)
    assert_close(d.log_prob(x), log_prob(made, x), rtol=1e-10, atol=1e-10)
    assert d.expand((3,)).log_prob(made.x).shape == (3,)


@over({name: made for name, made in PLAIN.items() if made[0].draw is torch.randn})
def test_forwards_in_a_stock_transformed_distribution(made):
    d = TransformedDistribution(normal(made.case.shape), [made.layer])
    y = d.sample((2,))
    x, ladj = made.layer.inverse_and_ladj(y)
    assert_close(d.log_prob(y), normal(made.case.shape).log_prob(x) + ladj, rtol=1e-10, atol=1e-10)


@over(CONDITIONAL)
def test_in_a_stock_conditional_transformed_distribution(made):
    d = ConditionalTransformedDistribution(normal(made.output_shape), [made.layer.inv]).condition(made.context)
    assert (d.batch_shape, d.event_shape) == ((BATCH,), made.case.shape)
    assert_close(d.log_prob(made.x), log_prob(made, made.x, made.context), rtol=1e-10, atol=1e-10)
    x = d.sample((2,))
    assert x.shape == (2, BATCH, *made.case.shape)
    expanded = made.context.expand(2, BATCH, CONTEXT_DIM)
    assert_close(d.log_prob(x), log_prob(made, x, expanded), rtol=1e-10, atol=1e-10)


@over(CONDITIONAL)
def test_equal_contexts_get_noise_of_their_own(made):
    context = made.context[:1].expand(2, CONTEXT_DIM)
    d = ConditionalTransformedDistribution(normal(made.output_shape), [made.layer.inv]).condition(context)
    assert not torch.allclose(*d.sample())


@over(CASES)
def test_the_inverse_of_the_inverse_is_the_layer_itself(made):
    t = made.bound
    assert t.inv.inv is t
    assert made.layer.inv.context_shape == made.layer.context_shape


@over(CASES)
def test_with_cache_works(made):
    t = made.bound.with_cache(1)
    y = t(made.x)
    assert_close(y, made.bound.forward_and_ladj(made.x)[0], rtol=0, atol=0)
    assert_close(
        TransformedDistribution(normal(made.output_shape), [t.inv]).log_prob(made.x), made.to_noise().log_prob(made.x)
    )


@over(CASES)
def test_it_prints_its_parts(made):
    assert type(made.layer).__name__ in repr(made.layer)
    assert len(repr(made.layer)) > len(type(made.layer).__name__) + len("()")


# Formulas and partitions ----------------------------------------------------------------------------------------------


@pytest.fixture(params=ELEMENTWISE.values(), ids=list(ELEMENTWISE))
def formula(request):
    return request.param()


def numbers(formula, *shape):
    return torch.randn(shape), torch.randn(*shape, formula.num_params)


def test_formula_inverts(formula):
    x, theta = numbers(formula, 4, 5)
    y, ladj = formula.forward_and_ladj(x, theta)
    back, ladj_back = formula.inverse_and_ladj(y, theta)
    assert y.shape == ladj.shape == x.shape
    assert_close(back, x, rtol=1e-8, atol=1e-8)
    assert_close(ladj_back, -ladj, rtol=1e-8, atol=1e-8)


def test_formula_ladj_is_the_log_of_its_derivative(formula):
    x, theta = numbers(formula, 20)
    y, ladj = formula.forward_and_ladj(x.requires_grad_(), theta)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close(ladj, slope.abs().log(), rtol=1e-8, atol=1e-8)


def test_formula_inverse_is_differentiable(formula):
    y, theta = (value.requires_grad_() for value in numbers(formula, 3))
    assert torch.autograd.gradcheck(formula.inverse_and_ladj, (y, theta))


def test_formula_refuses_parameters_of_another_shape(formula):
    x, theta = numbers(formula, 4)
    with pytest.raises(ValueError, match="expects its conditioner to return parameters of shape"):
        formula.fitting(theta[:1], x)


@given(data=st.data())
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("name", sorted(first_words(PARTITIONS)))
def test_partition_is_undone_by_join(name, data):
    partition = getattr(transforms, name)(data.draw(st.integers(1, 9)), swap=data.draw(st.booleans()))
    batch = data.draw(st.lists(st.integers(0, 3), max_size=2))
    x = torch.randn(*batch, partition.size, *[2] * (partition.event_dim - 1))
    fixed, free = partition.split(x)
    axis = x.dim() - partition.event_dim
    assert (fixed.shape[axis], free.shape[axis]) == (partition.fixed_size, partition.free_size)
    assert fixed.numel() + free.numel() == x.numel()
    assert torch.equal(partition.join(fixed, free), x)


@pytest.mark.parametrize("make", PARTITIONS.values(), ids=list(PARTITIONS))
def test_partitions_of_the_registry_cover_the_event(make):
    partition = make()
    shape = (partition.size, *[2] * (partition.event_dim - 1))
    x = torch.arange(float(torch.Size(shape).numel())).view(shape)
    parts = torch.cat([part.flatten() for part in partition.split(x)])
    assert parts.sort().values.tolist() == list(range(x.numel()))
