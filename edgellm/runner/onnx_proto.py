"""Field numbers of onnx.proto, and the few messages of it that the runner makes itself."""

from collections.abc import Sequence

from edgellm.runner.protobuf import message, number

MODEL_IR, MODEL_GRAPH, MODEL_OPSETS = 1, 7, 8
OPSET_VERSION = 2
GRAPH_NODE, GRAPH_NAME, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 1, 2, 5, 11, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_TYPE, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
NODE_DOMAIN, NODE_METADATA = 7, 9
ATTRIBUTE_GRAPH = 6
TENSOR_DIMENSION, TENSOR_TYPE, TENSOR_NAME, TENSOR_DATA, TENSOR_EXTERNAL_DATA = 1, 2, 8, 9, 13
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 1, 2, 1, 1
ENTRY_KEY, ENTRY_VALUE = 1, 2

FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6  # TensorProto.DataType

IR, OPSET = 10, 21  # as in the graphs that edgellm writes


def value(where: int, name: bytes, element: int = FLOAT) -> bytes:
    """Return a graph input or output whose shape is not said; ``where`` is which of the two."""
    kind = message(VALUE_TYPE, message(TYPE_TENSOR, number(TENSOR_ELEMENT, element)))
    return message(where, message(VALUE_NAME, name) + kind)


def node(operator: bytes, inputs: Sequence[bytes], output: bytes) -> bytes:
    """Return a node of a graph, of one output."""
    takes = b"".join(message(NODE_INPUT, name) for name in inputs)
    return message(GRAPH_NODE, takes + message(NODE_OUTPUT, output) + message(NODE_TYPE, operator))


def model(name: bytes, *parts: bytes) -> bytes:
    """Return a model of one graph, made of its nodes, initializers, inputs and outputs."""
    graph = message(GRAPH_NAME, name) + b"".join(parts)
    opset = message(MODEL_OPSETS, number(OPSET_VERSION, OPSET))
    return number(MODEL_IR, IR) + opset + message(MODEL_GRAPH, graph)
