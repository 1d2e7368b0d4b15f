"""Which arithmetic onnxruntime's kernels use on a processor: what numbers depend on."""

import platform
from collections.abc import Collection, Mapping
from pathlib import Path

from edgellm.measure.reference import cpu_features, cpuinfo

LEVELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "aarch64": {"i8mm": ("i8mm",), "dotprod": ("asimddp",)},
    "x86_64": {"amx": ("amx_int8",), "vnni": ("avx512_vnni", "avx_vnni"), "avx2": ("avx2",)},
}
"""By machine, the best first: a level, and the kernel's names of features of which it needs one.

onnxruntime multiplies 8-bit integers with other instructions at each level.
"""


def isa_name(machine: str, features: Collection[str]) -> str:
    """Return a name such as ``aarch64+dotprod``.

    Args:
        machine: As ``platform.machine()`` names it.
        features: SIMD features by the kernel's names.
    """
    for level, names in LEVELS.get(machine, {}).items():
        if any(name in features for name in names):
            return f"{machine}+{level}"
    return machine


def this_isa(root: Path = Path("/")) -> str:
    """Return the name of this processor's arithmetic; ``root`` is where ``proc`` is."""
    return isa_name(platform.machine(), cpu_features(cpuinfo(root)))
