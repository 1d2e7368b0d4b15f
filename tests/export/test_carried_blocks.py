"""A GGUF file's blocks survive the whole road: file, graph, quantized graph."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgellm.export.architectures import ARCHITECTURES, read_shape
from edgellm.export.decoder import build_decoder
from edgellm.export.source import open_source
from edgellm.quantize.apply import quantize
from edgellm.quantize.pipeline import choose_scheme

HIDDEN, HEADS, KV_HEADS, FFN = 32, 4, 2, 64
SHAPES = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (KV_HEADS * HIDDEN // HEADS, HIDDEN),
    "attn_v": (KV_HEADS * HIDDEN // HEADS, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "ffn_gate": (FFN, HIDDEN),
    "ffn_up": (FFN, HIDDEN),
    "ffn_down": (HIDDEN, FFN),
}


@pytest.mark.parametrize(("kind", "scheme"), [("Q8_0", "int8"), ("Q4_0", "int4")])
def test_blocks_are_those_of_the_file(
    kind: str,
    scheme: str,
    write_gguf: Callable[..., Path],
    embedding: dict[str, np.ndarray],
) -> None:
    rng = np.random.default_rng(2)
    type_ = gguf.GGMLQuantizationType[kind]
    tensors: dict[str, object] = {"output_norm.weight": np.ones(HIDDEN, np.float32)}
    table = gguf.quants.quantize(embedding["token_embd.weight"], gguf.GGMLQuantizationType.Q8_0)
    tensors["token_embd.weight"] = (table, gguf.GGMLQuantizationType.Q8_0)
    for layer in range(2):
        for part, shape in SHAPES.items():
            weight = rng.normal(0, 0.1, shape).astype(np.float32)
            tensors[f"blk.{layer}.{part}.weight"] = (gguf.quants.quantize(weight, type_), type_)
        for norm in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    source = open_source(str(write_gguf(tensors)))
    row = ARCHITECTURES["llama"]
    graph = build_decoder("tiny", row, read_shape(source.config, row), source.weights)
    stored_as = Counter(source.weights.stored_as(name) for name in source.weights.names())

    chosen = choose_scheme(scheme, {}).for_source(dict(stored_as.most_common()))
    outcome = quantize(graph.graph, chosen)

    assert [layer.name for layer in outcome.quantized if not layer.exact] == []
    assert len(outcome.quantized) == 9
