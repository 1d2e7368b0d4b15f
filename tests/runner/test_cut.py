import numpy as np
import onnx
import pytest

from edgellm.errors import UnsupportedModel
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.records.manifest import MODEL_FILE, WEIGHTS_FILE
from edgellm.records.stages import of
from edgellm.runner.cut import cut, idle_part
from edgellm.runner.session import Engine, open_session
from edgellm.runner.weights import WeightsFile

CONTEXT = 16
LAYERS, KV_HEADS, HEAD_DIM = 2, 1, 16
IDS = (65, 66, 67, 68, 69)


@pytest.fixture(scope="module")
def whole(tiny_stage):
    return (tiny_stage / MODEL_FILE).read_bytes()


def run(model, values, weights):
    """Run a model on what it takes of ``values``; return what it gives by name."""
    session = open_session(model, Engine(1), weights)
    results = session.run(None, {i.name: values[i.name] for i in session.get_inputs()})
    return dict(zip([o.name for o in session.get_outputs()], results, strict=True))


def first_call():
    cache = np.zeros((1, KV_HEADS, CONTEXT, HEAD_DIM), np.float32)
    names = [f"{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
    return {
        "input_ids": np.array([IDS], np.int64),
        "seqlens_k": np.array([len(IDS) - 1], np.int32),
        "total_sequence_length": np.array(len(IDS), np.int32),
        "logits_from": np.array([0], np.int64),
        **{f"past_key_values.{name}": cache for name in names},
    }


def test_the_parts_are_the_stages_in_the_order_of_the_graph(tiny_stage, whole):
    nodes = load_graph(open_stage(tiny_stage)).graph

    assert [part.stage for part in cut(whole)] == list(dict.fromkeys(map(of, nodes)))


def test_the_parts_one_after_another_are_the_whole_graph(tiny_stage, whole):
    weights = WeightsFile(tiny_stage / WEIGHTS_FILE)
    values = first_call()

    for part in cut(whole):
        made = run(part.model, values, weights)
        assert tuple(made) == part.outputs
        values |= made

    expected = run(whole, first_call(), weights)
    assert len(expected) == 1 + 2 * LAYERS
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value)


def test_a_part_takes_and_gives_no_more_than_what_crosses_its_boundary(whole):
    parts = {part.stage: part for part in cut(whole)}

    assert parts["embedding"].inputs == ("input_ids",)
    assert len(parts["embedding"].outputs) == 1
    assert parts["head"].outputs == ("logits",)
    caches = {f"past_key_values.1.{part}" for part in ("key", "value")}
    assert [stage for stage, part in parts.items() if caches & set(part.inputs)] == [
        "layers.1.attention"
    ]


def test_weights_stay_where_they_are(whole):
    graph = onnx.load_model_from_string(whole).graph
    before = {tensor.name: tensor for tensor in graph.initializer}

    found = [t for p in cut(whole) for t in onnx.load_model_from_string(p.model).graph.initializer]

    assert {tensor.name for tensor in found} == set(before)
    assert all(tensor == before[tensor.name] for tensor in found)
    external = [t for t in found if t.data_location == onnx.TensorProto.EXTERNAL]
    assert sum(np.prod(t.dims) for t in external) > 10_000


def changed(whole, change):
    model = onnx.load_model_from_string(whole)
    change(model.graph.node)
    return model.SerializeToString()


def lose_a_stage(nodes):
    del nodes[3].metadata_props[:]


def come_back_to_the_first(nodes):
    nodes[-1].metadata_props[0].value = nodes[0].metadata_props[0].value


@pytest.mark.parametrize("change", [lose_a_stage, come_back_to_the_first])
def test_a_graph_without_stages_is_refused_with_the_way_to_have_them(whole, change):
    damaged = changed(whole, change)

    with pytest.raises(UnsupportedModel, match=r"carries no stages .* by the fused route"):
        cut(damaged)


@pytest.mark.parametrize(("inputs", "outputs"), [(0, 1), (1, 1), (5, 3)])
def test_an_idle_part_takes_and_gives_as_many_values_as_its_stage(inputs, outputs):
    takes = {f"in{i}": np.full(1, i, np.float32) for i in range(max(inputs, 1))}

    gives = run(idle_part(inputs, outputs), takes, None)

    assert list(gives) == [f"out{i}" for i in range(outputs)]
    assert all(value == takes["in0"] for value in gives.values())
