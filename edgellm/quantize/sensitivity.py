"""How much of a model's residual stream each matmul spoils when it is computed in int8 rows.

Activations in int8 rows share a scale with the rest of their group of inputs. Most matmuls lose a
hundredth of their output by that, some several: those whose input holds a few channels much larger
than all others. What such a loss does to the model depends on how much its output weighs in the
residual stream.
"""

import numpy as np
import onnx_ir as ir

from edgellm.calibrate.gram import Run
from edgellm.calibrate.observe import Array, Watch
from edgellm.quantize.matmuls import WeightMatMul, weight_matmuls
from edgellm.quantize.operators import HIGHEST, SMALLEST_SCALE
from edgellm.quantize.rows import activation_groups, quantize_rows
from edgellm.records import stages

TOKENS = 128
"""Of the calibration text. The order of the layers is the same with more."""


def losses(graph: ir.Graph, run: Run) -> dict[str, float]:
    """Return what each matmul's rounding to rows changes, as a share of the residual stream.

    The share of its output that a matmul loses, times the share of the stream at the layer's end
    that its part of the layer (attention, feed-forward) contributes; root mean square over tokens.
    For the head, whose output are the logits, and in graphs without stages: the first factor.

    Args:
        graph: A graph in float.
        run: Runs a short text through it.
    """
    matmuls = weight_matmuls(graph)
    last = {m.stage: m for m in matmuls if stages.layer_of(m.stage) is not None}
    layers = sorted({_layer(stage) for stage in last})
    names = sorted({_input(matmul) for matmul in matmuls})
    (streams, values), *_ = run(Watch([layer + 1 for layer in layers], names))
    inputs = dict(zip(names, values, strict=True))
    ends = {layer: _sizes(stream) for layer, stream in zip(layers, streams, strict=True)}
    shares = {
        stage: _sizes(inputs[_input(m)] @ m.rows().T) / ends[_layer(stage)]
        for stage, m in last.items()
    }
    found = {}
    for m in matmuls:
        groups = 1 if m.is_head else activation_groups(m.inputs)
        lost = _lost(inputs[_input(m)], m.rows(), groups) * shares.get(m.stage, np.float32(1))
        found[m.name] = float(np.sqrt(np.square(lost).mean()))
    return found


def _layer(stage: str) -> int:
    layer = stages.layer_of(stage)
    assert layer is not None
    return layer


def _input(matmul: WeightMatMul) -> str:
    value = matmul.node.inputs[0]
    assert value is not None
    return str(value.name)


def _lost(x: Array, weight: Array, groups: int) -> Array:
    """Return the relative error of each token's output."""
    data, scales = quantize_rows(weight)
    exact = x @ weight.T
    rounded = round_activations(x.reshape(len(x), groups, -1)).reshape(x.shape)
    return _sizes(rounded @ (data * scales[:, None]).T - exact) / _sizes(exact)


def round_activations(x: Array) -> Array:
    """Return activations as MatMulRows sees them: one range for all values of the last axis."""
    high = np.maximum(x.max(axis=-1, keepdims=True), 0)
    low = np.minimum(x.min(axis=-1, keepdims=True), 0)
    scale = np.maximum((high - low) / np.float32(HIGHEST), np.float32(SMALLEST_SCALE))
    steps = np.rint(low / scale)
    rounded: Array = (np.clip(np.rint(x / scale) - steps, 0, HIGHEST) + steps) * scale
    return rounded


def _sizes(values: Array) -> Array:
    """Return the length of each token's vector, never 0."""
    sizes: Array = np.linalg.norm(values, axis=1)
    return np.maximum(sizes, np.float32(SMALLEST_SCALE))
