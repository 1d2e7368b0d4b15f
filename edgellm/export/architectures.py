"""The decoders that take the fused route: facts in a table, one row per family.

A row says where the weights lie and which of the rules in :mod:`edgellm.export.decoder` apply. Most
facts are not in the row because the model states them itself: sizes, window and rotary scaling
come from its configuration, and a projection has a bias where the weights hold one. What a new
family adds is a row, and where it computes something new, a field here with its rule there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgellm.errors import UnsupportedModel


@dataclass(frozen=True, slots=True)
class LayerNames:
    """Where one layer's weights lie, below ``Architecture.layer``."""

    attention_norm: str = "input_layernorm"
    query: str = "self_attn.q_proj"
    key: str = "self_attn.k_proj"
    value: str = "self_attn.v_proj"
    output: str = "self_attn.o_proj"
    feed_forward_norm: str = "post_attention_layernorm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    down: str = "mlp.down_proj"


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family of decoders.

    Attributes:
        embedding: Weight of the token embedding.
        layer: Prefix of a layer's weights, with its index.
        final_norm: Weight of the norm before the head.
        head: Weight of the head, absent where it is tied to the embedding.
        names: Weights within a layer.
        query_key_norm: Weights of the RMS norms of each query and key head, where the family has
            them (Qwen3).
        sliding_window: The configuration's window applies (Qwen2 states one that it does not use).
    """

    embedding: str = "model.embed_tokens.weight"
    layer: str = "model.layers.{layer}."
    final_norm: str = "model.norm.weight"
    head: str = "lm_head.weight"
    names: LayerNames = LayerNames()
    query_key_norm: tuple[str, str] | None = None
    sliding_window: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(),
    "mistral": Architecture(sliding_window=True),
    "qwen2": Architecture(),
    "qwen3": Architecture(query_key_norm=("self_attn.q_norm.weight", "self_attn.k_norm.weight")),
}

ACTIVATIONS = frozenset({"silu"})


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of one decoder, read from its configuration."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_context: int
    norm_epsilon: float
    tied: bool
    window: int | None
    rope_theta: float
    rope_scaling: Mapping[str, Any] | None


def read_shape(config: Mapping[str, Any], architecture: Architecture) -> DecoderShape:
    """Read a Hugging Face configuration.

    Raises:
        UnsupportedModel: The configuration asks for something that no rule covers, or lacks a key.
    """
    family = config["model_type"]
    activation = config.get("hidden_act", "silu")
    if activation not in ACTIVATIONS:
        raise UnsupportedModel(
            f"{family} with activation {activation!r} has no fused route; "
            f"known: {', '.join(sorted(ACTIVATIONS))}"
        )
    if architecture.query_key_norm is None and config.get("use_qk_norm"):
        raise UnsupportedModel(f"{family} with query-key norms has no fused route")
    try:
        heads = config["num_attention_heads"]
        return DecoderShape(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            vocab=config["vocab_size"],
            max_context=config["max_position_embeddings"],
            norm_epsilon=config["rms_norm_eps"],
            tied=bool(config.get("tie_word_embeddings", False)),
            window=config.get("sliding_window") if architecture.sliding_window else None,
            rope_theta=config.get("rope_theta", 10000.0),
            rope_scaling=config.get("rope_scaling"),
        )
    except KeyError as missing:
        raise UnsupportedModel(
            f"the configuration of this {family} model lacks {missing}; "
            "is its config.json complete?"
        ) from None
