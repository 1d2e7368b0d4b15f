"""Values inside a running graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgellm.prune.anatomy import data, entry
from edgellm.prune.observe import Watch, observe

NO_FILE = Path("none")  # all weights of these graphs are in memory


def test_the_stream_begins_with_the_embedding_and_ends_before_the_head(
    decoder: Callable[..., Any], logits: Callable[..., Any]
) -> None:
    model = decoder(0, 1)
    graph, ids = model.graph(), list(range(40, 60))
    embedding = model.tensors["model.embed_tokens.weight"]

    ((stream, _),) = observe(graph, model.facts(), Watch(range(3)), [ids], NO_FILE, threads=1)

    assert [array.shape for array in stream] == [(20, 16)] * 3
    np.testing.assert_array_equal(stream[0], embedding[ids])
    normed = stream[-1] / np.sqrt(np.square(stream[-1]).mean(axis=1, keepdims=True) + 1e-5)
    expected = normed @ embedding.T
    np.testing.assert_allclose(logits(graph, model.facts())[0], expected, atol=1e-4)


def test_watching_leaves_the_graph_as_it_was(decoder: Callable[..., Any]) -> None:
    model = decoder(0, 1)
    graph = model.graph()
    nodes, outputs = len(graph.graph), len(graph.graph.outputs)

    list(observe(graph, model.facts(), Watch(range(3)), [[40, 41]], NO_FILE, threads=1))

    assert (len(graph.graph), len(graph.graph.outputs)) == (nodes, outputs)
    gamma = entry(graph.graph, 1).inputs[2]
    assert gamma is not None
    assert data(gamma).shape == (16,)
