"""A plain Pyro model and guide as a model that `fit` can train."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import Trace_ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import constraints, transform_to

from pyro_exact.checks import check_batch
from pyro_exact.models.generative_model import GenerativeModel, checked_count, refuse_temperature

# A model or a guide in the form that `SVI` takes: it is called with a batch, and with the contexts
# of its rows if the pair has a context.
Statements = Callable[..., object]


class Pair(GenerativeModel):
    r"""A Pyro model and guide. Use it to train the pair by `fit`, with checkpoints and resumption.

    Both are functions or PyroModules that take a batch of data, as for `pyro.infer.SVI`. The rows
    of the batch are declared by a plate of the name ``plate``. Sample statements in this plate are
    the local terms of the ELBO of a row, and all other statements are global. The loss of a batch
    of B of N rows is an unbiased estimate of the negative ELBO of a row:

    .. math::

        -\frac1B \sum_{i \in \mathrm{batch}} \mathrm{ELBO}_i - \frac1N \mathrm{ELBO}_\mathrm{global}

    The plate may be ``pyro.plate("data", len(x))`` or ``pyro.plate("data", N, subsample=x)``.

    As under `SVI`, all parameters are trained that the pair declares by ``pyro.param``,
    ``pyro.module`` or PyroModules. A value that the parameter store of Pyro holds already is the
    initial value; call ``pyro.clear_param_store()`` to start again.

    A score is the ELBO of the local terms of each row, with the global latents drawn from the
    guide: a lower bound of the log-density of the row under the posterior predictive distribution.

    Args:
        model: The joint distribution: observes the batch.
        guide: The approximate posterior.
        plate: Name of the plate of the data (default ``"data"``).
        context_dim: Optional size of a context vector of each row, for regression. Model and guide
            are then called with the batch and the contexts, and the data set must have contexts.

    Example:
        >>> def model(x):
        ...     location = pyro.param("location", torch.zeros(()))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", pyro.distributions.Normal(location, 1), obs=x)
        >>> pair = Pair(model, lambda x: None)
        >>> pair.prepare(torch.zeros(3))
        >>> [name for name, _ in pair.named_parameters()]
        ['parameters_of_store.location']
    """

    def __init__(
        self,
        model: Statements,
        guide: Statements,
        plate: str = "data",
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        for name, function in (("model", model), ("guide", guide)):
            if not callable(function):
                raise TypeError(
                    f"Pair expects a {name} that is called with a batch; got "
                    f"{type(function).__name__}. Pass a function or a PyroModule."
                )

        self.joint, self.posterior = model, guide  # modules are registered by the assignment
        self.plate = plate
        self.parameters_of_store = nn.ParameterDict()
        self.modules_of_store = nn.ModuleDict()
        self._context_dim = context_dim
        self._context: tuple[Tensor, ...] = ()  # the contexts of the rows, of a conditioned pair
        self._shapes: list[torch.Size] = []  # of a row, once known; shared by conditioned pairs

    @property
    def event_shape(self) -> torch.Size | None:
        return self._shapes[0] if self._shapes else None

    @property
    def context_dim(self) -> int | None:
        return None if self._context else self._context_dim

    def condition(self, label: Tensor) -> Pair:
        """Return the pair given the context of each row, (N, context_dim), sharing parameters.

        Raises:
            ValueError: If the pair has no context, or a context of another size.
        """
        if self.context_dim is None:
            raise ValueError(
                "This Pair expects no context; got one. Build it with context_dim, or leave it out."
            )
        check_batch("Pair", "the context", label, (self.context_dim,))

        conditioned = copy.copy(self)
        conditioned._context = (label,)
        return conditioned

    def generate(self, x: Tensor | None = None) -> Tensor:
        raise NotImplementedError("A Pair has a plate of its own. Call its `model` with a batch.")

    def infer(self, x: Tensor) -> None:
        raise NotImplementedError("A Pair has a plate of its own. Call its `guide` with a batch.")

    def model(self, x: Tensor) -> Any:
        """Call the model with the parameters of this pair."""
        with _Parameters(self.parameters_of_store):
            return self.joint(x, *self._context)

    def guide(self, x: Tensor) -> Any:
        """Call the guide with the parameters of this pair."""
        with _Parameters(self.parameters_of_store):
            return self.posterior(x, *self._context)

    @torch.no_grad()
    def prepare(self, x: Tensor) -> None:
        """Call the pair with a batch, so that all parameters exist, and adopt the parameters.

        `fit` calls it. Call it before `load_weights`, too.

        Raises:
            ValueError: If no observation is in the plate of the data.
        """
        self.check(x)
        guide, model = self.traces(x)
        self._check_plate(model, len(x))

        declared = {**_leaves(guide), **_leaves(model)}
        self._adopt_modules({id(leaf) for leaf in declared.values()})
        own = {id(parameter) for parameter in self.parameters()}

        for name, leaf in declared.items():
            if id(leaf) not in own and _key(name) not in self.parameters_of_store:
                parameter = leaf if isinstance(leaf, nn.Parameter) else nn.Parameter(leaf.detach())
                self.parameters_of_store[_key(name)] = parameter
                # `pyro.param` outside the pair returns the trained value, too.
                pyro.get_param_store()._params[name] = parameter
        self._shapes[:] = [x.shape[1:]]

    def loss(self, x: Tensor, elbo: Trace_ELBO, size: int) -> Tensor:
        with _Parameters(self.parameters_of_store), _PerRow(self.plate, len(x) / size):
            loss: Tensor = elbo.differentiable_loss(self.joint, self.posterior, x, *self._context)
        return loss

    def log_weight(self, x: Tensor, samples: int | None = None) -> Tensor:
        """Return the local terms of log p(x, z) - log q(z | x) of each row, in nats.

        Args:
            x: A batch.
            samples: As in `GenerativeModel.log_weight`.
        """
        drawn = []
        for _ in range(1 if samples is None else samples):
            guide, model = self.traces(x)
            drawn.append(self._of_rows(model, len(x)) - self._of_rows(guide, len(x)))
        return drawn[0] if samples is None else torch.stack(drawn)

    def traces(self, x: Tensor, samples: int | None = None) -> tuple[poutine.Trace, poutine.Trace]:
        if samples is not None:
            raise ValueError(
                f"Pair.traces expects one sample at a time, because the plates belong to the model "
                f"and the guide; got samples = {samples}. Leave it out."
            )

        with _Parameters(self.parameters_of_store), _PerRow(self.plate, 1.0):
            guide = poutine.trace(self.posterior).get_trace(x, *self._context)
            replayed = poutine.replay(self.joint, trace=guide)
            model = poutine.trace(replayed).get_trace(x, *self._context)

        guide.compute_log_prob()
        model.compute_log_prob()
        return guide, model

    @torch.no_grad()
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data from the model, with global latents from the guide.

        A conditioned pair draws ``n`` for each context, of shape (n, contexts, *event_shape). The
        model is called with zeros, of which it should use the shape alone.

        Raises:
            ValueError: If there is a temperature, no batch was seen yet, or the model does not
                observe a single site.
        """
        refuse_temperature(temperature)
        n = checked_count(self, n)
        shape = self.event_shape
        if shape is None or self.context_dim is not None:
            raise ValueError(
                "Pair.sample expects a pair that has seen a batch, and a context if it has one; "
                "got none. Call prepare(x), and condition(context)."
            )
        if not self._context:
            return self._draw(torch.zeros(n, *shape, device=self._device))

        x = torch.zeros(len(self._context[0]), *shape, device=self._device)
        return torch.stack([self._draw(x) for _ in range(n)])

    @property
    def _device(self) -> torch.device | None:
        return next((parameter.device for parameter in self.parameters()), None)

    def _draw(self, x: Tensor) -> Tensor:
        """Draw a datum for each row of a batch, of which the shape alone is used."""
        guide, model = self.traces(x)
        observed = [name for name in model.observation_nodes if _in_plate(model.nodes[name], self)]
        if len(observed) != 1:
            raise ValueError(
                f"Pair.sample expects a single observation in the plate {self.plate!r}; got "
                f"{', '.join(observed) or 'none'}. Draw using pyro.infer.Predictive."
            )

        for name in [name for name, site in guide.nodes.items() if _in_plate(site, self)]:
            guide.remove_node(name)
        with _Parameters(self.parameters_of_store), poutine.uncondition():
            replayed = poutine.replay(self.joint, trace=guide)
            drawn = poutine.trace(replayed).get_trace(x, *self._context)

        site: Any = drawn.nodes[observed[0]]
        value: Tensor = site["value"]
        return value

    def _of_rows(self, trace: poutine.Trace, rows: int) -> Tensor:
        """Return the sum of the log-probabilities of the sites in the plate, of shape (rows,)."""
        total = torch.zeros(rows)
        for site in trace.nodes.values():
            frame = _frame(site, self.plate) if site["type"] == "sample" else None
            if frame is None or site_is_subsample(site):
                continue

            log_prob = site["log_prob"]
            aligned = (rows, *[1] * (-frame.dim - 1))
            whole = log_prob.expand(torch.broadcast_shapes(log_prob.shape, aligned))
            total = total.to(whole) + whole.movedim(frame.dim, 0).reshape(rows, -1).sum(-1)
        return total

    def _check_plate(self, model: poutine.Trace, rows: int) -> None:
        frames = [_frame(model.nodes[name], self.plate) for name in model.observation_nodes]
        if any(frame is not None and frame.size == rows for frame in frames):
            return

        plates = {
            frame.name
            for site in model.nodes.values()
            for frame in site.get("cond_indep_stack", ())
        }
        raise ValueError(
            f"Pair expects an observation within pyro.plate({self.plate!r}, len(x)), of {rows} "
            f"rows; got plates {', '.join(sorted(plates)) or 'none'}. Add this plate, or pass its "
            f"name as plate."
        )

    def _adopt_modules(self, declared: set[int]) -> None:
        """Register the modules used by the functions whose parameters are all declared."""
        own = {id(parameter) for parameter in self.parameters()}
        for function in (self.joint, self.posterior):
            for name, module in _modules_of(function):
                parameters = {id(parameter) for parameter in module.parameters()}
                if parameters and parameters <= declared and not parameters <= own:
                    self.modules_of_store[name] = module
                    own |= parameters


