"""A model beyond protobuf's 2 GiB: written and opened without holding it twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GIB = 1 << 30
PROGRAM = '''
import json, resource, sys
from pathlib import Path
import numpy as np
from edgellm.export.architectures import ARCHITECTURES, DecoderShape
from edgellm.export.decoder import build_decoder
from edgellm.graph.stage_folder import save_graph
from edgellm.records.manifest import KVLayout, ModelFacts
from edgellm.runner.session import Engine, Session

SHAPE = DecoderShape(layers=8, hidden=2048, heads=16, kv_heads=4, head_dim=128, vocab=32000,
    max_context=64, norm_epsilon=1e-5, tied=True, window=None, rope_theta=1e4, rope_scaling=None)
WIDE = 9216
ROWS = {"embed_tokens": SHAPE.vocab, "k_proj": 512, "v_proj": 512}
ROWS |= {"gate_proj": WIDE, "up_proj": WIDE}


class Weights:
    """Each weight is made when it is read, and differs in one place that the test looks at."""

    def names(self):
        yield "model.embed_tokens.weight"
        yield "model.norm.weight"
        for i in range(SHAPE.layers):
            for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                         "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
                         "input_layernorm", "post_attention_layernorm"):
                yield f"model.layers.{i}.{part}.weight"

    def shape(self, name):
        part = name.split(".")[-2]
        if "norm" in part:
            return (SHAPE.hidden,)
        return (ROWS.get(part, SHAPE.hidden), WIDE if part == "down_proj" else SHAPE.hidden)

    def read(self, name):
        return np.full(self.shape(name), 1e-3, np.float32)


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


folder = Path(sys.argv[1])
save_graph(build_decoder("large", ARCHITECTURES["llama"], SHAPE, Weights()), folder)
written = peak_bytes()
kv = KVLayout(SHAPE.layers, SHAPE.kv_heads, SHAPE.head_dim, "float32", SHAPE.max_context)
facts = ModelFacts("large", "llama", "generate", SHAPE.vocab, SHAPE.hidden, kv, "fused", None, ())
logits = Session(folder / "model.onnx", facts, engine=Engine(2)).step(1)
finite = bool(np.isfinite(logits).all())
print(json.dumps({"written": written, "opened": peak_bytes(), "finite": finite}))
'''


def test_weights_beyond_two_gibibytes_stream_to_disk_and_open(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout)
    size = (tmp_path / "model.onnx.data").stat().st_size
    assert size > 2 * GIB
    assert (tmp_path / "model.onnx").stat().st_size < 1 << 20
    assert peak["finite"]
    # Written: the largest tensor and its transpose, not the model. Opened: the model once.
    assert peak["written"] < 1 * GIB
    assert peak["opened"] < 1.5 * size
