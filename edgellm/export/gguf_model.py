"""GGUF models in Hugging Face terms: configuration and weights under the names of a state dict.

One row of ``ARCHITECTURES`` per family; what it says was taken from llama.cpp's converter, which
these functions undo.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgellm.errors import BundleInvalid, UnsupportedModel
from edgellm.export.gguf_file import GgufFile
from edgellm.export.rotary import rotary_frequencies

WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
PER_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ROPE_FACTORS = "rope_freqs.weight"

REQUIRED = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}


@dataclass(frozen=True, slots=True)
class GgufArchitecture:
    """What llama.cpp's converter does to one family.

    Attributes:
        hf_class: The Hugging Face class whose state dict the names below belong to.
        query_key_rows_permuted: Rows of q and k are stored for rotation of adjacent pairs.
        bias_flags: Configuration key to the tensor whose presence sets it.
        fixed: Configuration that a GGUF file leaves out because the family has one value.
    """

    hf_class: str
    query_key_rows_permuted: bool = False
    bias_flags: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=lambda: {"hidden_act": "silu"})


ARCHITECTURES = {
    "llama": GgufArchitecture(
        hf_class="LlamaForCausalLM",
        query_key_rows_permuted=True,
        bias_flags={"attention_bias": "blk.0.attn_output.bias", "mlp_bias": "blk.0.ffn_down.bias"},
    ),
    "qwen2": GgufArchitecture(hf_class="Qwen2ForCausalLM"),
}


def architecture_of(file: GgufFile) -> tuple[str, GgufArchitecture]:
    """Return a file's family and its row.

    Raises:
        UnsupportedModel: The family is not in the table.
    """
    name = file.metadata.get("general.architecture")
    if name not in ARCHITECTURES:
        raise UnsupportedModel(
            f"{file.path.name} holds a model of architecture {name!r}; edgellm reads "
            f"{', '.join(sorted(ARCHITECTURES))} from GGUF, others from a Hugging Face folder"
        )
    return name, ARCHITECTURES[name]


def read_config(file: GgufFile) -> dict[str, Any]:
    """Return the model's configuration as Hugging Face's ``config.json`` has it.

    Raises:
        BundleInvalid: A value is missing or of the wrong type.
        UnsupportedModel: The family, or its rotary embedding, is not handled.
    """
    family, row = architecture_of(file)
    values = {hf: _number(file, f"{family}.{key}") for key, hf in REQUIRED.items()}
    heads, width = values["num_attention_heads"], values["hidden_size"]
    head_dim = file.integer(f"{family}.attention.key_length", width // max(heads, 1))
    if file.integer(f"{family}.rope.dimension_count", head_dim) != head_dim:
        raise UnsupportedModel(f"{file.path.name} rotates only a part of each head (rope)")
    theta = _number(file, f"{family}.rope.freq_base", 10000.0)
    return {
        "model_type": family,
        "architectures": [row.hf_class],
        **values,
        "num_key_value_heads": file.integer(f"{family}.attention.head_count_kv", heads),
        "head_dim": head_dim,
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(file, family, theta, head_dim),
        "vocab_size": _embedding_rows(file),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "bos_token_id": file.metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.metadata.get("tokenizer.ggml.eos_token_id"),
        **{flag: tensor in file.tensors for flag, tensor in row.bias_flags.items()},
        **row.fixed,
    }


def _number(file: GgufFile, key: str, default: float | None = None) -> Any:
    value = file.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise BundleInvalid(
            f"{file.path.name} gives {key} as {value!r}, which is not a positive number: "
            "it is damaged or of another kind, download it again"
        )
    # Floats are stored as float32; the shortest decimal for it is what the author wrote.
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _embedding_rows(file: GgufFile) -> int:
    if "token_embd.weight" not in file.tensors:
        raise BundleInvalid(
            f"{file.path.name} has no token_embd.weight: it holds a vocabulary or an adapter, "
            "not a whole model"
        )
    return file.tensors["token_embd.weight"].shape[0]


def _rope_scaling(
    file: GgufFile, family: str, theta: float, head_dim: int
) -> dict[str, Any] | None:
    kind = file.metadata.get(f"{family}.rope.scaling.type", "none")
    if ROPE_FACTORS in file.tensors:
        return _llama3_scaling(file, theta, head_dim)
    if kind == "none":
        return None
    factor = _number(file, f"{family}.rope.scaling.factor")
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        original = _number(file, f"{family}.rope.scaling.original_context_length")
        return {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original,
        }
    raise UnsupportedModel(f"{file.path.name} scales its rotary embedding by {kind!r}")


def _llama3_scaling(file: GgufFile, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Find the Llama 3 rule whose factors the file stores; all known models share three values."""
    stored = file.read(ROPE_FACTORS)
    rule = {
        "rope_type": "llama3",
        "factor": float(stored.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    if (stored == 1).all():
        return None
    plain = rotary_frequencies(head_dim, theta, None)
    expected = plain / rotary_frequencies(head_dim, theta, rule)
    if stored.shape != expected.shape or not np.allclose(stored, expected, rtol=1e-4):
        raise UnsupportedModel(
            f"{file.path.name} scales its rotary embedding by {ROPE_FACTORS} in a way that is not "
            "Llama 3's; use the model's Hugging Face folder"
        )
    return rule


class GgufWeights:
    """A GGUF file's tensors under Hugging Face names, in Hugging Face's row order."""

    def __init__(self, file: GgufFile) -> None:
        """Name every tensor; nothing is read yet.

        Raises:
            UnsupportedModel: The family, or a tensor of it, is not known.
        """
        self._file = file
        family, self._row = architecture_of(file)
        heads = file.integer(f"{family}.attention.head_count", 0)
        kv_heads = file.integer(f"{family}.attention.head_count_kv", heads)
        self._heads = {"q_proj": heads, "k_proj": kv_heads}
        self._stored = {_hf_name(file, name): name for name in file.tensors if name != ROPE_FACTORS}

    def names(self) -> Collection[str]:
        """Return the state dict's names."""
        return self._stored.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape."""
        return self._file.tensors[self._stored[name]].shape

    def stored_as(self, name: str) -> str:
        """Return the ggml type that the file holds, such as ``Q8_0``."""
        return self._file.tensors[self._stored[name]].type

    def read(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32, C-contiguous."""
        values = self._file.read(self._stored[name])
        heads = self._heads.get(name.split(".")[-2])
        if not heads or not self._row.query_key_rows_permuted:
            return values
        if len(values) % (2 * heads):
            raise BundleInvalid(
                f"{self._file.path.name} has {len(values)} rows in {self._stored[name]} for "
                f"{heads} heads: it is damaged, download it again"
            )
        return _unpermuted(values, heads)


def _hf_name(file: GgufFile, name: str) -> str:
    """Translate ``blk.3.attn_q.weight`` to ``model.layers.3.self_attn.q_proj.weight``."""
    match = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    layer, stem, suffix = match.groups() if match else (None, "", "")
    known = WHOLE if layer is None else PER_LAYER
    if stem not in known:
        raise UnsupportedModel(
            f"{file.path.name} has a tensor {name}, which no "
            f"{file.metadata['general.architecture']} model that edgellm knows has"
        )
    prefix = "" if layer is None else f"model.layers.{layer}."
    return f"{prefix}{known[stem]}.{suffix}"


def _unpermuted(rows: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo the converter's interleaving of each head's two halves, for weights and biases."""
    half = rows.shape[0] // heads // 2
    split = rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(split.reshape(rows.shape))
