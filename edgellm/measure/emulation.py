"""Counts under an emulator: whether one runs us, and the instructions that it counts itself."""

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from edgellm.errors import EdgellmError, UsageError
from edgellm.measure import sysfs
from edgellm.records.samples import INSTRUCTIONS, CounterInfo, CounterSample

VARIABLE = "EDGELLM_INSTRUCTIONS"
"""Names the file into which ``scripts/emulation/count_instructions.c`` counts."""

MAGIC = 0x736E6C6C65676465
HEADER = struct.Struct("=QQ")  # magic, threads so far; a count for each follows
SLOT_BYTES = 8

VIRT_BOARD = "linux,dummy-virt"
KVM_PRODUCT = "KVM Virtual Machine"
CLOCKS = "sys/devices/system/clocksource/clocksource0/available_clocksource"


def emulation(root: Path = Path("/")) -> str | None:
    """Return who makes this machine up, in words, or None for a real one.

    In user mode the host's kernel answers, and calls the process by the emulator's name. A whole
    emulated machine is known by its board. What this cannot tell apart: QEMU's ``virt`` board under
    KVM, whose counters are real, looks the same unless its firmware fills in the product's name;
    and an emulated copy of a real board (``raspi3b``) looks like that board.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    name = sysfs.text(root / "proc/self/comm")
    if name and name.startswith("qemu-"):
        return f"{name}, user mode"
    product = sysfs.text(root / "sys/class/dmi/id/product_name")
    if sysfs.text(root / "proc/device-tree/model") == VIRT_BOARD and product != KVM_PRODUCT:
        return "QEMU virt machine"
    clocks = sysfs.text(root / CLOCKS) or ""
    vendor = sysfs.text(root / "sys/class/dmi/id/sys_vendor")
    if vendor == "QEMU" and product != KVM_PRODUCT and "kvm-clock" not in clocks:
        return "QEMU machine without KVM"
    return None


class EmulatedCounter:
    """Instructions executed by an emulator, which its plugin writes into a file that both map.

    Reading costs no system call. As the kernel's counters do, it counts the thread that opens it,
    which has to be the process's first, and those that begin later.

    Args:
        path: The file.
        emulator: Who counts, in words.

    Raises:
        UsageError: The file is not one of the plugin's.
    """

    def __init__(self, path: Path, emulator: str) -> None:
        source = f"executed by {emulator}, counted by its plugin"
        self.infos = (CounterInfo(INSTRUCTIONS, source, emulated=True),)
        self._path = path
        try:
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UsageError(f"{VARIABLE} names {path}, which cannot be mapped: {error}") from error
        if len(self._map) < HEADER.size or HEADER.unpack_from(self._map)[0] != MAGIC:
            raise UsageError(
                f"{VARIABLE} names {path}, which no counting plugin writes; "
                "run under scripts/emulation/count"
            )
        self._before = self._used()

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:
        """Return the instructions so far; ``now_ns`` stands for the time counted."""
        first, *others = struct.unpack_from(f"={self._used()}Q", self._map, HEADER.size)
        total = first + sum(others[self._before - 1 :])
        return (CounterSample(total, now_ns, now_ns),)

    def _used(self) -> int:
        used: int = HEADER.unpack_from(self._map)[1]
        if HEADER.size + used * SLOT_BYTES > len(self._map):
            raise EdgellmError(
                f"{used} threads ran, more than {self._path} has room to count; use fewer"
            )
        return used

    def close(self) -> None:
        """Unmap the file; reading is over."""
        self._map.close()


def open_emulated(
    environment: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> EmulatedCounter | None:
    """Return the counter that ``EDGELLM_INSTRUCTIONS`` names; None where it is not set."""
    path = environment.get(VARIABLE)
    if not path:
        return None
    emulator = (emulation(root) or "an emulator").removesuffix(", user mode")
    cpu = environment.get("QEMU_CPU")
    return EmulatedCounter(Path(path), f"{emulator} ({cpu})" if cpu else emulator)
