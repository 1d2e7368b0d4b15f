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
