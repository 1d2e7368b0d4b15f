"""Weights to int8 with a scale per output; activations to int8 as they come, row by row.

onnxruntime's public tool takes one range for a whole tensor of activations; over a prompt the
largest token then decides how coarsely all others are seen, and perplexity collapses (12.8 to 20 on
SmolLM2-135M). Here each row, which is a token, has ranges of its own: one for each group of its
inputs, since a few activations are far larger than all others. The head has one, so that it can
share its weights with the embedding.

With ``x ~ s (q - z)`` per group and ``W ~ w p`` per output the product is ``w`` times the sum over
groups of ``s (q p - z sum(p))``; the bracket is integer arithmetic.

A product is one node, ``edgellm::MatMulRows`` or, with groups, ``edgellm::MatMulRowGroups``. The
model says as a function what that is in standard operators, so any onnxruntime runs it; where the
library of ``edgellm/kernels`` is registered, its kernel takes the function's place and gives the
same numbers.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.graph.build import EDGELLM, OPSET
from edgellm.quantize.matmuls import WeightMatMul, constant
from edgellm.quantize.rewrite import add_initializer, become, insert

ROWS = "MatMulRows"
GROUPS = "MatMulRowGroups"
OPERATORS = (ROWS, GROUPS)
# Inputs that share a range. SmolLM2-135M, KL divergence from fp32 in nats: 0.0198 with one range a
# row, 0.0117 with one for 192 inputs, 0.0095 with one for 64, which costs more instructions.
LEAST_GROUP, MOST_GROUP = 64, 192
HIGHEST = 255  # of a quantized activation; the lowest is 0
# A row of zeros has no range; any scale will do, and this one does not divide by zero.
SMALLEST_SCALE = 1e-30


def quantize_rows(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantize ``(outputs, inputs)`` symmetrically, one scale per output.

    Returns:
        Integers in -127..127 of the same shape, and the scales ``(outputs,)``.
    """
    scales = np.abs(weight).max(axis=1) / np.float32(127)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    return np.rint(weight * inverse[:, None]).astype(np.int8), scales


