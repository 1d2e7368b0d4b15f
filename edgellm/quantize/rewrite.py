"""Small changes to a graph that the schemes share."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.graph.build import Attribute, domain, initializer
from edgellm.records import stages


def add_initializer(graph: ir.Graph, name: str, data: NDArray[np.generic]) -> ir.Value:
    """Add ``data`` as an initializer, or return the one that has this name already."""
    if name in graph.initializers:
        return graph.initializers[name]
    tensor = ir.tensor(data, name=name)
    value = graph.initializers[name] = initializer(name, tensor)
    return value


def become(
    node: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Attribute],
) -> None:
    """Turn ``node`` into another operator; its name, stage, outputs and readers stay."""
    node.op_type = op_type
    node.domain = domain(op_type)
    node.resize_inputs(len(inputs))
    for index, value in enumerate(inputs):
        node.replace_input_with(index, value)
    node.attributes.clear()
    for name, attribute in attributes.items():
        node.attributes[name] = ir.convenience.convert_attribute(name, attribute)


def insert(
    graph: ir.Graph,
    before: ir.Node,
    op_type: str,
    suffix: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, Attribute] | None = None,
) -> ir.Value:
    """Put a node in front of ``before``, named after it and of its stage; return its output."""
    name = f"{before.name}.{suffix}"
    stage = stages.of(before)
    node = ir.node(
        op_type,
        list(inputs),
        dict(attributes or {}),
        domain=domain(op_type),
        outputs=[ir.Value(name=name)],
        name=name,
        metadata_props={stages.KEY: stage} if stage else None,
    )
    graph.insert_before(before, node)
    return node.outputs[0]


def absorb(graph: ir.Graph, node: ir.Node) -> ir.Value:
    """Remove the bias Add ``node``; its first input takes over its readers. Return the bias."""
    source, bias = node.inputs[0], node.inputs[1]
    assert source is not None
    assert bias is not None
    node.outputs[0].replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return bias


def drop_unused_initializers(graph: ir.Graph) -> None:
    """Remove initializers that no node reads."""
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
