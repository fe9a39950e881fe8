"""Settings of the training of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyro_exact.checks import shown

MOST_STEPS = 10**12  # the bound for counts of images and for minutes too


@dataclass(frozen=True)
class Elbo:
    """Settings of the training loss. By default the loss is the negative ELBO.

    Attributes:
        anneal: Optional term whose weight rises from ``start``, ``"energy"`` or ``"kl"``; see
            `pyro_exact.infer.AnnealedELBO`.
        start: Initial weight.
        steps: Steps in which the weight would rise by 1.
        free_nats: Nats of each latent that are not penalised; see `pyro_exact.infer.FreeBitsELBO`.
        per: Type of latent that ``free_nats`` applies to: each ``"site"``, or each ``"channel"`` of
            a site.
    """

    anneal: Literal["energy", "kl"] | None = None
    start: float = 0.01
    steps: int = 10_000
    free_nats: float = 0.0
    per: Literal["site", "channel"] = "site"

    def __post_init__(self) -> None:
        annealed = 0 <= self.start <= 1 and 1 <= self.steps <= MOST_STEPS
        if not (annealed and 0 <= self.free_nats < math.inf):
            raise ValueError(
                "training.elbo expects start in [0, 1], positive steps and free_nats of at least "
                f"0; got {self.start}, {shown(self.steps)} and {self.free_nats}. Choose others."
            )

        if self.anneal is not None and self.free_nats:
            raise ValueError("training.elbo expects anneal or free_nats; got both. Choose one.")


@dataclass(frozen=True)
class Training:
    """Settings of the training of a model.

    Attributes:
        steps: Largest allowed count of optimiser steps.
        minutes: Optional maximum time. On a CPU this is the computing time of the training thread,
            independent of other load; on a GPU it is wall time. The learning rate decays according
            to the budget, ``steps`` or ``minutes``, that ends first.
        batch_size: Images per step; several processes share them evenly.
        optimizer: Optimiser for all parameters, in the fused version if torch has a fused version.
        learning_rate: Peak learning rate, used after the warm-up.
        betas: Decay rates of the moments.
        weight_decay: Weight decay, as defined by the optimiser.
        warmup_steps: Steps of linear warm-up.
        decay: Schedule after the warm-up: a constant rate, or a cosine decay to zero at the end of
            the budget.
        gradient_clip: Optional maximum norm of the gradient of all parameters.
        ema_decay: Optional decay of an exponential moving average of the weights; this average is
            used in evaluations.
        precision: ``"bf16"`` runs the networks under autocast; the flow itself stays in float32.
        matmul_precision: Precision of float32 matrix products in training, as in
            `torch.set_float32_matmul_precision`: with ``"high"`` or ``"medium"`` GPUs use TF32, and
            some CPUs a faster library.
        compile: If true, `torch.compile` makes one graph of the flow or the causal network for
            the training steps; the default is false. The first step then takes minutes, which is
            announced; this should be used for long runs (see the benchmark ``bench_compile``), and
            requires one process and ``accumulate`` of 1.
        accumulate: Parts into which each process divides a batch, one after another, to use less
            memory; the gradient of all parts is that of the batch up to rounding.
        initial_images: Training rows used for the data-dependent initialisation; 0 keeps the
            weights as they are, for a model that is already trained.
        flip: If true, mirror training images at random.
        validate_every: Steps between validations, and between checkpoints.
        validate_on: Largest count of validation images used in a validation and at the end of a
            run; the default `None` uses all.
        patience: Optional count of validations without a new lowest loss after which the run ends.
        checkpoint_minutes: Optional training time between checkpoints, in addition to those after
            each validation.
        sample_every: Optional count of validations between pictures of samples, which `fit` writes
            into the folder ``samples`` of the run.
        elbo: See `Elbo`.
    """

    steps: int = 1000
    minutes: float | None = None
    batch_size: int = 64
    optimizer: Literal["adam", "adamw", "adamax"] = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    gradient_clip: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    compile: bool = False
    accumulate: int = 1
    initial_images: int = 256
    flip: bool = False
    validate_every: int = 500
    validate_on: int | None = 1000
    patience: int | None = None
    checkpoint_minutes: float | None = None
    sample_every: int | None = None
    elbo: Elbo = field(default_factory=Elbo)

    def __post_init__(self) -> None:
        self._expect(
            (
                "steps",
                "minutes",
                "batch_size",
                "accumulate",
                "validate_every",
                "validate_on",
                "patience",
                "checkpoint_minutes",
                "sample_every",
            ),
            lambda n: 0 < n <= MOST_STEPS,
            f"a positive number of at most {MOST_STEPS}",
        )
        self._expect(
            ("learning_rate", "gradient_clip"), lambda n: 0 < n < math.inf, "a positive number"
        )
        self._expect(("weight_decay",), lambda n: 0 <= n < math.inf, "0 or more")
        self._expect(
            ("warmup_steps", "initial_images"),
            lambda n: 0 <= n <= MOST_STEPS,
            f"0 or more, and at most {MOST_STEPS}",
        )
        self._expect(("ema_decay",), lambda n: 0 <= n < 1, "a number in [0, 1)")
        self._expect(("betas",), lambda pair: all(0 <= n < 1 for n in pair), "numbers in [0, 1)")

    def budget_fraction(self, step: int, seconds: float) -> float:
        """Return the used fraction of the budget: of steps or of minutes, whichever is larger.

        Args:
            step: Optimiser steps taken.
            seconds: Training time.
        """
        steps = step / self.steps
        if self.minutes is None:
            return steps
        return max(steps, seconds / (60 * self.minutes))

    def learning_rate_factor(self, step: int, seconds: float) -> float:
        """Return the factor on the peak learning rate: warm-up, then decay over the budget.

        Args:
            step: Optimiser steps taken.
            seconds: Training time.
        """
        warmup = 1.0
        if self.warmup_steps:
            warmup = min(1.0, (step + 1) / self.warmup_steps)
        if self.decay == "constant":
            return warmup

        used = min(1.0, self.budget_fraction(step, seconds))
        return warmup * 0.5 * (1 + math.cos(math.pi * used))

    def _expect(self, names: Iterable[str], holds: Callable[[Any], bool], expected: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise ValueError(
                    f"training.{name} expects {expected}; got {shown(value)}. Choose another one."
                )


def caution(made_for: Training, given: Mapping[str, Any]) -> str | None:
    """Return a warning if a learning rate was chosen for larger batches.

    Args:
        made_for: Training settings of a recipe.
        given: Settings used instead of these. There is no warning when they include another
            learning rate or warm-up.
    """
    batch_size = given.get("batch_size", made_for.batch_size)
    if batch_size >= made_for.batch_size or {"learning_rate", "warmup_steps"} & {*given}:
        return None

    return (
        "The learning rate and the warm-up of this recipe are for batches of "
        f"{made_for.batch_size} images; with {batch_size} the first steps may diverge. Lower "
        "training.learning_rate, or raise training.warmup_steps."
    )
