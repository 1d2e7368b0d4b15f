"""Apply a scheme to a graph."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel
from edgellm.quantize import floats, rows, weight_only
from edgellm.quantize.blocks import Blocks
from edgellm.quantize.matmuls import WeightMatMul, other_matmuls, weight_matmuls
from edgellm.quantize.operators import OPERATORS
from edgellm.quantize.rewrite import drop_unused_initializers
from edgellm.quantize.scheme import Kernel, Scheme
from edgellm.records import stages
from edgellm.records.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Quantized:
    """One matmul after quantization.

    Attributes:
        name: Its node.
        error: Root mean square of the change of its weights over that of the weights.
        exact: Whether the weights are unchanged, as those of a GGUF file with the same blocks.
    """

    name: str
    error: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scheme did to a graph; ``left_in_float`` maps a matmul to why it was left."""

    quantized: tuple[Quantized, ...]
    left_in_float: dict[str, str]

    def measured(self) -> dict[str, Any]:
        """Return what a step records of it."""
        errors = [layer.error for layer in self.quantized]
        return {
            "matmuls": len(self.quantized),
            "weight_error_mean": sum(errors) / len(errors) if errors else None,
            "weight_error_max": max(errors, default=None),
            "exact": sum(layer.exact for layer in self.quantized),
            "left_in_float": self.left_in_float,
        }


def quantize(
    graph: ir.Graph,
    scheme: Scheme,
    progress: Progress = silent,
    ready: Mapping[str, Blocks] = MappingProxyType({}),
) -> Outcome:
    """Quantize ``graph`` in place.

    Args:
        graph: A graph in float, as export or prune wrote it.
        scheme: What to do.
        progress: Told per matmul.
        ready: Blocks of the matmuls that were quantized with calibration, by name.

    Returns:
        What became of every matmul; none is passed over in silence.

    Raises:
        UnsupportedModel: The graph is quantized already.
    """
    _refuse_quantized(graph)
    scheme = scheme.for_source({})
    matmuls, left = weight_matmuls(graph), other_matmuls(graph)
    ready = {**ready, **_quantize_embedding(graph, scheme, matmuls)}
    done: list[Quantized] = []
    for index, matmul in enumerate(matmuls):
        progress("quantizing", index, len(matmuls))
        kernel = scheme.kernel(matmul.stage, matmul.name)
        if kernel.method == "float":
            left[matmul.name] = _why_float(matmul, scheme)
            if kernel.bits == 16:
                floats.halve_matmul(graph, matmul)
        else:
            done.append(_quantize_one(graph, matmul, scheme, ready.get(matmul.name)))
    drop_unused_initializers(graph)
    return Outcome(tuple(done), left)


def _quantize_embedding(
    graph: ir.Graph, scheme: Scheme, matmuls: Sequence[WeightMatMul]
) -> dict[str, Blocks]:
    """Quantize the embedding; return its blocks by the name of the head that reads them too.

    A tied head of the same kernel finds the embedding's tensors by the name of their weight.
    """
    gather, kernel = _embedding(graph), scheme.kernel(stages.EMBEDDING)
    if gather is None:
        return {}
    table = gather.inputs[0]
    if kernel.method == "rows":
        rows.quantize_embedding(graph, gather)
    elif kernel == Kernel("float", 16):
        floats.halve_embedding(graph, gather)
    elif kernel.method == "blocks":
        blocks = weight_only.quantize_embedding(graph, gather, scheme, kernel.bits)
        tied = [m for m in matmuls if m.is_head and m.weight is table]
        return {m.name: blocks for m in tied if scheme.kernel(m.stage, m.name) == kernel}
    return {}


def _why_float(matmul: WeightMatMul, scheme: Scheme) -> str:
    named = scheme.named(matmul.stage, matmul.name)
    return f"asked for by {named!r}" if named else f"the scheme {scheme.name} computes in float32"


def _quantize_one(
    graph: ir.Graph, matmul: WeightMatMul, scheme: Scheme, ready: Blocks | None
) -> Quantized:
    kernel = scheme.kernel(matmul.stage, matmul.name)
    before = matmul.rows()
    after: NDArray[np.float32]
    if kernel.method == "blocks":
        blocks = ready or weight_only.round_matmul(matmul, scheme, kernel.bits)
        weight_only.store_matmul(graph, matmul, blocks)
        after = blocks.dequantize()
    else:
        after = rows.quantize_matmul(graph, matmul)
    change = float(np.square(after - before, dtype=np.float32).mean(dtype=np.float64))
    size = float(np.square(before).mean(dtype=np.float64))
    error = math.sqrt(change / size) if size else 0.0
    return Quantized(matmul.name, error, exact=change == 0)


def _refuse_quantized(graph: ir.Graph) -> None:
    for node in graph:
        if node.op_type in ("MatMulNBits", *OPERATORS, "GatherBlockQuantized"):
            raise UnsupportedModel(
                f"node {node.name!r} is a {node.op_type}: the model is quantized already; "
                "quantize the folder that export or prune wrote"
            )


def _embedding(graph: ir.Graph) -> ir.Node | None:
    """Return the node that looks tokens up, where its table is a constant."""
    found = (n for n in graph if n.op_type == "Gather" and stages.of(n) == stages.EMBEDDING)
    return next((n for n in found if n.inputs[0] and n.inputs[0].const_value is not None), None)
