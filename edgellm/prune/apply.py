"""Take layers and feed-forward channels out of a graph, so that its shapes shrink."""

import re
from collections.abc import Callable, Collection, Mapping, MutableSequence, Sequence

import numpy as np
import onnx_ir as ir

from edgellm.graph.residual import entry, stream
from edgellm.prune.anatomy import Array, feed_forward
from edgellm.records import stages


def remove_layers(graph: ir.Graph, removed: Collection[int], layers: int) -> None:
    """Remove whole layers and renumber the others from 0.

    What enters a removed layer enters the next one instead. Names, stages, cache inputs and outputs
    are then those of a model that was built without it.

    Args:
        graph: Changed in place.
        removed: Layers to remove, at most ``layers - 1``.
        layers: How many the graph has.
    """
    kept = [layer for layer in range(layers) if layer not in removed]
    # From the last: of neighbours that go, the first has the last word on what enters the next.
    for layer in sorted(removed, reverse=True):
        following = next((k for k in kept if k > layer), layers)
        _bypass(entry(graph, layer), entry(graph, following))
    _delete(graph, removed)
    _renumber(graph, {old: new for new, old in enumerate(kept)})


def _bypass(norm: ir.Node, following: ir.Node) -> None:
    """Feed ``following`` with the residual stream that ``norm`` takes."""
    values = stream(norm)
    if len(values) == len(stream(following)):
        for index, value in enumerate(values):
            following.replace_input_with(index, value)
    else:
        _make_first(following, norm, values[0])


def _make_first(norm: ir.Node, first: ir.Node, value: ir.Value) -> None:
    """Replace a norm that adds to the stream by one like ``first``, which takes ``value`` alone."""
    plain = ir.node(
        first.op_type,
        [value, *norm.inputs[2:]],
        {name: attribute.value for name, attribute in first.attributes.items()},
        domain=first.domain,
        outputs=[ir.Value(name=norm.outputs[0].name)],
        name=norm.name,
        metadata_props=dict(norm.metadata_props),
    )
    graph = norm.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(norm, plain)
    norm.outputs[0].replace_all_uses_with(plain.outputs[0])
    norm.outputs[-1].replace_all_uses_with(value)
    graph.remove(norm, safe=True)


def _delete(graph: ir.Graph, layers: Collection[int]) -> None:
    """Delete the nodes, weights, cache inputs and outputs of ``layers``."""
    _drop(graph.outputs, layers)
    graph.remove([node for node in graph if stages.layer_of(stages.of(node)) in layers], safe=True)
    _drop(graph.inputs, layers)
    for name in [name for name in graph.initializers if stages.layer_of(name) in layers]:
        del graph.initializers[name]


def _drop(values: MutableSequence[ir.Value], layers: Collection[int]) -> None:
    for index in reversed(range(len(values))):
        if stages.layer_of(values[index].name) in layers:
            del values[index]


def _renumber(graph: ir.Graph, new_of: Mapping[int, int]) -> None:
    def renamed(name: str | None) -> str:
        def new(match: re.Match[str]) -> str:
            return f"{match[1]}.{new_of[int(match[2])]}"

        return stages.NUMBERED.sub(new, name or "")

    for node in graph:
        node.name = renamed(node.name)
        node.metadata_props[stages.KEY] = renamed(stages.of(node))
        for value in node.outputs:
            value.name = renamed(value.name)
    for value in graph.inputs:
        value.name = renamed(value.name)
    # All out and in again: a new name is free when it is given, and the order stays.
    weights = list(graph.initializers.values())
    graph.initializers.clear()
    for weight in weights:
        weight.name = renamed(weight.name)
        graph.initializers.add(weight)


def keep_channels(
    graph: ir.Graph, layer: int, kept: Sequence[int], down: Array | None = None
) -> None:
    """Keep some channels of a gated feed-forward block and drop the others.

    Weights are sliced when they are saved, one at a time.

    Args:
        graph: Changed in place.
        layer: Which block.
        kept: Channels to keep, ascending.
        down: New weights of the down projection, ``(len(kept), hidden)``; where None, the rows of
            the old ones.
    """
    block = feed_forward(graph, layer)
    rows = np.asarray(kept, np.int64)
    columns = np.concatenate([rows, rows + block.width])
    _slice(block.gate_up, lambda weight: np.ascontiguousarray(weight[:, columns]), 1, len(columns))
    if block.bias is not None:
        _slice(block.bias, lambda bias: bias[columns], 0, len(columns))
    if down is None:
        _slice(block.down, lambda weight: weight[rows], 0, len(rows))
    else:
        set_weight(block.down, down)


def _slice(value: ir.Value, cut: Callable[[Array], Array], axis: int, size: int) -> None:
    source = value.const_value
    assert source is not None
    shape = list(source.shape.numpy())
    shape[axis] = size
    _set(
        value,
        ir.LazyTensor(lambda: ir.tensor(cut(source.numpy())), source.dtype, ir.Shape(shape)),
    )


def set_weight(value: ir.Value, weight: Array) -> None:
    """Give an initializer new data."""
    _set(value, ir.tensor(weight))


def _set(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    tensor.name = value.name
    value.const_value = tensor
    value.shape = ir.Shape(tensor.shape.numpy())
