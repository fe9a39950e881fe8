"""The models that a recipe can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pyro_exact import flows
from pyro_exact.autoregressive import (
    MADE,
    NADE,
    ConvNADE,
    DeepNADE,
    DiagonalBiLSTM,
    GatedPixelCNN,
    ImageTransformer,
    PixelCNN,
    PixelCNNpp,
    PixelSNAIL,
    RowLSTM,
    multi_scale_pixel_rnn,
    multiscale_pixel_cnn,
    scans,
)
from pyro_exact.checks import shown
from pyro_exact.data import Dataset
from pyro_exact.likelihoods.names import AnyLikelihood
from pyro_exact.models import (
    ConvDRAW,
    RepredictingMultiScale,
    conv_vae,
    dense_vae,
    hierarchical_pixel_vae,
    iaf_vae,
    pixel_vae,
)
from pyro_exact.recipes.entries import (
    ModelEntry,
    autoregressive,
    builder,
    dequantized,
    discrete,
    order_agnostic,
)
from pyro_exact.recipes.parsing import closest_match
from pyro_exact.recipes.registry import find_builder, registered_names
from pyro_exact.recipes.tables import mixture, mixture_of, table


def made(
    shape: tuple[int, int, int],
    hidden_dims: Sequence[int] = (500,),
    masks: int = 1,
    order: Literal["scans"] | None = None,
    seed: int = 0,
    dropout: float = 0.0,
    likelihood: AnyLikelihood | None = None,
) -> MADE:
    """Build a `MADE` whose orders a recipe can name: random orders, or ``"scans"`` of the image."""
    orders = scans(shape)[:masks] if order == "scans" else None
    return MADE(shape, hidden_dims, masks, orders, seed, likelihood, dropout=dropout)


def repredicting_multi_scale(
    shape: tuple[int, int, int], levels: int, **settings: Any
) -> RepredictingMultiScale:
    """Build a `RepredictingMultiScale` of two PixelRNNs."""
    return RepredictingMultiScale(multi_scale_pixel_rnn(shape, levels, **settings))


MODELS: dict[str, ModelEntry] = {
    "conv_draw": builder(ConvDRAW),
    "conv_nade": order_agnostic(ConvNADE),
    "conv_vae": builder(conv_vae, likelihood=True),
    "deep_nade": order_agnostic(DeepNADE),
    "dense_vae": builder(dense_vae, likelihood=True),
    "diagonal_bilstm": autoregressive(DiagonalBiLSTM),
    "flow_pp": dequantized(flows.flow_pp),
    "gated_pixel_cnn": autoregressive(GatedPixelCNN),
    "glow": dequantized(flows.glow),
    "hierarchical_pixel_vae": builder(hierarchical_pixel_vae),
    "iaf_vae": builder(iaf_vae),
    "idf": discrete(flows.idf),
    "image_transformer": autoregressive(ImageTransformer),
    "made": autoregressive(made),
    "maf": table(flows.maf),
    "mixture": mixture_of(mixture),
    "multi_scale_pixel_rnn": autoregressive(multi_scale_pixel_rnn),
    "repredicting_multi_scale": ModelEntry(repredicting_multi_scale, multi_scale_pixel_rnn),
    "multiscale_pixel_cnn": autoregressive(multiscale_pixel_cnn),
    "nade": autoregressive(NADE),
    "nice": dequantized(flows.image_nice),
    "nsf": table(flows.nsf),
    "pixel_cnn": autoregressive(PixelCNN),
    "pixel_cnn_pp": autoregressive(PixelCNNpp),
    "pixel_snail": autoregressive(PixelSNAIL),
    "pixel_vae": builder(pixel_vae),
    "real_nvp": dequantized(flows.image_real_nvp),
    "real_nvp_table": table(flows.real_nvp),
    "row_lstm": autoregressive(RowLSTM),
    "tarflow": dequantized(flows.tarflow),
}


def entry_of(model: Mapping[str, Any], source: str) -> ModelEntry:
    """Return the entry that a model names: of the library, or of a registered builder.

    Args:
        model: ``{"name": ..., setting: value, ...}``.
        source: Name of the model in an error.

    Raises:
        ValueError: If there is no such model, with the most similar name.
    """
    name = model.get("name")
    if isinstance(name, str) and name in MODELS:
        return MODELS[name]
    if isinstance(name, str) and (registered := find_builder(name)) is not None:
        return builder(registered)

    known = [*MODELS, *registered_names()]
    hint = closest_match(name, known) if isinstance(name, str) else ""
    raise ValueError(
        f"{source}: name expects one of {', '.join(known)}; got {shown(name)}.{hint} Choose one."
    )


def parse_settings(model: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of a model as keyword arguments of the builder.

    Raises:
        ValueError: As `entry_of`; if a setting is unknown, missing, or of another type.
    """
    return entry_of(model, source).parse(_settings(model), source)


def settings_from(model: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Return the settings of a model that follow from the data; see `ModelEntry.settings_from`."""
    return {**entry_of(model, "a model").settings_from(data), **_settings(model)}


def with_defaults(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model together with the defaults of the settings that it does not have."""
    return {"name": model["name"], **entry_of(model, "a model").with_defaults(_settings(model))}


def _settings(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key != "name"}
