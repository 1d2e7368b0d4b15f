"""``edgellm inspect`` from its arguments to its words."""

import json
from pathlib import Path

from click.testing import CliRunner

from edgellm.bundle.build import build_bundle
from edgellm.cli import main
from edgellm.graph.stage_folder import open_stage
from edgellm.quantize.pipeline import choose_scheme, quantize_stage


def inspect(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["inspect", *map(str, args)])
    return result.exit_code, result.stdout


def test_a_stage_folder_is_described(tiny_stage: Path) -> None:
    digest = open_stage(tiny_stage).record.digest[:12]

    code, out = inspect(tiny_stage, "--context", 100)

    assert code == 0
    assert out == (
        f"""\
tiny: llama, 2 layers, hidden 32, vocabulary 258, fused route
digest {digest}, licence not stated
KV cache: 1 heads of 16, float32, up to 128 tokens; 0.0 MiB at 100

history:
  export: source=random

stage              parameters  weights, MiB  read per token, MiB  MACs per token, M
embedding               8,256          0.03                 0.00               0.00
attention_norm             64          0.00                 0.00               0.00
attention               6,144          0.03                 0.02               0.02
feed_forward_norm          64          0.00                 0.00               0.00
feed_forward           12,288          0.05                 0.05               0.01
final_norm                 32          0.00                 0.00               0.00
head                        0          0.00                 0.03               0.01
total                  26,848          0.11                 0.10               0.04

operators: 8 MatMul, 4 SkipSimplifiedLayerNormalization, 2 GroupQueryAttention, 2 Split, \
2 QuickGelu, 2 Mul, 1 Gather, 1 SimplifiedLayerNormalization, 1 Slice, 1 FusedMatMul
matmuls in float: all 9; the model is not quantized
"""
    )


def test_a_bundle_shows_its_whole_history(tiny_stage: Path, tmp_path: Path) -> None:
    quantize_stage(tiny_stage, tmp_path / "int8", choose_scheme("int8", {}))
    build_bundle(tmp_path / "int8", tmp_path / "tiny.edgellm")

    code, out = inspect(tmp_path / "tiny.edgellm", "--json")

    found = json.loads(out)
    assert code == 0
    assert [step["action"] for step in found["provenance"]] == ["export", "quantize", "bundle"]
    assert found["total"]["parameters"] == 26_848
    assert found["float_matmuls"] == []


def test_layers_are_shown_one_by_one_on_request(tiny_stage: Path) -> None:
    code, out = inspect(tiny_stage, "--layers")

    assert code == 0
    assert "\nlayers.1.feed_forward  " in out
