"""Schemes on a graph that runs: what they give, and what they leave."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgellm.calibrate import calibration
from edgellm.errors import UnsupportedModel, UsageError
from edgellm.graph.text import read_text
from edgellm.quantize.pipeline import choose_scheme, quantize_stage
from edgellm.quantize.scheme import FLOAT, SCHEMES, Kernel
from edgellm.records.manifest import MODEL_FILE, StageRecord
from edgellm.runner.session import Engine, Session

IDS = np.arange(40, 52, dtype=np.int64)[None]


def quantized(stage: Path, output: Path, scheme: str, **options: Any) -> StageRecord:
    return quantize_stage(stage, output, choose_scheme(scheme, options))


def logits(folder: Path, record: StageRecord) -> np.ndarray[Any, np.dtype[np.float32]]:
    session = Session(folder / MODEL_FILE, record.model, engine=Engine(1))
    return session.forward(IDS, every_position=True).copy()


@pytest.fixture
def reference(tiny_stage: Path, tmp_path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    return logits(tiny_stage, quantized(tiny_stage, tmp_path / "reference", "fp32"))


@pytest.mark.parametrize(
    ("scheme", "options", "allowed"),
    [
        ("fp16", {}, 0.002),
        ("int8", {}, 0.03),
        ("int8", {"group_size": 16, "symmetric": False}, 0.03),
        ("int8-dynamic", {}, 0.05),
        ("int4", {"head_group_size": 32}, 0.3),
        ("int4", {"symmetric": True, "head_bits": 4, "head_group_size": 16}, 0.4),
    ],
)
def test_logits_stay_near(
    scheme: str,
    options: dict[str, Any],
    allowed: float,
    tiny_stage: Path,
    tmp_path: Path,
    reference: np.ndarray[Any, np.dtype[np.float32]],
) -> None:
    record = quantized(tiny_stage, tmp_path / "out", scheme, **options)

    error = np.abs(logits(tmp_path / "out", record) - reference).mean() / reference.std()
    assert 0 < error < allowed


def test_a_row_is_quantized_by_its_own_range(tiny_stage: Path, tmp_path: Path) -> None:
    """A prompt at once gives what its tokens give one by one."""
    record = quantized(tiny_stage, tmp_path / "out", "int8-dynamic")
    at_once = logits(tmp_path / "out", record)

    session = Session(tmp_path / "out" / MODEL_FILE, record.model, engine=Engine(1))
    one_by_one = [session.step(int(token)).copy() for token in IDS[0]]

    np.testing.assert_allclose(at_once[0], one_by_one, atol=1e-3)


def test_what_stays_in_float_is_listed_with_its_reason(tiny_stage: Path, tmp_path: Path) -> None:
    kept = ("head", "layers.1.feed_forward")
    measured = (
        quantized(tiny_stage, tmp_path / "out", "int8", keep_float=kept).provenance[-1].measured
    )

    assert measured["left_in_float"] == {
        "head.logits": "asked for by 'head'",
        "layers.1.feed_forward.gate_up": "asked for by 'layers.1.feed_forward'",
        "layers.1.feed_forward.down": "asked for by 'layers.1.feed_forward'",
    }
    assert measured["matmuls"] == 6


def test_float_schemes_list_every_matmul(tiny_stage: Path, tmp_path: Path) -> None:
    measured = quantized(tiny_stage, tmp_path / "out", "fp16").provenance[-1].measured

    assert len(measured["left_in_float"]) == 9
    assert set(measured["left_in_float"].values()) == {"the scheme fp16 computes in float32"}


def test_head_and_embedding_share_one_tensor(tiny_stage: Path, tmp_path: Path) -> None:
    before = quantized(tiny_stage, tmp_path / "fp32", "fp32").files
    after = quantized(tiny_stage, tmp_path / "int8", "int8").files

    size = {f.path: f.bytes for f in after}["model.onnx.data"]
    full = {f.path: f.bytes for f in before}["model.onnx.data"]
    assert size < 0.35 * full  # a second head would make it 0.5


def test_a_head_in_rows_shares_its_tensor_too(tiny_stage: Path, tmp_path: Path) -> None:
    quantized(tiny_stage, tmp_path / "rows", "int8-dynamic")

    graph = ir.load(tmp_path / "rows" / MODEL_FILE).graph
    table = graph.initializers["embedding.weight.rows"]
    assert {node.op_type for node, _ in table.uses()} == {"Gather", "MatMulRows"}
    assert "embedding.weight" not in graph.initializers


def test_each_matmul_takes_its_own_kernel(
    tiny_stage: Path, tmp_path: Path, reference: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    layers = {
        "attention.qkv": Kernel("rows", 8),
        "feed_forward.down": Kernel("blocks", 8),
        "layers.0.attention.output": FLOAT,
        "head": Kernel("rows", 8),
    }
    record = quantized(tiny_stage, tmp_path / "out", "int4", layers=layers)

    nodes = {n.name: n for n in ir.load(tmp_path / "out" / MODEL_FILE).graph}
    operators = {m: nodes[m].op_type for m in nodes if m and "MatMul" in nodes[m].op_type}
    assert operators.pop("layers.0.attention.output") == "MatMul"
    assert {m for m, operator in operators.items() if operator == "MatMulRows"} == {
        "layers.0.attention.qkv",
        "layers.1.attention.qkv",
        "head.logits",
    }
    sizes = {
        m: nodes[m].inputs[1].const_value.nbytes  # type: ignore[union-attr]
        for m, operator in operators.items()
        if operator not in ("MatMul", "MatMulRows")
    }
    assert sizes == {
        "layers.0.feed_forward.gate_up": 32 * 128 // 2,
        "layers.0.feed_forward.down": 64 * 32,
        "layers.1.attention.output": 32 * 32 // 2,
        "layers.1.feed_forward.gate_up": 32 * 128 // 2,
        "layers.1.feed_forward.down": 64 * 32,
    }
    step = record.provenance[-1]
    assert step.parameters["layers"]["head"] == {"method": "rows", "bits": 8}
    assert "output_error_compensated" in step.measured
    error = np.abs(logits(tmp_path / "out", record) - reference).mean() / reference.std()
    assert 0 < error < 0.3


def test_4_bits_compensate_on_a_text_that_the_record_names(
    tiny_stage: Path, tmp_path: Path
) -> None:
    step = quantized(tiny_stage, tmp_path / "out", "int4").provenance[-1]

    assert step.parameters["calibration"]["sha256"] == read_text(calibration.DEFAULT).sha256
    assert step.measured["output_error_compensated"] < step.measured["output_error_rounded"]


def test_without_calibration_4_bits_are_rounded(tiny_stage: Path, tmp_path: Path) -> None:
    scheme = choose_scheme("int4", {})
    step = quantize_stage(tiny_stage, tmp_path / "out", scheme, calibrate=False).provenance[-1]

    assert step.parameters["calibration"] is None
    assert "output_error_compensated" not in step.measured


def test_a_calibration_text_that_would_not_be_read_is_refused(
    tiny_stage: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"mine\.txt would not be read: only 4-bit blocks"):
        quantize_stage(
            tiny_stage, tmp_path / "out", choose_scheme("int8", {}), calibration=Path("mine.txt")
        )


def test_a_quantized_model_is_not_quantized_again(tiny_stage: Path, tmp_path: Path) -> None:
    quantized(tiny_stage, tmp_path / "once", "int8")

    with pytest.raises(UnsupportedModel, match="quantized already"):
        quantized(tmp_path / "once", tmp_path / "twice", "int4")
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize(
    ("scheme", "options", "said"),
    [
        ("int3", {}, "no scheme 'int3'; did you mean 'int8'"),
        ("int8", {"group_size": 24}, "group size 24 is not possible: use one of 16, 32"),
        ("int8", {"head_bits": 2}, "head bits 2"),
    ],
)
def test_a_bad_scheme_is_one_sentence(scheme: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_scheme(scheme, options)


def test_options_that_are_absent_change_nothing() -> None:
    assert choose_scheme("int4", {"group_size": None, "keep_float": None}) == SCHEMES["int4"]
    assert choose_scheme("int4", {"head_bits": 4}) == dataclasses.replace(
        SCHEMES["int4"], head_bits=4
    )


def test_the_source_decides_what_was_left_open() -> None:
    for name, twin in (("int8", "Q8_0"), ("int4", "Q4_0")):
        scheme = choose_scheme(name, {})
        own, foreign = scheme.for_source({twin: 9, "F32": 1}), scheme.for_source({"BF16": 9})

        assert (own.group_size, own.head_group_size, own.symmetric) == (32, 32, True)
        assert (own.carried, own.compensates) == (True, False)
        assert (foreign.group_size, foreign.symmetric) == (128, scheme.symmetric)
        assert foreign.compensates == scheme.compensates
        asked = choose_scheme(name, {"group_size": 64}).for_source({twin: 9})
        assert (asked.group_size, asked.carried) == (64, False)
