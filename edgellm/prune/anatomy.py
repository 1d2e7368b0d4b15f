"""Where the parts of a layer lie in a graph of the fused route."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel, UsageError
from edgellm.graph.stage_folder import StageFolder
from edgellm.records import stages

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeedForward:
    """The gated feed-forward block of one layer.

    Attributes:
        gate_up: Weight ``(hidden, 2 * width)``: columns of the gate, then of the up projection.
        bias: Their bias ``(2 * width,)``, where the model has one.
        down: Weight ``(width, hidden)``.
        activations: What the down projection multiplies, ``(batch, n, width)``.
    """

    gate_up: ir.Value
    bias: ir.Value | None
    down: ir.Value
    activations: ir.Value

    @property
    def width(self) -> int:
        """Channels between the projections."""
        return int(data(self.down).shape[0])


def check_prunable(stage: StageFolder, graph: ir.Model) -> None:
    """Refuse what cannot be pruned.

    Raises:
        UsageError: The weights are quantized already.
        UnsupportedModel: The graph is of the standard route, or its blocks are of another kind.
    """
    if stage.record.model.route != "fused":
        raise UnsupportedModel(
            f"{stage.path} took the standard route, whose graph does not say which node belongs "
            "to which layer; pruning needs an architecture of the fused route"
        )
    if any(step.action == "quantize" for step in stage.record.provenance):
        raise UsageError(
            f"{stage.path} is quantized; prune the folder that edgellm export wrote, "
            "then quantize the result"
        )
    for layer in range(stage.record.model.kv.layers):
        feed_forward(graph.graph, layer)


def feed_forward(graph: ir.Graph, layer: int) -> FeedForward:
    """Return the feed-forward block of ``layer``.

    Raises:
        UnsupportedModel: It is not a gated block.
        UsageError: Its weights are not float32.
    """
    at = f"layers.{layer}.{stages.FEED_FORWARD}"
    found = graph.initializers
    try:
        gate_up, down = found[f"{at}.gate_up.weight"], found[f"{at}.down.weight"]
    except KeyError as missing:
        raise UnsupportedModel(
            f"the feed-forward block of layer {layer} has no {missing}: "
            "only gated blocks of the fused route can be pruned"
        ) from None
    if down.dtype != ir.DataType.FLOAT:
        raise UsageError(f"{down.name} has type {down.dtype}; prune before quantizing")
    (matmul, _) = next(iter(down.uses()))
    activations = matmul.inputs[0]
    assert activations is not None
    return FeedForward(gate_up, found.get(f"{at}.gate_up.bias"), down, activations)


def data(value: ir.Value) -> Array:
    """Return the data of a float32 initializer."""
    assert value.const_value is not None
    return value.const_value.numpy()
