"""Methods that only some models have, which commands and diagnostics call."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from pyro_exact.models.noise_map import NoiseMap


class Abilities(ABC):
    """Methods that only some models have. Define the methods that fit your model.

    The commands and the diagnostics call these methods, so that a model works in every command
    whose methods it defines. By default a method raises an error that says which models have it.
    """

    @abstractmethod
    def sample(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw ``n`` data without gradient, using ``temperature`` to scale the base noise."""

    @property
    def sums_out_missing(self) -> bool:
        """True if a missing element of the data may be NaN; `log_weight` then sums it out."""
        return False

    def encode(self, x: Tensor) -> Tensor:
        """Return the noise or the latent of each datum.

        Raises:
            ValueError: If the model has neither.
        """
        raise self._cannot("encode", "a flow or a VAE, which maps data to noise or to a latent")

    def decode(self, z: Tensor) -> Tensor:
        """Return a datum for each noise or latent.

        Raises:
            ValueError: If the model has neither.
        """
        raise self._cannot("decode", "a flow or a VAE, which maps noise or a latent to data")

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the data after `encode` and `decode`."""
        return self.decode(self.encode(x))

    def reconstruct_with_error(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the data after `encode` and `decode`, and the absolute error of each element."""
        back = self.reconstruct(x)
        return back, (back - x).abs()

    def complete(self, x: Tensor, observed: Tensor, n: int = 1, progress: bool = False) -> Tensor:
        """Return ``n`` completions of each datum, (n, N, *event_shape), with observed elements.

        Args:
            x: Data of shape (N, *event_shape), with any values outside of ``observed``.
            observed: True where an element is observed, of a shape that broadcasts to ``x``.
            n: Completions of each datum.
            progress: If true, show a progress bar.

        Raises:
            ValueError: If the model cannot complete data.
        """
        raise self._cannot("complete", "an autoregressive or an order-agnostic model")

    def sample_with_progress(self, n: int, temperature: float | None = None) -> Tensor:
        """Draw as `sample` does, with a progress bar if there is any."""
        return self.sample(n, temperature)

    def sample_steps(self, n: int, steps: int, temperature: float | None = None) -> Tensor:
        """Draw as `sample` does, with the latents of the first ``steps`` steps alone.

        Args:
            n: How many data to draw.
            steps: Steps whose latents are drawn; all later latents are the means of their priors.
            temperature: As for `sample`.

        Raises:
            ValueError: If the model does not draw step by step.
        """
        raise self._cannot("sample_steps", "a ConvDRAW, which draws an image step by step")

    def noise_map(self, x: Tensor, condition: Tensor | None = None) -> NoiseMap | None:
        """Return the bijection to noise of a flow, with the input; `None` for any other model.

        Args:
            x: Data of shape (N, *event_shape).
            condition: The classes or the contexts of a conditional model, as in `condition`.
        """
        return None

    def _cannot(self, method: str, expected: str) -> ValueError:
        """Return the error of a method that this type of model does not have."""
        return ValueError(
            f"{method} expects {expected}; got {type(self).__name__}, which has no such method. "
            f"Choose another model, or define the method {method} of this one."
        )
