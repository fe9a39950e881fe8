"""Causal transformers: all positions at once, or step by step."""

from pyro_exact.nn.transformer.causal_transformer import (
    CausalTransformer,
    TransformerState,
)
from pyro_exact.nn.transformer.conditioner import TransformerConditioner

__all__ = ["CausalTransformer", "TransformerConditioner", "TransformerState"]
