"""Weights to int8 with a scale per output; activations to int8 as they come, row by row.

onnxruntime's public tool takes one range for a whole tensor of activations; over a prompt the
largest token then decides how coarsely all others are seen, and perplexity collapses (12.8 to 20 on
SmolLM2-135M). Here each row, which is a token, has ranges of its own: one for each group of its
inputs, since a few activations are far larger than all others. The head has one, so that it can
share its weights with the embedding.

With ``x ~ s (q - z)`` per group and ``W ~ w p`` per output the product is ``w`` times the sum over
groups of ``s (q p - z sum(p))``; the bracket is integer arithmetic.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.quantize.matmuls import WeightMatMul, constant
from edgellm.quantize.operators import GROUPS, ROWS
from edgellm.quantize.rewrite import add_initializer, become, insert

# Inputs that share a range. SmolLM2-135M, KL divergence from fp32 in nats: 0.0198 with one range a
# row, 0.0117 with one for 192 inputs, 0.0095 with one for 64, which costs more instructions.
LEAST_GROUP, MOST_GROUP = 64, 192


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
    matmul.become(graph, operator, inputs, {})
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
