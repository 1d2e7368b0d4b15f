"""The matrix products of a graph that a scheme may change."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.graph import stages
from edgellm.quantize.scheme import Scheme


@dataclass(frozen=True, slots=True)
class WeightMatMul:
    """A matmul with a constant right side, and the Add of a constant bias behind it."""

    node: ir.Node
    weight: ir.Value
    transposed: bool
    bias: ir.Node | None

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name or ""

    @property
    def is_head(self) -> bool:
        """Whether this matmul makes the logits."""
        return stages.of(self.node) == stages.HEAD

    @property
    def inputs(self) -> int:
        """Columns of :meth:`rows`."""
        assert self.weight.const_value is not None
        return self.weight.const_value.shape.numpy()[1 if self.transposed else 0]

    def rows(self) -> NDArray[np.float32]:
        """Return the weight as ``(outputs, inputs)``."""
        data = constant(self.weight)
        return data if self.transposed else np.ascontiguousarray(data.T)


def constant(value: ir.Value) -> NDArray[np.float32]:
    """Return the data of an initializer."""
    assert value.const_value is not None
    return value.const_value.numpy().astype(np.float32, copy=False)


def weight_matmuls(graph: ir.Graph) -> Iterator[WeightMatMul]:
    """Yield every matmul of ``graph`` whose right side is a constant matrix."""
    for node in list(graph):
        if node.op_type not in ("MatMul", "FusedMatMul"):
            continue
        weight = node.inputs[1]
        if weight is None or weight.const_value is None or len(weight.const_value.shape) != 2:
            continue
        transposed = node.attributes.get_int("transB", 0) == 1
        yield WeightMatMul(node, weight, transposed, _bias_of(node))


def _bias_of(node: ir.Node) -> ir.Node | None:
    users = [user for user, _ in node.outputs[0].uses()]
    if len(users) != 1 or users[0].op_type != "Add":
        return None
    other = users[0].inputs[1]
    data = None if other is None else other.const_value
    return users[0] if data is not None and len(data.shape) == 1 else None


def keeps_float(matmul: WeightMatMul, scheme: Scheme) -> str | None:
    """Return why ``matmul`` is to stay in float, or None where it is to be quantized."""
    stage = stages.of(matmul.node) or ""
    for kept in scheme.keep_float:
        if kept in (stage, stages.kind_of(stage)) or matmul.name.startswith(kept):
            return f"asked for by {kept!r}"
    return None
