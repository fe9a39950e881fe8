"""`check_bijection` names the law that a layer breaks: every law has a layer that breaks it."""

import copy
import math

import pyro
import pytest
import torch
from pyro.distributions import transforms as peers
from torch import nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_exact.nn import Parameters
from pyro_exact.testing import Trial, check_bijection, laws
from pyro_exact.transforms import Bijection, Logit

DIM = 3


class Bent(Bijection):
    """A layer that keeps every law: the sinh-arcsinh map of each dimension."""

    def __init__(self, context_dim=None, output=None):
        super().__init__((DIM,), output, context_dim)
        self.theta = Parameters(
            {"shift": torch.zeros(DIM), "log_scale": torch.zeros(DIM)}, context_dim
        )

    def transform(self, x, context=None):
        shift, log_scale = self.theta(context)
        y = (log_scale.exp() * x.asinh() + shift).sinh()
        return y, self.ladj(x, y, log_scale)

    def invert(self, y, context=None):
        shift, log_scale = self.theta(context)
        x = ((y.asinh() - shift) * (-log_scale).exp()).sinh()
        return x, -self.ladj(x, y, log_scale)

    def ladj(self, x, y, log_scale):
        return (log_scale + (1 + y**2).log() / 2 - (1 + x**2).log() / 2).sum(-1)


class InverseIsOff(Bent):
    def invert(self, y, context=None):
        x, ladj = super().invert(y, context)
        return x * (1 + 1e-6), ladj


class ReachesAPart(Bent):
    """No number beyond 1 is an output."""

    def transform(self, x, context=None):
        y, ladj = super().transform(x, context)
        return y.tanh(), ladj - 2 * y.cosh().log().sum(-1)

    def invert(self, y, context=None):
        y = y.clamp(-1 + 1e-15, 1 - 1e-15)
        x, ladj = super().invert(y.atanh(), context)
        return x, ladj - torch.log1p(-y.square()).sum(-1)


class WrongSign(Bent):
    def ladj(self, x, y, log_scale):
        return -super().ladj(x, y, log_scale)


class WrongSignInverse(Bent):
    def invert(self, y, context=None):
        x, ladj = super().invert(y, context)
        return x, -ladj


class MixesRows(Bent):
    def transform(self, x, context=None):
        return super().transform(x + self.mean(x), context)

    def invert(self, y, context=None):
        x, ladj = super().invert(y, context)
        return x - self.mean(x) / 2, ladj

    def mean(self, x):
        return x.mean(0, keepdim=True) if x.dim() > 1 else torch.zeros(())


class ChangesItsInput(Bent):
    def transform(self, x, context=None):
        with torch.no_grad():
            x += 1
        return super().transform(x, context)


class ForgetsTheContext(Bent):
    def transform(self, x, context=None):
        return super().transform(x, torch.zeros_like(context))

    def invert(self, y, context=None):
        return super().invert(y, torch.zeros_like(context))


class WrongJacobian(Bent):
    """As one writes a layer of torch, without the two methods."""

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros(x.shape[:-1], dtype=x.dtype)


class ConditionedAsInPyro(Bent):
    """A copy with the context inside, which knows nothing of a batch of contexts."""

    def condition(self, context):
        bound = copy.copy(self)
        bound.context_shape, bound._inv = None, None
        bound.theta = lambda _: self.theta(context)
        return bound


class ConditionsToACopy(Bent):
    def condition(self, context):
        return copy.copy(self)


class FirstDimensionOnly(Bent):
    """For batches of one dimension."""

    def ladj(self, x, y, log_scale):
        return (log_scale + (1 + y**2).log() / 2 - (1 + x**2).log() / 2).sum(1)


class LooksForTheLargest(Bent):
    def transform(self, x, context=None):
        return super().transform(x.clamp(max=2 * x.detach().abs().max()), context)


