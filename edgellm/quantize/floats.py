"""Weights to float16 on disk, computed in float32.

onnxruntime has no float16 matmul for most CPUs; a Cast behind the weight is folded when the session
opens. What this halves is the file.
"""

import numpy as np
import onnx_ir as ir

from edgellm.quantize.matmuls import WeightMatMul
from edgellm.quantize.rewrite import add_initializer, become, insert

TO_FLOAT = {"to": int(ir.DataType.FLOAT)}


def half_of(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """Return the float16 initializer of ``weight``, one for all of its readers."""
    assert weight.const_value is not None
    name = f"{weight.name}.half"
    if name in graph.initializers:
        return graph.initializers[name]
    return add_initializer(graph, name, weight.const_value.numpy().astype(np.float16))


def halve_matmul(graph: ir.Graph, matmul: WeightMatMul) -> None:
    """Store the weight of ``matmul`` as float16, where the operator reads it directly."""
    if matmul.node.inputs[1] is not matmul.weight:
        return
    half = half_of(graph, matmul.weight)
    matmul.node.replace_input_with(
        1, insert(graph, matmul.node, "Cast", "weight", [half], TO_FLOAT)
    )


def halve_embedding(graph: ir.Graph, gather: ir.Node) -> None:
    """Store the table of ``gather`` as float16; only the rows that a prompt takes are widened."""
    table, ids = gather.inputs
    assert table is not None
    half = half_of(graph, table)
    rows = insert(graph, gather, "Gather", "half", [half, ids], {"axis": 0})
    become(gather, "Cast", [rows], TO_FLOAT)
