"""Cuts a graph at its stage boundaries into graphs that run on their own.

Works on the protobuf itself, because a board has no onnx: a part holds the nodes of one stage, as
they stand, with the initializers and the inputs that they use. What crosses a boundary is a
float32 tensor (hidden states), whatever the weights' type.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgellm.errors import UnsupportedModel
from edgellm.records import stages
from edgellm.runner import onnx_proto
from edgellm.runner.onnx_proto import (
    ENTRY_KEY,
    ENTRY_VALUE,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_NAME,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    NODE_INPUT,
    NODE_METADATA,
    NODE_OUTPUT,
    TENSOR_NAME,
    VALUE_NAME,
)
from edgellm.runner.protobuf import fields, message


@dataclass(frozen=True, slots=True)
class Part:
    """One stage as a graph.

    Attributes:
        stage: Its name, such as ``layers.3.attention``.
        model: The ONNX model.
        inputs: Names of what it takes.
        outputs: Names of what it gives.
    """

    stage: str
    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    raw: bytes
    stage: str
    inputs: list[bytes]
    outputs: list[bytes]


@dataclass(slots=True)
class _Graph:
    """A graph's fields by what they are; values are the fields as they stand."""

    nodes: list[_Node] = field(default_factory=list)
    initializers: dict[bytes, bytes] = field(default_factory=dict)
    inputs: dict[bytes, bytes] = field(default_factory=dict)
    outputs: dict[bytes, bytes] = field(default_factory=dict)


def cut(model: bytes) -> tuple[Part, ...]:
    """Return the stages of a model in the order in which they run.

    Args:
        model: ``model.onnx``; where its external data lies is kept.

    Raises:
        UnsupportedModel: Its nodes carry no stages (the standard route), or one stage's nodes do
            not follow each other.
    """
    around = b""
    graph = _Graph()
    for number_, raw, content in fields(model):
        if number_ == MODEL_GRAPH:
            graph = _graph(content)
        else:
            around += raw
    groups = _groups(graph.nodes)
    made = {name for node in graph.nodes for name in node.outputs}
    users: dict[bytes, set[str]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            users.setdefault(name, set()).add(node.stage)
    return tuple(_part(stage, nodes, graph, made, users, around) for stage, nodes in groups.items())


def idle_part(inputs: int, outputs: int) -> bytes:
    """Return a model that does nothing with its inputs ``in0...``, and copies one to ``out0...``.

    A call costs the more, the more it is given and gives; so it has as many of both as the stage
    that it stands for.
    """
    takes = [b"in%d" % i for i in range(max(inputs, 1))]
    gives = [b"out%d" % i for i in range(outputs)]
    return onnx_proto.model(
        b"idle",
        *(onnx_proto.node(b"Identity", takes[:1], name) for name in gives),
        *(onnx_proto.value(GRAPH_INPUT, name) for name in takes),
        *(onnx_proto.value(GRAPH_OUTPUT, name) for name in gives),
    )


def _groups(nodes: Iterable[_Node]) -> dict[str, list[_Node]]:
    groups: dict[str, list[_Node]] = {}
    last = ""
    for node in nodes:
        if not node.stage or (node.stage != last and node.stage in groups):
            raise UnsupportedModel(
                "this graph carries no stages that follow each other, as graphs of the standard "
                "route do not: export it by the fused route to see them"
            )
        last = node.stage
        groups.setdefault(last, []).append(node)
    return groups


def _part(
    stage: str,
    nodes: list[_Node],
    graph: _Graph,
    made: set[bytes],
    users: dict[bytes, set[str]],
    around: bytes,
) -> Part:
    own = {name for node in nodes for name in node.outputs}
    used = {name: None for node in nodes for name in node.inputs if name not in own}
    inputs = [name for name in used if name in made or name in graph.inputs]
    outputs = [name for name in own if users.get(name, set()) - {stage} or name in graph.outputs]
    outputs.sort()
    body = [node.raw for node in nodes]
    body.append(message(GRAPH_NAME, stage.encode()))
    body += [graph.initializers[name] for name in used if name in graph.initializers]
    body += [graph.inputs.get(name) or onnx_proto.value(GRAPH_INPUT, name) for name in inputs]
    body += [graph.outputs.get(name) or onnx_proto.value(GRAPH_OUTPUT, name) for name in outputs]
    return Part(
        stage,
        around + message(MODEL_GRAPH, b"".join(body)),
        tuple(name.decode() for name in inputs),
        tuple(name.decode() for name in outputs),
    )


def _graph(content: bytes) -> _Graph:
    graph = _Graph()
    for number_, raw, inner in fields(content):
        if number_ == GRAPH_NODE:
            graph.nodes.append(_node(raw, inner))
        elif number_ == GRAPH_INITIALIZER:
            graph.initializers[_first(inner, TENSOR_NAME)] = raw
        elif number_ == GRAPH_INPUT:
            graph.inputs[_first(inner, VALUE_NAME)] = raw
        elif number_ == GRAPH_OUTPUT:
            graph.outputs[_first(inner, VALUE_NAME)] = raw
    return graph


def _node(raw: bytes, content: bytes) -> _Node:
    node = _Node(raw, "", [], [])
    for number_, _, inner in fields(content):
        if number_ == NODE_INPUT and inner:  # an optional value that is not there has no name
            node.inputs.append(inner)
        elif number_ == NODE_OUTPUT and inner:
            node.outputs.append(inner)
        elif number_ == NODE_METADATA and _first(inner, ENTRY_KEY) == stages.KEY.encode():
            node.stage = _first(inner, ENTRY_VALUE).decode()
    return node


def _first(content: bytes, wanted: int) -> bytes:
    return next((inner for number_, _, inner in fields(content) if number_ == wanted), b"")