class ConcatenatesTheContext(Bent):
    """Its network gets contexts that were not expanded to the batch of the inputs."""

    def __init__(self, context_dim):
        super().__init__(context_dim)
        self.net = nn.Linear(context_dim + 1, 2 * DIM)

    def transform(self, x, context=None):
        return super().transform(x, self.seen(x, context))

    def invert(self, y, context=None):
        return super().invert(y, self.seen(y, context))

    def seen(self, x, context):
        return torch.cat((context, torch.ones_like(x[..., :1])), -1)[..., :-1]


class DetachedInverse(Bent):
    def invert(self, y, context=None):
        x, ladj = super().invert(y, context)
        return x.detach(), ladj


class DetachedShift(Bent):
    def invert(self, y, context=None):
        shift, log_scale = self.theta(context)
        x = ((y.asinh() - shift.detach()) * (-log_scale).exp()).sinh()
        return x, -self.ladj(x, y, log_scale)


class UnusedParameter(Bent):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(2))


class DetachedWeightsOfTheLadj(Bent):
    def ladj(self, x, y, log_scale):
        return super().ladj(x, y, log_scale.detach())


class DetachedWeightsOfTheOutput(Bent):
    """In both directions: a round trip has no gradient whatever it is."""

    def theta_of(self, context):
        shift, log_scale = self.theta(context)
        return shift, log_scale.detach()

    def transform(self, x, context=None):
        shift, log_scale = self.theta_of(context)
        y = (log_scale.exp() * x.asinh() + shift).sinh()
        return y, self.ladj(x, y, self.theta(context)[1])

    def invert(self, y, context=None):
        shift, log_scale = self.theta_of(context)
        x = ((y.asinh() - shift) * (-log_scale).exp()).sinh()
        return x, -self.ladj(x, y, self.theta(context)[1])


class HalvedParameters(Parameters):
    """One of them has half of its gradient."""

    def __init__(self, halved):
        super().__init__({"shift": torch.zeros(DIM), "log_scale": torch.zeros(DIM)})
        self.halved = halved

    def forward(self, context=None):
        theta = zip(self.names, super().forward(context), strict=True)
        return tuple((p + p.detach()) / 2 if name == self.halved else p for name, p in theta)


class HalvedGradient(Bent):
    def __init__(self, halved):
        super().__init__()
        self.theta = HalvedParameters(halved)


class DetachedContext(Bent):
    def transform(self, x, context=None):
        return super().transform(x, context.detach())


class Remembers(Bent):
    """A memory that asks neither for the direction nor for the gradient."""

    def __init__(self):
        super().__init__()
        self.memory = {}

    def _evaluate(self, given, direction, context=None):
        compute = self.forward_and_ladj if direction == 1 else self.inverse_and_ladj
        return self.remembered(given, compute, direction)

    def remembered(self, source, direction, sign):
        if id(source) in self.memory:
            return self.memory[id(source)][0]
        output, ladj = direction(source)
        self.memory[id(output)] = source, sign * ladj.detach(), output
        return output

    def log_abs_det_jacobian(self, x, y):
        known = self.memory.get(id(x)) or self.memory.get(id(y))
        return known[1] if known else super().log_abs_det_jacobian(x, y)


class KeepsAGraph(Bent):
    """The scale is computed once."""

    def transform(self, x, context=None):
        shift, log_scale = self.theta(context)
        if not hasattr(self, "kept"):
            self.kept = [log_scale.exp()]
        y = (self.kept[0] * x.asinh() + shift).sinh()
        return y, self.ladj(x, y, log_scale)


class KeepsANumber(Bent):
    def transform(self, x, context=None):
        shift, log_scale = self.theta(context)
        if not hasattr(self, "kept"):
            self.kept = log_scale.exp().tolist()
        y = (torch.tensor(self.kept, dtype=x.dtype) * x.asinh() + shift).sinh()
        return y, self.ladj(x, y, log_scale)


class InitializesItsShift(Bent):
    """As an activation normalisation starts."""

    def data_init(self, x, context=None):
        with torch.no_grad():
            self.theta.shift.copy_(-x.asinh().mean(0))
            return self.transform(x, context)[0]