def quantize_matmul(graph: ir.Graph, matmul: WeightMatMul) -> NDArray[np.float32]:
    """Turn one matmul into MatMulRows, or MatMulRowGroups, and its bias into an Add.

    Returns:
        The weight that it now stands for, ``(outputs, inputs)``.
    """
    data, scales = quantize_rows(matmul.rows())
    groups = 1 if matmul.is_head else activation_groups(matmul.inputs)
    operator, shape = ROWS, data.shape
    if groups > 1:
        operator, shape = GROUPS, (len(data), groups, matmul.inputs // groups)
    name = str(matmul.weight.name)
    split = data.reshape(len(data), groups, -1)
    sums = split.sum(axis=2, dtype=np.int32).T
    inputs = [
        matmul.node.inputs[0],
        add_initializer(graph, f"{name}.rows", data.reshape(shape)),
        add_initializer(graph, f"{name}.rows.sums", sums if groups > 1 else sums[0]),
        add_initializer(graph, f"{name}.rows.scales", scales),
    ]
    bias = matmul.take_bias(graph)
    if bias is None:
        become(matmul.node, operator, inputs, {})
    else:
        product = insert(graph, matmul.node, operator, "product", inputs)
        become(matmul.node, "Add", [product, bias], {})
    return data.astype(np.float32) * scales[:, None]


def activation_groups(inputs: int) -> int:
    """Return into how many groups a row of ``inputs`` activations falls, each with a range.

    One where no group of 64 to 192 divides the row.
    """
    fitting = (n for n in range(1, inputs // LEAST_GROUP + 1) if inputs % n == 0)
    return next((n for n in fitting if inputs // n <= MOST_GROUP), 1)


def quantize_embedding(graph: ir.Graph, gather: ir.Node) -> None:
    """Turn the embedding's Gather into one of int8 rows; a tied head in rows shares them."""
    table = gather.inputs[0]
    assert table is not None
    rows, scales = quantize_rows(constant(table))
    data = add_initializer(graph, f"{table.name}.rows", rows)
    scale = add_initializer(graph, f"{table.name}.rows.scales", scales)
    ids = gather.inputs[1]
    last = add_initializer(graph, "embedding.last_axis", np.array([-1], np.int64))
    taken = insert(graph, gather, "Gather", "rows", [data, ids], {"axis": 0})
    real = insert(graph, gather, "Cast", "real", [taken], {"to": int(ir.DataType.FLOAT)})
    scale = insert(graph, gather, "Gather", "scale", [scale, ids], {"axis": 0})
    column = insert(graph, gather, "Unsqueeze", "column", [scale, last])
    become(gather, "Mul", [real, column], {})


def define_operators(model: ir.Model) -> None:
    """Say in ``model`` what those of our operators are that it uses."""
    used = {node.op_type for node in model.graph}
    for name, define in ((ROWS, _rows), (GROUPS, _row_groups)):
        if name in used:
            function = define()
            model.functions[function.identifier()] = function
            model.graph.opset_imports[EDGELLM] = 1


def _rows() -> ir.Function:
    """Return MatMulRows in standard operators."""
    body = _Body(ROWS)
    x, weight, sums, scales = body.inputs
    quantized, scale, zero = body.quantize(x)
    columns = body.op("Transpose", "columns", [weight], perm=[1, 0])
    return body.function(
        body.op("Mul", "y", [body.multiply(quantized, columns, scale, zero, sums), scales])
    )


def _row_groups() -> ir.Function:
    """Return MatMulRowGroups in standard operators: a product per group, and their sum."""
    body = _Body(GROUPS)
    x, weight, sums, scales = body.inputs
    kept = body.constant("kept", np.array([0, 0], np.int64))  # batch and tokens
    split = body.op("Shape", "split", [weight], start=1)
    shape = body.op("Concat", "shape", [kept, split], axis=0)
    grouped = body.op("Reshape", "grouped", [x, shape])
    # (batch, tokens, groups, inputs) to (batch, groups, tokens, inputs)
    by_group = body.op("Transpose", "by_group", [grouped], perm=[0, 2, 1, 3])
    quantized, scale, zero = body.quantize(by_group)
    columns = body.op("Transpose", "columns", [weight], perm=[1, 2, 0])
    row = body.op("Unsqueeze", "row", [sums, body.constant("second", np.array([1], np.int64))])
    products = body.multiply(quantized, columns, scale, zero, row)
    groups = body.constant("groups", np.array([1], np.int64))
    total = body.op("ReduceSum", "total", [products, groups], keepdims=0)
    return body.function(body.op("Mul", "y", [total, scales]))


class _Body:
    """Collects the nodes of a function."""

    def __init__(self, name: str) -> None:
        self.inputs = [ir.Value(name=name) for name in ("x", "weight", "sums", "scales")]
        self._name = name
        self._nodes: list[ir.Node] = []

    def op(
        self, op_type: str, name: str, inputs: list[ir.Value], **attributes: int | list[int]
    ) -> ir.Value:
        node = ir.node(op_type, inputs, dict(attributes), outputs=[ir.Value(name=name)], name=name)
        self._nodes.append(node)
        return node.outputs[0]

    def constant(self, name: str, data: NDArray[np.generic]) -> ir.Value:
        value = ir.Value(name=name)
        attributes = {"value": ir.tensor(data, name=name)}
        self._nodes.append(ir.node("Constant", [], attributes, outputs=[value], name=name))
        return value

    def number(self, name: str, value: float) -> ir.Value:
        return self.constant(name, np.array(value, np.float32))

    def quantize(self, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return integers, their scale and their zero point, both per row of the last axis.

        The range of a row holds 0, with 0 among its steps. Most activations behind a gate are near
        0. Were 0 between two steps, all of them would err by the same amount in the same direction,
        and a matmul adds that up: KL divergence from fp32 was a third higher.
        """
        op, number = self.op, self.number
        nothing, last = number("nothing", 0), self.constant("last", np.array([-1], np.int64))
        high = op("ReduceMax", "high", [x, last], keepdims=1)
        low = op("ReduceMin", "low", [x, last], keepdims=1)
        bottom = op("Min", "bottom", [low, nothing])
        span = op("Sub", "span", [op("Max", "top", [high, nothing]), bottom])
        width = op("Mul", "width", [span, number("step", 1 / HIGHEST)])
        scale = op("Max", "scale", [width, number("smallest", SMALLEST_SCALE)])
        inverse = op("Div", "inverse", [number("one", 1), scale])
        below = op("Round", "below", [op("Mul", "below_real", [bottom, inverse])])
        zero = op("Neg", "zero_real", [below])
        whole = op("Round", "whole", [op("Mul", "ratio", [x, inverse])])
        placed = op("Add", "placed", [whole, zero])
        clipped = op("Clip", "clipped", [placed, nothing, number("highest", HIGHEST)])
        quantized = op("Cast", "quantized", [clipped], to=int(ir.DataType.UINT8))
        return quantized, scale, op("Cast", "zero", [zero], to=int(ir.DataType.INT32))

    def multiply(
        self, x: ir.Value, weight: ir.Value, scale: ir.Value, zero: ir.Value, sums: ir.Value
    ) -> ir.Value:
        """Return the products of the integers less those of their zero points, times ``scale``."""
        product = self.op("MatMulInteger", "product", [x, weight])
        shifted = self.op("Sub", "shifted", [product, self.op("Mul", "shift", [zero, sums])])
        real = self.op("Cast", "real", [shifted], to=int(ir.DataType.FLOAT))
        return self.op("Mul", "scaled", [real, scale])

    def function(self, output: ir.Value) -> ir.Function:
        graph = ir.Graph(
            self.inputs, [output], nodes=self._nodes, opset_imports={"": OPSET}, name=self._name
        )
        return ir.Function(EDGELLM, self._name, graph=graph, attributes=[])
