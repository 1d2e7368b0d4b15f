"""Counts against sizes that are known: hidden 32, 2 + 1 heads of 16, width 64, vocabulary 258."""

from pathlib import Path

import pytest

from edgellm.errors import BundleInvalid
from edgellm.graph.inspect import GraphWork, Work, inspect, parse
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.records import stages
from edgellm.records.manifest import MODEL_FILE

EMBEDDING = 258 * 32
LAYER = 32 * (64 + 32 + 3 * 64)
NORMS = 5 * 32


def looked_at(folder: Path, context: int = 0) -> GraphWork:
    stage = open_stage(folder)
    return inspect(load_graph(stage), stage.record.model, context)


def test_a_float_model_is_counted_from_its_sizes(tiny_stage: Path) -> None:
    work = looked_at(tiny_stage)

    assert work.total.parameters == EMBEDDING + 2 * LAYER + NORMS
    assert work.total.macs == EMBEDDING + 2 * LAYER + 2 * 2 * 32  # each layer attends to 1 token
    kinds = work.by(stages.kind_of)
    assert kinds["feed_forward"].parameters == 2 * 32 * 3 * 64
    assert kinds["embedding"] == Work(EMBEDDING, 4 * EMBEDDING, 4 * 32, 0)


def test_a_tied_head_is_held_once_and_read_by_both(tiny_stage: Path) -> None:
    head = looked_at(tiny_stage).by(stages.kind_of)["head"]

    assert head.parameters == 0
    assert head.read_bytes >= 4 * EMBEDDING
    assert head.macs == EMBEDDING


def test_attention_grows_with_the_context(tiny_stage: Path) -> None:
    macs = [looked_at(tiny_stage, context).total.macs for context in (0, 100)]

    assert macs[1] - macs[0] == 2 * 2 * 32 * 100  # layers, scores and values, heads * head_dim


@pytest.mark.parametrize("scheme", ["int8", "int4", "fp16", "int8-dynamic"])
def test_quantizing_changes_bytes_but_neither_parameters_nor_macs(
    tiny_stage: Path, tmp_path: Path, scheme: str
) -> None:
    quantize_stage(tiny_stage, tmp_path / "out", choose_scheme(scheme, {}))

    before, after = looked_at(tiny_stage), looked_at(tmp_path / "out")
    assert after.total.parameters == before.total.parameters
    assert after.total.macs == before.total.macs
    assert after.total.weight_bytes < before.total.weight_bytes


def test_layers_can_be_told_apart(tiny_stage: Path) -> None:
    work = looked_at(tiny_stage)

    layers = {stage for stage in work.by(str) if stages.layer_of(f"{stage}.") is not None}
    assert len(layers) == 2 * 4
    assert sum(work.by(str).values(), Work()) == work.total


def test_float_matmuls_are_named(tiny_stage: Path, tmp_path: Path) -> None:
    quantize_stage(tiny_stage, tmp_path / "out", choose_scheme("int8", {}))

    assert len(looked_at(tiny_stage).float_matmuls) == 2 * 4 + 1
    assert looked_at(tmp_path / "out").float_matmuls == ()


def test_a_graph_is_read_without_its_weights(tiny_stage: Path) -> None:
    facts = open_stage(tiny_stage).record.model

    graph = parse((tiny_stage / MODEL_FILE).read_bytes(), "model.onnx")

    assert inspect(graph, facts).total == looked_at(tiny_stage).total


def test_a_damaged_graph_is_named() -> None:
    with pytest.raises(BundleInvalid, match=r"bundle: model\.onnx cannot be read as ONNX"):
        parse(b"\xff" * 20, "bundle: model.onnx")
