"""Apply a scheme to a graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgellm.errors import UnsupportedModel
from edgellm.quantize import floats, rows, weight_only
from edgellm.quantize.blocks import Blocks
from edgellm.quantize.matmuls import WeightMatMul, keeps_float, other_matmuls, weight_matmuls
from edgellm.quantize.rewrite import drop_unused_initializers
from edgellm.quantize.scheme import Scheme
from edgellm.records import stages
from edgellm.records.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Quantized:
    """One matmul after quantization.

    Attributes:
        name: Its node.
        operator: What it became.
        error: Root mean square of the change of its weights over that of the weights.
        exact: Whether the weights are unchanged, as those of a GGUF file with the same blocks.
    """

    name: str
    operator: str
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
    done: list[Quantized] = []
    gather = None if stages.EMBEDDING in scheme.keep_float else _embedding(graph)
    if gather is not None and scheme.method != "float":
        table = gather.inputs[0]
        shared = weight_only.quantize_embedding(graph, gather, scheme)
        # A tied head reads the embedding's blocks; they need not be found twice.
        tied = [m.name for m in weight_matmuls(graph) if m.is_head and m.weight is table]
        ready = {**ready, **dict.fromkeys(tied, shared)}
    matmuls, left = weight_matmuls(graph), other_matmuls(graph)
    for index, matmul in enumerate(matmuls):
        progress("quantizing", index, len(matmuls))
        reason = keeps_float(matmul, scheme)
        if reason is None and scheme.method != "float":
            done.append(_quantize_one(graph, matmul, scheme, ready.get(matmul.name)))
            continue
        left[matmul.name] = reason or f"the scheme {scheme.name} computes in float32"
        if scheme.bits == 16:
            floats.halve_matmul(graph, matmul)
    if gather is not None and scheme.bits == 16:
        floats.halve_embedding(graph, gather)
    drop_unused_initializers(graph)
    return Outcome(tuple(done), left)


def _quantize_one(
    graph: ir.Graph, matmul: WeightMatMul, scheme: Scheme, ready: Blocks | None
) -> Quantized:
    before = matmul.rows()
    after: NDArray[np.float32]
    if scheme.method == "blocks":
        blocks = ready or weight_only.round_matmul(matmul, scheme)
        weight_only.store_matmul(graph, matmul, blocks)
        after = blocks.dequantize()
        operator = "MatMulNBits"
    else:
        after = rows.quantize_matmul(graph, matmul, scheme)
        operator = "MatMulInteger"
    change = float(np.square(after - before, dtype=np.float32).mean(dtype=np.float64))
    size = float(np.square(before).mean(dtype=np.float64))
    error = math.sqrt(change / size) if size else 0.0
    return Quantized(matmul.name, operator, error, exact=change == 0)


def _refuse_quantized(graph: ir.Graph) -> None:
    for node in graph:
        if node.op_type in ("MatMulNBits", "MatMulInteger", "GatherBlockQuantized"):
            raise UnsupportedModel(
                f"node {node.name!r} is a {node.op_type}: the model is quantized already; "
                "quantize the folder that export or prune wrote"
            )


def _embedding(graph: ir.Graph) -> ir.Node | None:
    """Return the node that looks tokens up, where its table is a constant."""
    found = (n for n in graph if n.op_type == "Gather" and stages.of(n) == stages.EMBEDDING)
    return next((n for n in found if n.inputs[0] and n.inputs[0].const_value is not None), None)
