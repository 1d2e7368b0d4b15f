"""The matrix products of a graph that a scheme may change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.quantize.rewrite import absorb, become, insert
from edgellm.records import stages

OPERATORS = ("MatMul", "FusedMatMul", "Gemm")


@dataclass(frozen=True, slots=True)
class WeightMatMul:
    """A product with a constant matrix on its right.

    Attributes:
        node: The operator.
        weight: The initializer.
        transposed: It lies as ``(outputs, inputs)``.
    """

    node: ir.Node
    weight: ir.Value
    transposed: bool

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name or ""

    @property
    def stage(self) -> str:
        """The node's stage; empty in a graph of the standard route."""
        return stages.of(self.node) or ""

    @property
    def is_head(self) -> bool:
        """Whether this matmul makes the logits."""
        return self.stage == stages.HEAD

    @property
    def outputs(self) -> int:
        """Rows of :meth:`rows`."""
        return self._shape[0 if self.transposed else 1]

    @property
    def inputs(self) -> int:
        """Columns of :meth:`rows`."""
        return self._shape[1 if self.transposed else 0]

    @property
    def _shape(self) -> Sequence[int]:
        assert self.weight.const_value is not None
        return self.weight.const_value.shape.numpy()

    def rows(self) -> NDArray[np.float32]:
        """Return the weight as ``(outputs, inputs)``."""
        data = constant(self.weight)
        return data if self.transposed else np.ascontiguousarray(data.T)

    def take_bias(self, graph: ir.Graph) -> ir.Value | None:
        """Return the bias of a Gemm, or that of the Add behind a MatMul, which is removed."""
        if self.node.op_type == "Gemm":
            return self.node.inputs[2] if len(self.node.inputs) > 2 else None
        users = [user for user, _ in self.node.outputs[0].uses()]
        if len(users) != 1 or users[0].op_type != "Add":
            return None
        data = None if users[0].inputs[1] is None else users[0].inputs[1].const_value
        is_bias = data is not None and len(data.shape) == 1
        return absorb(graph, users[0]) if is_bias else None

    def become(
        self,
        graph: ir.Graph,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, int],
    ) -> None:
        """Turn the node into an operator that takes no bias, and its bias into an Add."""
        bias = self.take_bias(graph)
        if bias is None:
            become(self.node, operator, inputs, attributes)
        else:
            product = insert(graph, self.node, operator, "product", inputs, attributes)
            become(self.node, "Add", [product, bias], {})


def constant(value: ir.Value) -> NDArray[np.float32]:
    """Return the data of an initializer."""
    assert value.const_value is not None
    return value.const_value.numpy().astype(np.float32, copy=False)


def weight_matmuls(graph: ir.Graph) -> list[WeightMatMul]:
    """Return the products with a constant matrix, those that a scheme may change."""
    return [matmul for matmul in map(_examine, _products(graph)) if not isinstance(matmul, str)]


def other_matmuls(graph: ir.Graph) -> dict[str, str]:
    """Return why each of the other products cannot be quantized, by name."""
    examined = {str(node.name): _examine(node) for node in _products(graph)}
    return {name: reason for name, reason in examined.items() if isinstance(reason, str)}


def _products(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type in OPERATORS]


def _examine(node: ir.Node) -> WeightMatMul | str:
    weight, transposed = _constant_side(node)
    if weight is None:
        return "both sides are activations"
    if _scales_its_sides(node):
        return "it scales or transposes what it multiplies"
    return WeightMatMul(node, weight, transposed)


def _constant_side(node: ir.Node) -> tuple[ir.Value | None, bool]:
    """Return the matrix on the right of ``node``, and whether it lies transposed."""
    value, transposed = node.inputs[1], node.attributes.get_int("transB", 0) == 1
    while value is not None and value.const_value is None:
        source = value.producer()
        if source is None or source.op_type not in ("Identity", "Transpose"):
            return None, False
        transposed ^= source.op_type == "Transpose"  # of a matrix: there is one other order
        value = source.inputs[0]
    data = None if value is None else value.const_value
    return (value, transposed) if data is not None and len(data.shape) == 2 else (None, False)


def _scales_its_sides(node: ir.Node) -> bool:
    scales = [node.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
    return scales != [1.0, 1.0] or node.attributes.get_int("transA", 0) == 1
