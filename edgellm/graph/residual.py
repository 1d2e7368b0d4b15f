"""Where the residual stream enters a layer."""

import onnx_ir as ir

from edgellm.errors import UnsupportedModel
from edgellm.records import stages


def entry(graph: ir.Graph, layer: int) -> ir.Node:
    """Return the norm at which the residual stream enters ``layer``.

    The layer after the last is the final norm.
    """
    wanted = f"layers.{layer}.{stages.ATTENTION_NORM}"
    final = None
    for node in graph:
        stage = stages.of(node)
        if stage == wanted:
            return node
        if stage == stages.FINAL_NORM and final is None:
            final = node
    if final is None:
        raise UnsupportedModel(f"the graph has no stage {wanted} and no {stages.FINAL_NORM}")
    return final


def stream(norm: ir.Node) -> tuple[ir.Value, ...]:
    """Return the values whose sum is the residual stream at ``norm``: one, or two where it adds."""
    count = 2 if norm.op_type.startswith("Skip") else 1
    values = tuple(value for value in norm.inputs[:count] if value is not None)
    assert len(values) == count, norm.name
    return values
