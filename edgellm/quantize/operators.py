"""Our operators, each with what it is in onnxruntime's.

A node such as ``edgellm::MatMulRows`` stands for a whole product with quantized activations. The
model carries its meaning as a function of known operators, so any onnxruntime runs it; where the
library of ``edgellm/kernels`` is registered, its kernel takes the function's place. With 8 bits it
gives the same numbers, to the bit; with 4 it rounds activations as MatMulNBits does where that
rounds them to int8.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.graph.build import EDGELLM, MICROSOFT, OPSET

ROWS = "MatMulRows"
GROUPS = "MatMulRowGroups"
BLOCKS = "MatMulBlocks"
HIGHEST = 255  # of a quantized activation; the lowest is 0
# A row of zeros has no range; any scale will do, and this one does not divide by zero.
SMALLEST_SCALE = 1e-30
INT8_ACTIVATIONS = 4  # an accuracy level of MatMulNBits


def define_operators(model: ir.Model) -> None:
    """Say in ``model`` what those of our operators are that it uses."""
    used = {node.op_type for node in model.graph}
    for name, define in OPERATORS.items():
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


def _blocks() -> ir.Function:
    """Return MatMulBlocks: MatMulNBits of 4 bits with zero points."""
    inputs = [ir.Value(name=name) for name in ("x", "weight", "scales", "zero_points")]
    sizes = [ir.Attr(name, ir.AttributeType.INT, None) for name in BLOCKS_SIZES]
    node = ir.Node(
        MICROSOFT,
        "MatMulNBits",
        inputs,
        [
            ir.AttrInt64("bits", 4),
            ir.AttrInt64("accuracy_level", INT8_ACTIVATIONS),
            *(ir.RefAttr(name, name, ir.AttributeType.INT) for name in BLOCKS_SIZES),
        ],
        outputs=[ir.Value(name="y")],
        name="product",
    )
    opsets = {"": OPSET, MICROSOFT: 1}
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports=opsets, name=BLOCKS)
    return ir.Function(EDGELLM, BLOCKS, graph=graph, attributes=sizes)


BLOCKS_SIZES = ("K", "N", "block_size")
OPERATORS: Mapping[str, Callable[[], ir.Function]] = {
    ROWS: _rows,
    GROUPS: _row_groups,
    BLOCKS: _blocks,
}


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
