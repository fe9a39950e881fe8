"""Check all laws of a generative model at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pyro
import torch
from torch import Tensor

from pyro_exact.checks import check_tensor
from pyro_exact.models.generative_model import GenerativeModel
from pyro_exact.testing.law import Law, check_laws
from pyro_exact.testing.model import copies, refusals, samples, scores, training
from pyro_exact.testing.model.trial import ROWS, ModelTrial


def check_model(model: GenerativeModel, data: Tensor, std: float = 0.1) -> None:
    r"""Check that a model obeys the laws of a `GenerativeModel`, and name broken laws.

    Use it in the tests of a model of your own. Each law gets a copy of the model in float64 on the
    CPU and in evaluation mode, with weights moved by :math:`N(0, \mathrm{std}^2)`: with the
    initial weights, often zeros, many mistakes are invisible. The model itself, the parameter store
    of Pyro and the random state of torch are not changed.

    Args:
        model: The model, conditioned on classes if it is class-conditional.
        data: A batch of at least four data, of shape (N, ...); the first four are used.
        std: Standard deviation of the noise that is added to the weights. This should be smaller
            for a deep model whose outputs overflow.

    Raises:
        AssertionError: If the model breaks a law; the message names each broken law, with the
            statement, the expected and the actual value.
        TypeError: If ``model`` is not a `GenerativeModel`, or ``data`` not a tensor.
        ValueError: If there are fewer than four data.

    Example:
        >>> from pyro_exact.models import dense_vae
        >>> model = dense_vae((1, 4, 4), latent_dim=2, hidden_dims=(8,))
        >>> check_model(model, torch.randint(2, (4, 1, 4, 4)))
    """
    _check_arguments(model, data)
    make_trial = partial(ModelTrial.of, model, data, std)

    with _untouched_state():
        check_laws(type(model).__name__, model_laws(make_trial()), make_trial)


def model_laws(trial: ModelTrial) -> list[Law[ModelTrial]]:
    """Return the laws that apply to the model of a trial."""
    modules = scores, samples, training, copies, refusals
    found = [law for module in modules for law in vars(module).values() if isinstance(law, Law)]
    return [law for law in found if law.applies(trial)]


@contextmanager
def _untouched_state() -> Iterator[None]:
    """Use float64 and a separate parameter store and random state in a with-block."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
            yield
    finally:
        torch.set_default_dtype(dtype)


def _check_arguments(model: GenerativeModel, data: Tensor) -> None:
    if not isinstance(model, GenerativeModel):
        raise TypeError(
            f"check_model expects a GenerativeModel; got {type(model).__name__}. Derive your model "
            f"from it."
        )
    if check_tensor("check_model", "data", data).dim() == 0 or len(data) < ROWS:
        raise ValueError(
            f"check_model expects at least {ROWS} data, (N, ...); got shape {tuple(data.shape)}. "
            f"Pass a larger batch."
        )
