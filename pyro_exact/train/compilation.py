"""Compile the flow or the network of a model for the training steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from pyro_exact.autoregressive import CausalNet
from pyro_exact.transforms import Bijection
from pyro_exact.transforms.inverse import Inverse

_METHODS = ("transform", "invert", "forward")
SECONDS_PER_MODULE = 0.5  # of compiling on one core: a rough value, only for the message


class Compilation(Callback):
    """Compiles a model when training starts, and reports the compiling time.

    Pyro's handlers stay in Python. The compiled parts are the outermost bijections and causal
    networks, which take nearly all of a step. Names of weights do not change, and validation, the
    average of the weights and checkpoints use the model as it was.

    Args:
        say: Function used for messages; the default is `print`.
    """

    def __init__(self, say: Callable[[str], None] = print) -> None:
        self.say = say
        self._started: float | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        modules = compile_parts(pl_module.model)
        self.say(
            f"Compiling the model in the first step, which takes about "
            f"{max(1, round(SECONDS_PER_MODULE * modules))} s on one core."
        )
        self._started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        if self._started is not None:
            seconds = time.perf_counter() - self._started
            self.say(f"The first step, with compiling, took {seconds:.0f} s.")
            self._started = None

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Remove the compiled methods, so that the model can be copied and pickled."""
        for part in compilable(pl_module.model):
            for name in _METHODS:
                vars(part).pop(name, None)


def compile_parts(model: nn.Module) -> int:
    """Compile the outermost bijections and causal networks of a model for training steps.

    Returns:
        A count of the compiled modules; compiling time is about proportional to this count.

    Raises:
        ValueError: If the model has no such part.
    """
    parts = list(compilable(model))
    if not parts:
        raise ValueError(
            f"training.compile expects a model with a flow or a causal network; got "
            f"{type(model).__name__}. Leave it out."
        )

    for part in parts:
        names = ("transform", "invert") if isinstance(part, Bijection) else ("forward",)
        for name in names:
            # An attribute of the instance, which is no parameter and in no state.
            setattr(part, name, _in_training(part, getattr(part, name)))
    return sum(1 for part in parts for _ in part.modules())


def compilable(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost bijections and causal networks of a module."""
    if isinstance(module, (Bijection, CausalNet)) and not isinstance(module, Inverse):
        yield module
        return
    for child in module.children():
        yield from compilable(child)


def _in_training(part: nn.Module, eager: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that is compiled for training steps, and as before for everything else.

    Validation uses batches of other sizes, and each size would be compiled again.
    """
    compiled = torch.compile(eager, dynamic=False)

    def method(*args: Any) -> Any:
        training = part.training and torch.is_grad_enabled()
        return (compiled if training else eager)(*args)

    return method