class ReturnsTheOldOutput(InitializesItsShift):
    def data_init(self, x, context=None):
        y = self.transform(x.detach(), context)[0].detach()
        super().data_init(x, context)
        return y


class ReturnsAGraph(InitializesItsShift):
    def initialize(self, x, context=None):
        super().initialize(x, context)
        return self.forward_and_ladj(x, context)[0]


class ReturnsNothing(InitializesItsShift):
    def data_init(self, x, context=None):
        super().data_init(x, context)


class ReplacesItsShift(InitializesItsShift):
    """An optimiser that knows the old one would never train the new one."""

    def data_init(self, x, context=None):
        self.theta.shift = nn.Parameter(self.theta.shift.detach().clone())
        return super().data_init(x, context)


class InitializesOneDirection(Bent):
    """The inverse does not use the statistics of the data."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(DIM))

    def data_init(self, x, context=None):
        self.mean = x.detach().mean(0)
        return super().data_init(x, context)

    def transform(self, x, context=None):
        return super().transform(x - self.mean, context)


class HoldsATensor(Bent):
    def __init__(self):
        super().__init__()
        self.offset = torch.ones(DIM)


class HoldsAFunction(Bent):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x


class Transposed(Bent):
    def __init__(self):
        super().__init__()
        self.pair = nn.Parameter(torch.zeros(DIM, 2).mT)

    def transform(self, x, context=None):
        return super().transform(x + self.pair.sum(0), context)

    def invert(self, y, context=None):
        x, ladj = super().invert(y, context)
        return x - self.pair.sum(0), ladj


class Cancels(Bent):
    def transform(self, x, context=None):
        return super().transform((x + 1e6) - 1e6, context)


class Rounds(Bent):
    """A matrix product, which autocast computes in bfloat16."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(DIM))

    def transform(self, x, context=None):
        y, ladj = super().transform(F.linear(x, self.weight))
        return y, ladj + self.weight.slogdet().logabsdet

    def invert(self, y, context=None):
        x, ladj = super().invert(y)
        return F.linear(x, self.weight.inverse()), ladj - self.weight.slogdet().logabsdet


class BreaksTheGraph(Bent):
    def transform(self, x, context=None):
        return super().transform(x if (x < 1e9).all() else x / 2, context)


class BreaksTheGraphOfTheInverse(Bent):
    def invert(self, y, context=None):
        return super().invert(y if (y < 1e9).all() else y / 2, context)


class TakesAnyEvent(Bent):
    def forward_shape(self, shape):
        return torch.Size(shape)

    inverse_shape = forward_shape


class TakesAnyNumberOfDimensions(Bent):
    def _checked(self, x, context, direction):
        return x, context


class TakesAnything(Bent):
    """The check of the arguments is taken off."""

    def _checked(self, x, context, direction):
        return x, context


