import subprocess
import sys

import hypothesis
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgellm.runner.weights import WeightsFile, attach, relocate

TABLE = np.arange(400, dtype=np.float32).reshape(100, 4)


@pytest.fixture
def gather(tmp_path):
    """Save a graph that looks rows up in an external table; return its bytes and the data."""
    table = ir.val("table", const_value=ir.tensor(TABLE, name="table"))
    table.dtype, table.shape = ir.DataType.FLOAT, ir.Shape(TABLE.shape)
    ids = ir.val("ids", ir.DataType.INT64, ir.Shape(["n"]))
    node = ir.node("Gather", [table, ids])
    rows = node.outputs[0]
    rows.name, rows.dtype, rows.shape = "rows", ir.DataType.FLOAT, ir.Shape(["n", 4])
    graph = ir.Graph([ids], [rows], nodes=[node], initializers=[table], opset_imports={"": 21})
    ir.save(
        ir.Model(graph, ir_version=10),
        tmp_path / "model.onnx",
        external_data="model.onnx.data",
        size_threshold_bytes=0,
    )
    data = (tmp_path / "model.onnx.data").read_bytes()
    (tmp_path / "model.onnx.data").unlink()
    return (tmp_path / "model.onnx").read_bytes(), data


@pytest.mark.parametrize("offset", [0, 4096, 12345])
def test_weights_are_read_from_inside_another_file(gather, tmp_path, offset):
    graph, data = gather
    archive = tmp_path / "a bundle.edgellm"
    archive.write_bytes(b"x" * offset + data + b"y" * 99)
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(archive)
    options = ort.SessionOptions()

    session = ort.InferenceSession(attach(graph, WeightsFile(link, offset), options), options)
    (rows,) = session.run(None, {"ids": np.array([3, 99])})

    np.testing.assert_array_equal(rows, TABLE[[3, 99]])


@hypothesis.settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@given(name=st.text("aé🦜", min_size=1, max_size=200), offset=st.integers(0, 1 << 50))
def test_nothing_but_the_place_changes(gather, name, offset):
    graph, _ = gather

    moved = relocate(graph, name, offset)

    tensor = ir.from_proto(ir.serde.onnx.ModelProto.FromString(moved)).graph.initializers["table"]
    assert tensor.const_value.location == name
    assert tensor.const_value.offset == offset
    assert relocate(moved, "model.onnx.data", -offset) == relocate(graph, "model.onnx.data", 0)


def test_weights_of_a_branch_are_moved_too(gather):
    inner = ir.from_proto(ir.serde.onnx.ModelProto.FromString(gather[0])).graph
    outer = ir.node("If", [ir.val("condition")], {"then_branch": inner})
    graph = ir.Graph([], [], nodes=[outer], opset_imports={"": 21})
    serialized = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()

    assert b"elsewhere" in relocate(serialized, "elsewhere", 0)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 9])
def test_a_graph_that_is_cut_off_is_refused(gather, damage):
    with pytest.raises(ValueError, match=r"cut off|wire type"):
        relocate(gather[0][:-10] + damage, "data", 0)


LAYERS, SIDE = 24, 1024  # of 4 MiB each
OPEN = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime as ort
from edgellm.measure.memory import peak_rss_bytes
from edgellm.runner.weights import WeightsFile, attach

before = peak_rss_bytes()
options = ort.SessionOptions()
options.intra_op_num_threads = 1
graph, weights = map(Path, sys.argv[1:])
session = ort.InferenceSession(attach(graph.read_bytes(), WeightsFile(weights), options), options)
session.run(None, {"x": np.ones((1, SIDE), np.float32)})
print(peak_rss_bytes() - before)
"""


def test_pain_28_weights_are_in_memory_once_even_while_they_are_loaded(tmp_path):
    """Onnxruntime packs them for its kernels, so that a copy of the file would make it two."""
    size = LAYERS * SIDE * SIDE * 4
    x = ir.val("x", ir.DataType.FLOAT, ir.Shape([1, SIDE]))
    weights, nodes = [], []
    for layer in range(LAYERS):
        data = np.full((SIDE, SIDE), layer, np.float32)
        weights.append(ir.val(f"w{layer}", const_value=ir.tensor(data, name=f"w{layer}")))
        nodes.append(ir.node("MatMul", [nodes[-1].outputs[0] if nodes else x, weights[-1]]))
    y = nodes[-1].outputs[0]
    y.name, y.dtype, y.shape = "y", ir.DataType.FLOAT, x.shape
    graph = ir.Graph([x], [y], nodes=nodes, initializers=weights, opset_imports={"": 21})
    model = tmp_path / "model.onnx"
    ir.save(ir.Model(graph, ir_version=10), model, external_data="data", size_threshold_bytes=0)

    program = OPEN.replace("SIDE", str(SIDE))
    command = [sys.executable, "-c", program, str(model), str(tmp_path / "data")]
    growth = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert 0.9 * size < growth < 1.5 * size
