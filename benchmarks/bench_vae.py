"""A training step of a VAE with 16 planar maps: `train.fit` beside Pyro's conditional layers under SVI."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pyro
import torch
from harness import DEVICE, report
from pyro.distributions import ConditionalTransformedDistribution, Normal
from pyro.distributions.transforms import ConditionalPlanar
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn
from training import fit_step, loop_step

from pyro_exact.data import Images
from pyro_exact.recipes import Recipe, Training

ROUNDS, STEPS, BATCH = 5, 60, 100
SHAPE, LATENTS, HIDDEN, LENGTH = (1, 28, 28), 40, 400, 16


class Hypernet(nn.Module):
    """b, u and w of one map, linear in the features, as ours are."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(HIDDEN, 1 + 2 * LATENTS)

    def forward(self, h: Tensor) -> tuple[Tensor, ...]:
        return self.linear(h).split([1, LATENTS, LATENTS], dim=-1)


class Stock(nn.Module):
    """The same networks with a posterior that is put together from Pyro's own parts."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.normal = encoder, decoder, nn.Linear(HIDDEN, 2 * LATENTS)
        self.maps = nn.ModuleList(ConditionalPlanar(Hypernet()) for _ in range(LENGTH))
        self.register_buffer("origin", torch.zeros(LATENTS))

    def model(self, x: Tensor) -> None:
        pyro.module("model", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", Normal(self.origin, 1.0).to_event(1))
            logits = self.decoder(z).squeeze(-1)
            pyro.sample("x", pyro.distributions.Bernoulli(logits=logits).to_event(3), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("model", self)
        with pyro.plate("data", len(x)):
            h = self.encoder(x)
            mean, raw = self.normal(h).chunk(2, -1)
            base = Normal(mean, nn.functional.softplus(raw)).to_event(1)
            pyro.sample("z", ConditionalTransformedDistribution(base, list(self.maps)).condition(h))


def main() -> None:
    """Measure and report."""
    torch.manual_seed(0)
    images = Images(
        "noise", *(torch.randint(2, (1000, *SHAPE), dtype=torch.uint8) for _ in range(3)), levels=2
    )
    training = Training(steps=STEPS, batch_size=BATCH, validate_every=10 * STEPS, validate_on=1)
    model = {
        "name": "dense_vae",
        "latent_dim": LATENTS,
        "hidden_dims": [HIDDEN] * 2,
        "flow": "planar",
        "flow_layers": LENGTH,
    }
    recipe = Recipe("bench_vae", model, "noise", training)

    def svi(
        model: Callable[[Tensor], object], guide: Callable[[Tensor], object]
    ) -> Callable[[Tensor], object]:
        pyro.clear_param_store()
        stock = SVI(model, guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
        return lambda x: stock.step(x.to(DEVICE).float())

    times: dict[str, list[float]] = {
        "ours, train.fit": [],
        "ours, SVI": [],
        "Pyro's ConditionalPlanar, SVI": [],
    }
    for _ in range(ROUNDS):
        ours = recipe.build(SHAPE, 2).to(DEVICE)
        pyros = Stock(ours.encoder, ours.decoder).to(DEVICE)
        times["ours, train.fit"].append(fit_step(recipe, images))
        times["ours, SVI"].append(loop_step(svi(ours.model, ours.guide), images, STEPS, BATCH))
        times["Pyro's ConditionalPlanar, SVI"].append(
            loop_step(svi(pyros.model, pyros.guide), images, STEPS, BATCH)
        )
    ms = {name: statistics.median(values) for name, values in times.items()}
    first, second, third = ms
    ratios = [
        {"what": f"{third} / {first}", "value": ms[third] / ms[first], "bar": "at least 1.5"},
        {"what": f"{third} / {second}", "value": ms[third] / ms[second], "bar": "for comparison"},
    ]
    what = f"a training step of a VAE with {LATENTS} latents and {LENGTH} amortised planar maps, batch {BATCH}"
    report("vae", what, ms, {}, ratios)


if __name__ == "__main__":
    main()
