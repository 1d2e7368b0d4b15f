"""Weights to blocks of 8 or 4 bits, multiplied by MatMulNBits.

``accuracy_level`` 4 lets the operator quantize activations to int8 inside; without it the weights
would be expanded to float for every token.
"""

from typing import TypedDict

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.quantize.blocks import Blocks, quantize_blocks
from edgellm.quantize.matmuls import WeightMatMul, constant
from edgellm.quantize.operators import BLOCKS, INT8_ACTIVATIONS
from edgellm.quantize.rewrite import add_initializer, become, insert
from edgellm.quantize.scheme import Scheme, fitting_group


def round_matmul(matmul: WeightMatMul, scheme: Scheme, bits: int) -> Blocks:
    """Return the blocks of one matmul, every weight rounded to the nearest value."""
    weight = matmul.rows()
    return quantize_blocks(weight, **block_layout(scheme, bits, matmul.inputs, matmul.is_head))


class Layout(TypedDict):
    """Arguments of :func:`~edgellm.quantize.blocks.quantize_blocks`."""

    bits: int
    group_size: int
    symmetric: bool


def block_layout(scheme: Scheme, bits: int, columns: int, is_head: bool) -> Layout:
    """Return how a matrix with rows of ``columns`` weights lies in blocks of ``bits``."""
    wanted = scheme.head_group_size if is_head else scheme.group_size
    assert wanted is not None
    return {
        "bits": bits,
        "group_size": fitting_group(columns, wanted),
        "symmetric": scheme.symmetric or is_head or bits != scheme.bits,
    }


def store_matmul(graph: ir.Graph, matmul: WeightMatMul, blocks: Blocks) -> None:
    """Turn one matmul and its bias into a product of blocks."""
    inputs: list[ir.Value | None] = [
        matmul.node.inputs[0],
        *add_blocks(graph, str(matmul.weight.name), blocks),
    ]
    sizes = {"N": len(blocks.scales), "K": blocks.columns, "block_size": blocks.group_size}
    if _has_kernel(blocks):
        matmul.become(graph, BLOCKS, inputs, sizes)
        return
    bias = matmul.take_bias(graph)
    if bias is not None:
        inputs += [None] * (5 - len(inputs)) + [bias]
    more = {"bits": blocks.bits, "accuracy_level": INT8_ACTIVATIONS}
    become(matmul.node, "MatMulNBits", inputs, sizes | more)


def _has_kernel(blocks: Blocks) -> bool:
    """Whether edgellm/kernels can multiply such blocks."""
    whole = blocks.columns % blocks.group_size == 0
    asymmetric = blocks.bits == 4 and blocks.zero_points is not None
    return asymmetric and whole and blocks.group_size in (32, 64, 128)


def add_blocks(graph: ir.Graph, name: str, blocks: Blocks) -> list[ir.Value]:
    """Add the initializers of ``blocks``: data, scales and, where asymmetric, zero points."""
    values = [
        add_initializer(graph, f"{name}.q", blocks.data),
        add_initializer(graph, f"{name}.scales", blocks.scales),
    ]
    if blocks.zero_points is not None:
        values.append(add_initializer(graph, f"{name}.zero_points", blocks.zero_points))
    return values


def quantize_embedding(graph: ir.Graph, node: ir.Node, scheme: Scheme, bits: int) -> Blocks:
    """Turn the embedding's Gather into one of blocks; they are the head's where it is tied."""
    table = node.inputs[0]
    assert table is not None
    weight = constant(table)
    layout = block_layout(scheme, bits, weight.shape[1], is_head=True)
    blocks = quantize_blocks(weight, **layout)
    data, scales = add_blocks(graph, str(table.name), blocks)
    axis = add_initializer(graph, f"{node.name}.axis", _int64(2))
    shape = add_initializer(graph, f"{node.name}.shape", _int64(0, 0, -1))
    # MatMulNBits takes (rows, blocks, bytes), and so does the gather if a block is its last axis:
    # one tensor serves both, and only the gathered rows are reshaped.
    scales = insert(graph, node, "Unsqueeze", "scales", [scales, axis])
    gathered = insert(
        graph,
        node,
        "GatherBlockQuantized",
        "blocks",
        [data, node.inputs[1], scales],
        {
            "bits": blocks.bits,
            "block_size": blocks.group_size,
            "gather_axis": 0,
            "quantize_axis": 2,
        },
    )
    if blocks.columns % blocks.group_size:
        gathered = insert(graph, node, "Reshape", "padded", [gathered, shape])
        starts, ends, axes = (
            add_initializer(graph, f"{node.name}.{part}", _int64(value))
            for part, value in (("start", 0), ("end", blocks.columns), ("last", 2))
        )
        become(node, "Slice", [gathered, starts, ends, axes], {})
    else:
        become(node, "Reshape", [gathered, shape], {})
    return blocks


def _int64(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
