"""The facts of this machine that decide whether a bundle fits."""

import os
import platform
import shutil
import struct
from pathlib import Path

from edgellm.measure.memory import fields
from edgellm.measure.reference import cpu_features, cpuinfo
from edgellm.records.fit import BoardFacts


def board_facts(place: Path, root: Path = Path("/")) -> BoardFacts:
    """Read what a machine is and has.

    Args:
        place: Where bundles and packages would lie; it need not exist.
        root: Where ``proc`` is; for tests.
    """
    memory = fields(root / "proc/meminfo")
    while not place.exists():
        place = place.parent
    return BoardFacts(
        arch=platform.machine(),
        bits=8 * struct.calcsize("P"),
        python=platform.python_version(),
        glibc=_glibc(),
        features=cpu_features(cpuinfo(root)),
        memory_bytes=memory.get("MemTotal"),
        memory_available_bytes=memory.get("MemAvailable"),
        disk_free_bytes=shutil.disk_usage(place).free,
    )


def _glibc() -> str:
    """Return the version of glibc; empty where the C library is another."""
    try:
        name, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (OSError, ValueError):  # musl knows no such name
        return ""
    return number if name == "glibc" else ""
