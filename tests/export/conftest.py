"""Tiny models as files: GGUF written by gguf itself, and Hugging Face folders."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HIDDEN, HEADS, KV_HEADS, FFN, LAYERS = 32, 4, 2, 64, 2
HEAD_DIM = HIDDEN // HEADS

MERGES = ["a b", "1 2", "12 3", "123 4", "\u0120 \u0120", "\u010a \u010a", "' S", "! \u010a", "$ $"]
MERGES += ["\u0120 ab", "\u0120 1", "\u0120 '", "! !", "1 a"]
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL, *BYTES, *(merge.replace(" ", "") for merge in MERGES), "<think>"]
TYPES = [3] * len(CONTROL) + [1] * (len(BYTES) + len(MERGES)) + [4]

BYTE_LEVEL = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": TYPES,
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
}


def model_metadata(family: str) -> dict[str, Any]:
    return {
        f"{family}.block_count": LAYERS,
        f"{family}.context_length": 128,
        f"{family}.embedding_length": HIDDEN,
        f"{family}.feed_forward_length": FFN,
        f"{family}.attention.head_count": HEADS,
        f"{family}.attention.head_count_kv": KV_HEADS,
        f"{family}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{family}.rope.freq_base": 1e6,
    }


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    adders = {str: "string", bool: "bool", int: "uint32", float: "float32", list: "array"}
    getattr(writer, f"add_{adders[type(value)]}")(key, value)


WriteGguf = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> WriteGguf:
    """Write a GGUF file; metadata given replaces the tiny model's, None leaves a key out.

    Tensors are float32 arrays, or pairs of packed bytes and their ggml type.
    """

    def write(
        tensors: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
        family: str = "llama",
        name: str = "tiny.gguf",
    ) -> Path:
        writer = gguf.GGUFWriter(tmp_path / name, family)
        for key, value in (model_metadata(family) | BYTE_LEVEL | dict(metadata or {})).items():
            if value is not None:
                _add(writer, key, value)
        for tensor, values in tensors.items():
            data, kind = values if isinstance(values, tuple) else (values, None)
            writer.add_tensor(tensor, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    return write


@pytest.fixture
def embedding() -> dict[str, np.ndarray]:
    """The least that makes a GGUF file a model."""
    values = np.random.default_rng(0).standard_normal((len(TOKENS), HIDDEN), np.float32)
    return {"token_embd.weight": values}


@pytest.fixture
def plain_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(BYTES)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


@pytest.fixture
def folder(tmp_path: Path, plain_tokenizer: Tokenizer) -> Path:
    """A Hugging Face folder that lacks only its weights."""
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    config = {"model_type": "llama", "hidden_size": HIDDEN, "eos_token_id": 5, "bos_token_id": 4}
    (folder / "config.json").write_text(json.dumps(config))
    plain_tokenizer.save(str(folder / "tokenizer.json"))
    return folder


MODEL_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 258,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}


@pytest.fixture
def make_model(tmp_path: Path, byte_tokenizer_json: str) -> Any:
    """Save a random model of a family as a Hugging Face folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    def make(family: str, options: dict[str, Any]) -> Path:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(family, **(MODEL_SIZES | options))
        )
        for name, tensor in model.named_parameters():
            if name.endswith("bias") or "norm" in name:  # initialised to constants
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
        folder = tmp_path / "model"
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(byte_tokenizer_json)
        return folder

    return make
