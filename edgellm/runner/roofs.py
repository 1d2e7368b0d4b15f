"""The most that this machine can do: how fast it reads memory, and how fast it multiplies.

What a stage did is held against it (the roofline of Williams et al., 2009). The products are
onnxruntime's own, on graphs made here from bytes, so that a board needs nothing else.
"""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgellm.measure import bandwidth
from edgellm.measure.clock import monotonic
from edgellm.records.machine import Roof
from edgellm.records.samples import Unavailable
from edgellm.runner import onnx_proto
from edgellm.runner.onnx_proto import (
    FLOAT,
    GRAPH_INITIALIZER,
    GRAPH_INPUT,
    GRAPH_OUTPUT,
    INT8,
    INT32,
    TENSOR_DATA,
    TENSOR_DIMENSION,
    TENSOR_NAME,
    TENSOR_TYPE,
    UINT8,
)
from edgellm.runner.protobuf import message, number
from edgellm.runner.session import Engine, open_session

ROWS, INNER, COLUMNS = 256, 1024, 1024  # 2 x 268 M operations: milliseconds on a small core
PROBE_NS = 300_000_000
LEAST_CALLS = 3
SECOND_NS = 1e9

KINDS = {
    "float32": ("MatMul", FLOAT, FLOAT, np.float32, np.float32),
    "int8": ("MatMulInteger", UINT8, INT8, np.uint8, np.int8),
}


def measure_roofs(threads: int, root: Path = Path("/")) -> tuple[Roof, ...] | Unavailable:
    """Probe one thread, and ``threads`` where that is more; about a second for each.

    Args:
        threads: Threads of the run.
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    size = bandwidth.buffer_bytes(root)
    if isinstance(size, Unavailable):
        return size
    return tuple(
        Roof(
            threads=count,
            read_bytes_per_s=bandwidth.read_bytes_per_s(count, size),
            ops_per_s={kind: _ops_per_s(kind, count) for kind in KINDS},
            buffer_bytes=size,
        )
        for count in sorted({1, threads})
    )


def _ops_per_s(kind: str, threads: int) -> float:
    operator, left, right, a, b = KINDS[kind]
    weights = np.ones((INNER, COLUMNS), b)
    session = open_session(_product(operator, left, right, weights), Engine(threads))
    feed = {"a": np.ones((ROWS, INNER), a)}
    session.run(None, feed)
    took: list[int] = []
    end = monotonic() + PROBE_NS
    while monotonic() < end or len(took) < LEAST_CALLS:
        since = monotonic()
        session.run(None, feed)
        took.append(monotonic() - since)
    return 2 * ROWS * INNER * COLUMNS * SECOND_NS / statistics.median(took)


def _product(operator: str, left: int, right: int, weights: NDArray[Any]) -> bytes:
    """Return a model that multiplies its input ``a`` by constant weights."""
    shape = b"".join(number(TENSOR_DIMENSION, size) for size in weights.shape)
    named = number(TENSOR_TYPE, right) + message(TENSOR_NAME, b"b")
    tensor = shape + named + message(TENSOR_DATA, weights.tobytes())
    return onnx_proto.model(
        b"product",
        onnx_proto.node(operator.encode(), (b"a", b"b"), b"c"),
        message(GRAPH_INITIALIZER, tensor),
        onnx_proto.value(GRAPH_INPUT, b"a", left),
        onnx_proto.value(GRAPH_OUTPUT, b"c", FLOAT if left == FLOAT else INT32),
    )