BROKEN = {
    "inverse_undoes_forward": InverseIsOff,
    "forward_undoes_inverse": ReachesAPart,
    "ladj_is_that_of_the_jacobian": WrongSign,
    "ladj_of_the_inverse_is_the_negative": WrongSignInverse,
    "rows_do_not_mix": MixesRows,
    "calls_change_nothing": ChangesItsInput,
    "the_context_matters": lambda: ForgetsTheContext(2),
    "stock_calls_agree_with_the_pure_methods": WrongJacobian,
    "a_second_call_is_not_undone": Remembers,
    "in_a_transformed_distribution": WrongJacobian,
    "in_a_conditional_transformed_distribution": lambda: ConditionedAsInPyro(2),
    "equal_contexts_get_noise_of_their_own": lambda: ConditionedAsInPyro(2),
    "a_plain_layer_conditions_to_itself": ConditionsToACopy,
    "shapes_are_as_announced": lambda: Bent(output=(1, DIM)),
    "batches_have_any_shape": FirstDimensionOnly,
    "batches_may_be_empty": LooksForTheLargest,
    "batches_of_input_and_context_broadcast": lambda: ConcatenatesTheContext(2),
    "derivatives_are_those_of_finite_differences": DetachedInverse,
    "every_parameter_gets_a_gradient": UnusedParameter,
    "weight_gradients_are_those_of_finite_differences": DetachedWeightsOfTheLadj,
    "the_context_gets_a_gradient": lambda: DetachedContext(2),
    "a_round_trip_has_no_gradient": DetachedShift,
    "a_sample_without_gradient_is_scored_with_one": Remembers,
    "a_sample_with_gradient_is_scored_through_it": Remembers,
    "two_steps_on_the_same_batch": KeepsAGraph,
    "initialize_returns_the_output": ReturnsTheOldOutput,
    "initialize_leaves_no_graph": ReturnsAGraph,
    "initialize_keeps_the_parameters": ReplacesItsShift,
    "a_compose_initializes_the_layer": ReturnsNothing,
    "an_initialized_layer_keeps_its_formula": InitializesOneDirection,
    "tensors_are_parameters_or_buffers": HoldsATensor,
    "parameters_are_contiguous": Transposed,
    "deepcopy_after_a_call": KeepsAGraph,
    "pickle_after_a_call": HoldsAFunction,
    "state_dict_holds_all_that_is_learned": KeepsANumber,
    "float32_is_close_to_float64": Cancels,
    "autocast_leaves_the_formula_in_float32": Rounds,
    "forward_compiles_into_one_graph": BreaksTheGraph,
    "inverse_compiles_into_one_graph": BreaksTheGraphOfTheInverse,
    "a_wrong_event_works_or_is_refused": TakesAnyEvent,
    "too_few_dimensions_are_refused": TakesAnyNumberOfDimensions,
    "integers_are_refused": TakesAnything,
    "a_missing_or_misshapen_context_is_refused": lambda: TakesAnything(2),
    "a_context_that_is_no_tensor_is_refused": lambda: TakesAnything(2),
    "a_superfluous_context_is_refused": TakesAnything,
}


@pytest.mark.parametrize("context_dim", [None, 2])
def test_check_bijection_passes_a_right_layer(context_dim):
    check_bijection(Bent(context_dim), (DIM,), context_dim)


def test_check_bijection_passes_a_layer_that_starts_from_data():
    check_bijection(InitializesItsShift(), (DIM,))


@pytest.mark.parametrize("name", BROKEN)
def test_check_bijection_names_a_broken_law(name):
    layer = BROKEN[name]()
    dim = None if layer.context_shape is None else 2
    with pytest.raises(
        AssertionError,
        match=rf"{type(layer).__name__} breaks \d+ of \d+ laws:[^$]*\n- {name}: .+\n    .+",
    ):
        check_bijection(layer, (DIM,), dim)


@pytest.mark.parametrize(
    ("make", "weight"),
    [
        (DetachedWeightsOfTheLadj, "theta.log_scale"),
        (DetachedWeightsOfTheOutput, "theta.log_scale"),
        (lambda: HalvedGradient("shift"), "theta.shift"),
        (lambda: HalvedGradient("log_scale"), "theta.log_scale"),
    ],
)
def test_check_bijection_names_a_wrong_gradient_of_a_weight(make, weight):
    message = rf"weight_gradients_are_those_of_finite_differences: .+\n    the gradient of {weight} in f.+; got"
    with pytest.raises(AssertionError, match=message):
        check_bijection(make(), (DIM,))


def test_check_bijection_has_laws_that_can_all_be_broken():
    trials = [Trial.of(Bent(context_dim), (DIM,), context_dim) for context_dim in (None, 2)]
    assert {law.name for trial in trials for law in laws(trial)} == set(BROKEN)


def test_check_bijection_says_what_was_expected_and_found():
    message = (
        r"\n- inverse_undoes_forward: The inverse of an output is its input.+"
        r"\n    the inverse of an output: expected -?\d.*; got -?\d.*\. 9 of 9 elements are off by more than 1e-08\."
    )
    with pytest.raises(AssertionError, match=message):
        check_bijection(InverseIsOff(), (DIM,))


