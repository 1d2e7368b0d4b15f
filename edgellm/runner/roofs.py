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
from edgellm.runner.protobuf import message, number
from edgellm.runner.session import Engine, open_session

ROWS, INNER, COLUMNS = 256, 1024, 1024  # 2 x 268 M operations: milliseconds on a small core
PROBE_NS = 300_000_000
LEAST_CALLS = 3
SECOND_NS = 1e9

# Numbers of onnx.proto: TensorProto.DataType, and fields as in :mod:`edgellm.runner.cut`.
FLOAT, UINT8, INT8 = 1, 2, 3
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
    tensor = b"".join(number(1, size) for size in weights.shape) + number(2, right)
    tensor += message(8, b"b") + message(9, weights.tobytes())
    node = message(1, b"a") + message(1, b"b") + message(2, b"c") + message(4, operator.encode())
    graph = message(1, node) + message(2, b"product") + message(5, tensor)
    graph += message(11, message(1, b"a") + message(2, message(1, number(1, left))))
    result = FLOAT if left == FLOAT else 6  # int32
    graph += message(12, message(1, b"c") + message(2, message(1, number(1, result))))
    return number(1, 10) + message(8, number(2, 21)) + message(7, graph)
