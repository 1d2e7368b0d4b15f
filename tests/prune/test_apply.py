"""What is left after pruning is the model that was built without it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgellm.prune.anatomy import data, feed_forward
from edgellm.prune.apply import keep_channels, remove_layers

Decoders = Callable[..., Any]


def described(graph: ir.Model) -> tuple[Any, ...]:
    """Return all that a graph is: interface, nodes with their wiring and stages, weights."""
    inner = graph.graph
    nodes = [
        (
            node.name,
            node.op_type,
            [value.name if value else None for value in node.inputs],
            [value.name for value in node.outputs],
            {name: attribute.value for name, attribute in node.attributes.items()},
            dict(node.metadata_props),
        )
        for node in inner
    ]
    weights = {name: data(value).tobytes() for name, value in inner.initializers.items()}
    return [v.name for v in inner.inputs], [v.name for v in inner.outputs], nodes, weights


@pytest.mark.parametrize("removed", [{0}, {1}, {3}, {0, 1}, {1, 2}, {2, 3}, {0, 1, 3}])
def test_a_model_without_layers_is_the_one_built_without_them(
    decoder: Decoders, removed: set[int]
) -> None:
    graph = decoder(0, 1, 2, 3).graph()

    remove_layers(graph.graph, removed, 4)

    kept = [layer for layer in range(4) if layer not in removed]
    assert described(graph) == described(decoder(*kept).graph())


def test_a_model_without_a_layer_runs_to_the_same_bits(
    decoder: Decoders, logits: Callable[..., Any]
) -> None:
    graph, smaller = decoder(0, 1, 2).graph(), decoder(1, 2)

    remove_layers(graph.graph, [0], 3)

    np.testing.assert_array_equal(
        logits(graph, smaller.facts()), logits(smaller.graph(), smaller.facts())
    )


def test_removing_channels_that_do_nothing_changes_nothing(
    decoder: Decoders, logits: Callable[..., Any]
) -> None:
    model = decoder(0, 1)
    dead = np.arange(1, 64, 2)
    model.tensors["model.layers.1.mlp.down_proj.weight"][:, dead] = 0
    before = logits(model.graph(), model.facts())
    graph = model.graph()

    keep_channels(graph.graph, 1, [c for c in range(96) if c not in dead])

    np.testing.assert_allclose(logits(graph, model.facts()), before, atol=1e-5)
    assert [feed_forward(graph.graph, layer).width for layer in (0, 1)] == [96, 64]


@given(st.data())
@settings(max_examples=20, deadline=None, derandomize=True)
def test_keeping_some_of_what_was_kept_is_keeping_them_at_once(source: st.DataObject) -> None:
    first = sorted(source.draw(st.sets(st.integers(0, 95), min_size=2)))
    places = source.draw(st.sets(st.integers(0, len(first) - 1), min_size=1))
    second = sorted(places)
    weight = np.arange(96 * 16, dtype=np.float32)
    twice, once = (
        _block(weight.reshape(96, 16), np.concatenate([weight, -weight]).reshape(16, 192))
        for _ in range(2)
    )

    keep_channels(twice, 0, first)
    keep_channels(twice, 0, second)
    keep_channels(once, 0, [first[place] for place in second])

    for name, value in once.initializers.items():
        np.testing.assert_array_equal(data(twice.initializers[name]), data(value))


def _block(down: Any, gate_up: Any) -> ir.Graph:
    """Return the weights of a feed-forward block and the matmul that ends it."""
    weights = [
        ir.val(name, const_value=ir.tensor(array, name=name))
        for name, array in (
            ("layers.0.feed_forward.down.weight", down),
            ("layers.0.feed_forward.gate_up.weight", gate_up),
            ("layers.0.feed_forward.gate_up.bias", gate_up[0]),
        )
    ]
    activations = ir.val("activations", ir.DataType.FLOAT)
    end = ir.node("MatMul", [activations, weights[0]])
    return ir.Graph([activations], end.outputs, nodes=[end], initializers=weights)
