"""Decoders whose layers are known by their weights, whatever number they have."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgellm.export.architectures import ARCHITECTURES, DecoderShape
from edgellm.export.decoder import build_decoder
from edgellm.graph.stage_folder import StageFolder, finish_stage, open_stage, save_graph
from edgellm.records.manifest import MODEL_FILE, TOKENIZER_FILE, KVLayout, ModelFacts, Step
from edgellm.runner.session import Engine, Session

Array = NDArray[np.float32]

HIDDEN, WIDTH, VOCAB = 16, 96, 258
IDS = np.arange(40, 60, dtype=np.int64)[None]


class Decoder:
    """Weights of a decoder made of the given layers of one endless random model.

    ``tensors`` may be changed before :meth:`graph` is built.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = len(layers)
        self.tensors: dict[str, Array] = {
            "model.embed_tokens.weight": _random(1000, VOCAB, HIDDEN),
            "model.norm.weight": np.ones(HIDDEN, np.float32),
        }
        for number, layer in enumerate(layers):
            at = f"model.layers.{number}."
            self.tensors |= {
                f"{at}self_attn.q_proj.weight": _random(10 * layer, 32, HIDDEN),
                f"{at}self_attn.k_proj.weight": _random(10 * layer + 1, 16, HIDDEN),
                f"{at}self_attn.v_proj.weight": _random(10 * layer + 2, 16, HIDDEN),
                f"{at}self_attn.o_proj.weight": _random(10 * layer + 3, HIDDEN, 32),
                f"{at}mlp.gate_proj.weight": _random(10 * layer + 4, WIDTH, HIDDEN),
                f"{at}mlp.up_proj.weight": _random(10 * layer + 5, WIDTH, HIDDEN),
                f"{at}mlp.down_proj.weight": _random(10 * layer + 6, HIDDEN, WIDTH),
                f"{at}input_layernorm.weight": 1 + _random(10 * layer + 7, HIDDEN),
                f"{at}post_attention_layernorm.weight": 1 + _random(10 * layer + 8, HIDDEN),
            }

    def names(self) -> list[str]:
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def read(self, name: str) -> Array:
        return self.tensors[name]

    def stored_as(self, name: str) -> str:
        return "F32"

    def graph(self) -> ir.Model:
        shape = DecoderShape(
            layers=self.layers,
            hidden=HIDDEN,
            heads=2,
            kv_heads=1,
            head_dim=16,
            vocab=VOCAB,
            max_context=64,
            norm_epsilon=1e-5,
            tied=True,
            window=None,
            rope_theta=10000.0,
            rope_scaling=None,
        )
        return build_decoder("test", ARCHITECTURES["llama"], shape, self)

    def facts(self) -> ModelFacts:
        return ModelFacts(
            name="test",
            architecture="llama",
            task="text-generation",
            vocab_size=VOCAB,
            hidden_size=HIDDEN,
            kv=KVLayout(self.layers, 1, 16, "float32", 64),
            route="fused",
            bos_token_id=None,
            stop_token_ids=(257,),
        )


def _random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 0.2, shape).astype(np.float32)


@pytest.fixture
def decoder() -> Callable[..., Decoder]:
    """Give ``decoder(0, 2)``: a decoder of layers 0 and 2 of the endless model."""
    return lambda *layers: Decoder(layers)


@pytest.fixture
def logits(tmp_path: Path) -> Callable[[ir.Model, ModelFacts], Array]:
    """Run a graph over fixed tokens and give the logits of every position."""

    def run(graph: ir.Model, facts: ModelFacts) -> Array:
        save_graph(graph, tmp_path)
        session = Session(tmp_path / MODEL_FILE, facts, engine=Engine(1))
        return session.forward(IDS, every_position=True).copy()

    return run


@pytest.fixture
def stage(tmp_path: Path, byte_tokenizer: Tokenizer) -> StageFolder:
    """Give a stage folder of three layers over bytes."""
    model, folder = Decoder([0, 1, 2]), tmp_path / "stage"
    folder.mkdir()
    save_graph(model.graph(), folder)
    byte_tokenizer.save(str(folder / TOKENIZER_FILE))
    finish_stage(folder, model.facts(), (Step("export", {"source": "random"}, {}, {}),))
    return open_stage(folder)