class _Parameters(Messenger):
    """Answer ``pyro.param`` using the parameters of a pair."""

    def __init__(self, parameters: nn.ParameterDict) -> None:
        super().__init__()
        self.parameters = parameters

    def _pyro_param(self, message: Any) -> None:
        key = _key(message["name"])
        if key not in self.parameters:
            return

        unconstrained = self.parameters[key]
        constraint = message["kwargs"].get("constraint", constraints.real)
        real = constraint is constraints.real
        message["value"] = unconstrained if real else transform_to(constraint)(unconstrained)


class _PerRow(Messenger):
    """Scale sites in the plate of the data by 1, and all other sites by a factor."""

    def __init__(self, plate: str, factor: float) -> None:
        super().__init__()
        self.plate, self.factor = plate, factor

    def _pyro_sample(self, message: Any) -> None:
        if site_is_subsample(message):
            return

        frame = _frame(message, self.plate)
        # A plate that subsamples has scaled its sites by full_size / size.
        scale = self.factor if frame is None else frame.size / frame.full_size
        message["scale"] = message["scale"] * scale


def _frame(site: Any, plate: str) -> Any:
    """Return the frame of a plate at a site, or `None`."""
    stack = site.get("cond_indep_stack", ())
    return next((frame for frame in stack if frame.name == plate and frame.vectorized), None)


def _in_plate(site: Any, pair: Pair) -> bool:
    return site["type"] == "sample" and _frame(site, pair.plate) is not None


def _leaves(trace: poutine.Trace) -> dict[str, Tensor]:
    """Return the unconstrained parameters that a trace declares, by name."""
    nodes: dict[str, Any] = dict(trace.nodes)
    sites = {name: site["value"] for name, site in nodes.items() if site["type"] == "param"}
    return {
        name: value.unconstrained() if hasattr(value, "unconstrained") else value
        for name, value in sites.items()
    }


def _key(name: str) -> str:
    """Return the name of a parameter in a form that torch allows: without dots."""
    return name.replace(".", "/")


def _modules_of(function: object) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that a function refers to: its object, and its outer and global names."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, nn.Module):
        yield type(owner).__name__, owner

    plain = getattr(function, "__func__", function)
    if not inspect.isfunction(plain):
        return
    outer = inspect.getclosurevars(plain)
    for name, value in {**outer.globals, **outer.nonlocals}.items():
        if isinstance(value, nn.Module):
            yield name, value
