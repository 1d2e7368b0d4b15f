"""What a matmul costs on a kind of core, in instructions, by kernel and size.

``costs.json`` holds counts of single matmuls on emulated cores; ``scripts/emulation/measure_costs``
makes it. Instructions are not time, and memory is not in them; but they need no board, and kernels
differ in them by a third and more.

History of the format:
    costs 1: first version.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgellm.quantize.scheme import Kernel
from edgellm.records import codec
from edgellm.records.target import Target

FILE = Path(__file__).with_name("costs.json")
PREFILL_ROWS = 64
"""Tokens that went through at once where a prompt was counted."""

# What a core must have to take the kernels that were counted on another, the best first.
CLASSES: Mapping[str, str] = {"i8mm": "i8mm", "asimddp": "cortex_a76", "asimd": "cortex_a72"}


@dataclass(frozen=True, slots=True)
class Costs:
    """``costs.json``.

    Attributes:
        versions: What counted and what was counted.
        cores: Kind of core to kernel to instructions by ``INPUTSxOUTPUTSxROWS``.
    """

    KIND: ClassVar[str] = "costs"
    SCHEMA: ClassVar[int] = 1
    UPGRADES: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    versions: Mapping[str, str]
    cores: Mapping[str, Mapping[str, Mapping[str, int]]]

    def count(self, core: str, kernel: Kernel, size: tuple[int, int], rows: int) -> float:
        """Return the instructions of one matmul.

        Sizes that were not counted lie on a plane through those that were: a constant, and a share
        for each input, each output and each multiply-accumulate.

        Args:
            core: A key of ``cores``.
            kernel: Its kernel.
            size: Inputs and outputs.
            rows: Tokens at once: 1 or ``PREFILL_ROWS``.
        """
        counted = self.cores[core][str(kernel)].get(key(*size, rows))
        if counted is not None:
            return counted
        return float(_features(*size) @ self.plane(core, kernel, rows))

    def plane(self, core: str, kernel: Kernel, rows: int) -> NDArray[np.float64]:
        """Return instructions per call, per input, per output and per multiply-accumulate.

        Least squares of relative errors: a head is a thousand times as large as other matmuls.
        """
        return _fit(tuple(self.cores[core][str(kernel)].items()), rows)


def key(inputs: int, outputs: int, rows: int) -> str:
    """Return how ``costs.json`` calls a size."""
    return f"{inputs}x{outputs}x{rows}"


def _features(inputs: int, outputs: int) -> NDArray[np.float64]:
    return np.array([1, inputs, outputs, inputs * outputs], np.float64)


@functools.cache
def _fit(counted: tuple[tuple[str, int], ...], rows: int) -> NDArray[np.float64]:
    sizes = [(tuple(map(int, name.split("x"))), count) for name, count in counted]
    points = [(_features(*size[:2]), count) for size, count in sizes if size[2] == rows]
    relative = np.array([features / count for features, count in points])
    shares = np.zeros(relative.shape[1])
    used = np.arange(len(shares))
    while True:
        found = np.linalg.lstsq(relative[:, used], np.ones(len(points)), rcond=None)[0]
        if found.min() >= 0:
            shares[used] = found
            return shares
        used = np.delete(used, found.argmin())  # nothing takes less than no instructions


@functools.cache
def shipped() -> Costs:
    """Return the table that comes with edgellm."""
    return codec.read(Costs, FILE)


def core_of(target: Target) -> str | None:
    """Return the kind of core, of those in the table, that ``target`` computes like.

    Its fastest cluster decides: by its micro-architecture where that was counted, else by its SIMD
    features, since these choose the kernels. None where nothing in the table is like it.
    """
    if target.arch != "aarch64" or not target.clusters:
        return None
    fastest = target.clusters[0]
    if fastest.uarch in shipped().cores:
        return fastest.uarch
    return next((core for has, core in CLASSES.items() if has in fastest.features), None)