def test_check_bijection_says_what_was_raised():
    message = r"two_steps_on_the_same_batch: .+\n    RuntimeError: Trying to backward through the graph a second time"
    with pytest.raises(AssertionError, match=message):
        check_bijection(KeepsAGraph(), (DIM,))


def test_check_bijection_leaves_everything_as_it_was():
    layer = Bent(context_dim=2)
    pyro.param("mine", torch.ones(()))
    before = copy.deepcopy(layer.state_dict())
    random = torch.get_rng_state()
    check_bijection(layer, (DIM,), context_dim=2)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_default_dtype() == torch.float32
    assert list(pyro.get_param_store()) == ["mine"]
    assert layer.training
    assert all(value.dtype == torch.float32 for value in layer.parameters())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


class Softplus(Bijection):
    """Any number to a positive one, which it says or not."""

    def __init__(self, declared=True):
        super().__init__((None,))
        if declared:
            self.codomain = constraints.independent(constraints.positive, 1)

    def transform(self, x, context=None):
        return F.softplus(x), F.logsigmoid(x).sum(-1)

    def invert(self, y, context=None):
        x = y + torch.log(-torch.expm1(-y))
        return x, -F.logsigmoid(x).sum(-1)


class LeakyReLU(Bijection):
    """A layer without parameters, which may have a context that it does not use."""

    def transform(self, x, context=None):
        return torch.where(x > 0, x, x / 2), torch.where(x > 0, 0.0, -math.log(2)).to(x).sum(-1)

    def invert(self, y, context=None):
        return torch.where(y > 0, y, y * 2), torch.where(y > 0, 0.0, math.log(2)).to(y).sum(-1)


def test_check_bijection_checks_a_layer_where_it_is_defined():
    check_bijection(Logit(1, margin=0, event_dim=1), (DIM,), draw=torch.rand)
    check_bijection(Softplus(declared=False).inv, (DIM,), draw=torch.rand)
    with pytest.raises(AssertionError, match="Inverse breaks"):
        check_bijection(Softplus(declared=False).inv, (DIM,))


def test_check_bijection_takes_a_bounded_side_that_is_declared():
    check_bijection(Softplus(), (DIM,))
    check_bijection(Softplus().inv, (DIM,))
    with pytest.raises(AssertionError, match="forward_undoes_inverse"):
        check_bijection(Softplus(declared=False), (DIM,))


def test_check_bijection_takes_an_unused_context_of_a_layer_without_parameters():
    check_bijection(LeakyReLU((None,), context_dim=2), (DIM,), context_dim=2)


@pytest.mark.gpu
def test_check_bijection_checks_a_layer_on_a_gpu_on_the_cpu():
    layer = Bent().cuda()
    check_bijection(layer, (DIM,))
    assert all(p.is_cuda for p in layer.parameters())


@pytest.mark.parametrize(
    ("layer", "event_shape", "context_dim", "kind", "message"),
    [
        (
            peers.Planar(3),
            (3,),
            None,
            TypeError,
            "expects a Bijection; got Planar. Derive your layer from Bijection",
        ),
        (
            Bent(),
            3,
            None,
            TypeError,
            r"expects an event_shape such as \(3,\) or \(3, 8, 8\); got 3. Pass the shape of",
        ),
        (
            Bent(),
            (3,),
            2,
            ValueError,
            r"a layer with context_shape \(2,\); got None. Pass the context_dim of the layer",
        ),
        (
            Bent(2),
            (3,),
            None,
            ValueError,
            r"a layer with context_shape None; got \(2,\). Pass the context_dim of the layer",
        ),
        (
            Bent(),
            (5, 3),
            None,
            ValueError,
            r"an event_shape of 1 dimensions, as declared by the layer; got \(5, 3\). Pass the",
        ),
    ],
)
def test_check_bijection_says_what_cannot_be_checked(
    layer, event_shape, context_dim, kind, message
):
    with pytest.raises(kind, match=message):
        check_bijection(layer, event_shape, context_dim)
