"""Values inside a running graph."""

from pathlib import Path

import numpy as np

from edgellm.calibrate.observe import Watch, observe
from edgellm.graph.residual import entry
from edgellm.graph.stage_folder import load_graph, open_stage
from edgellm.records.manifest import MODEL_FILE, WEIGHTS_FILE
from edgellm.runner.session import Engine, Session

IDS = list(range(40, 60))
STREAMS = Watch(range(3))


def test_the_stream_begins_with_the_embedding_and_ends_before_the_head(tiny_stage: Path) -> None:
    stage = open_stage(tiny_stage)
    graph, facts = load_graph(stage), stage.record.model
    weights = {
        name: value.const_value.numpy()
        for name, value in graph.graph.initializers.items()
        if value.const_value is not None
    }
    (gamma,) = (weights[v.name] for v in entry(graph.graph, 2).inputs if v and v.name in weights)
    (embedding,) = (weight for weight in weights.values() if weight.shape == (258, 32))

    seen = observe(graph, facts, STREAMS, [IDS], tiny_stage / WEIGHTS_FILE, threads=1)
    ((stream, _),) = seen

    assert [array.shape for array in stream] == [(20, 32)] * 3
    np.testing.assert_array_equal(stream[0], embedding[IDS])
    normed = stream[-1] / np.sqrt(np.square(stream[-1]).mean(axis=1, keepdims=True) + 1e-5)
    expected = normed * gamma @ embedding.T
    session = Session(tiny_stage / MODEL_FILE, facts, engine=Engine(1))
    logits = session.forward(np.array([IDS], np.int64), every_position=True)
    np.testing.assert_allclose(logits[0], expected, atol=1e-3)


def test_watching_leaves_the_graph_as_it_was(tiny_stage: Path) -> None:
    stage = open_stage(tiny_stage)
    graph, weights = load_graph(stage), tiny_stage / WEIGHTS_FILE
    nodes, outputs = len(graph.graph), len(graph.graph.outputs)

    list(observe(graph, stage.record.model, STREAMS, [IDS], weights, threads=1))

    assert (len(graph.graph), len(graph.graph.outputs)) == (nodes, outputs)
