"""Every fused architecture against PyTorch, on a small random model."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgellm.errors import BundleInvalid, ParityExceeded, UnsupportedModel
from edgellm.export import decoder, parity
from edgellm.export.architectures import ARCHITECTURES, read_shape
from edgellm.export.pipeline import export_model
from edgellm.records.manifest import STAGE_FILE, WEIGHTS_FILE

pytestmark = pytest.mark.torch

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, own head": ("llama", {"tie_word_embeddings": False}),
    "llama, one key per query": ("llama", {"num_key_value_heads": 4}),
    "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3.1": ("llama", {"rope_theta": 5e5, "rope_scaling": LLAMA3_ROPE}),
    "llama, linear rope": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "mistral, window": ("mistral", {"sliding_window": 10, "head_dim": 32}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_says_what_pytorch_says(
    variant: str, make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "GREEDY_TOKENS", 64)

    record = export_model(str(make_model(*VARIANTS[variant])), tmp_path / "out")

    measured = record.provenance[0].measured["parity"]
    assert record.model.route == "fused"
    assert measured["max_abs"] <= measured["tolerance"]
    assert [tuple(shape) for shape in measured["shapes"]] == list(parity.SHAPES)
    assert measured["greedy_equal"] == measured["greedy_total"] == 64


def test_a_graph_that_differs_is_refused_and_leaves_nothing(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = decoder.rotary_tables
    monkeypatch.setattr(
        decoder,
        "rotary_tables",
        lambda dim, positions, theta, scale: tables(dim, positions, theta * 2, scale),
    )

    with pytest.raises(ParityExceeded, match="differs from PyTorch by"):
        export_model(str(make_model("llama", {})), tmp_path / "out")

    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]


def test_a_family_outside_the_table_takes_the_standard_route(
    make_model: Any, tmp_path: Path
) -> None:
    record = export_model(str(make_model("gpt_neox", {"num_key_value_heads": 4})), tmp_path / "out")

    measured = record.provenance[0].measured["parity"]
    assert record.model.route == "standard"
    assert measured["max_abs"] <= measured["tolerance"]
    assert measured["greedy_equal"] == measured["greedy_total"]
    assert {f.path for f in record.files} >= {"model.onnx", WEIGHTS_FILE, "tokenizer.json"}
    assert (tmp_path / "out" / STAGE_FILE).is_file()


def test_a_weight_that_no_rule_reads_is_named(make_model: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_model("llama", {})
    state = load_file(folder / "model.safetensors")
    state["model.layers.0.self_attn.sink"] = state["model.norm.weight"].clone()
    save_file(state, folder / "model.safetensors")

    with pytest.raises(UnsupportedModel, match=r"'model.layers.0.self_attn.sink'"):
        export_model(str(folder), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rotary scaling 'yarn'"),
    ],
)
def test_a_configuration_without_a_rule_is_named(
    change: dict[str, Any], said: str, make_model: Any, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match=said):
        export_model(str(make_model("llama", change)), tmp_path / "out")


def test_a_configuration_that_transformers_cannot_read_is_named(
    make_model: Any, tmp_path: Path
) -> None:
    folder = make_model("llama", {})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "floqt32"}))

    with pytest.raises(BundleInvalid, match=r"cannot read this llama configuration"):
        export_model(str(folder), tmp_path / "out")


def test_weights_that_do_not_fit_the_configuration_are_named(
    make_model: Any, tmp_path: Path
) -> None:
    folder = make_model("llama", {})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 250}))

    with pytest.raises(BundleInvalid, match=r"do not fit the configuration: size mismatch for"):
        export_model(str(folder), tmp_path / "out")


def test_a_configuration_that_lacks_a_size_is_named() -> None:
    with pytest.raises(UnsupportedModel, match="lacks 'num_attention_heads'"):
        read_shape({"model_type": "llama"}, ARCHITECTURES["llama"])
