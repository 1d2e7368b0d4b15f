"""The facts of this machine, read from ``/proc`` and ``/sys``."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from edgellm.measure.memory import status_bytes
from edgellm.measure.reference import cpuinfo
from edgellm.records.machine import Environment, FrequencyPolicy, MachineState
from edgellm.records.samples import Unavailable

MEMORY_FILE = "proc/meminfo"
POLICIES = "sys/devices/system/cpu/cpufreq"
ZONES = "sys/class/thermal"

# "CPU part" of /proc/cpuinfo for Arm's own cores; Linux, arch/arm64/include/asm/cputype.h.
ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse-N2",
}


def state(root: Path = Path("/")) -> MachineState:
    """Read what changes while a machine works."""
    total, free = (status_bytes(key, root, MEMORY_FILE) for key in ("SwapTotal", "SwapFree"))
    load = _text(root / "proc/loadavg")
    return MachineState(
        load_average=float(load.split()[0]) if load else None,
        memory_available_bytes=status_bytes("MemAvailable", root, MEMORY_FILE),
        swap_used_bytes=None if total is None or free is None else total - free,
        frequency_hz={
            folder.name: hz
            for folder in _folders(root / POLICIES, "policy*")
            if (hz := _khz(folder / "scaling_cur_freq")) is not None
        },
        temperature_celsius=_temperatures(root),
    )


def environment(
    before: MachineState,
    after: MachineState,
    versions: Mapping[str, str],
    root: Path = Path("/"),
) -> tuple[Environment, tuple[Unavailable, ...]]:
    """Describe this machine around a run.

    Args:
        before: Read before the run.
        after: Read after it.
        versions: Package to version, for those that decide speed.
        root: Where ``proc`` and ``sys`` are; for tests.

    Returns:
        The environment, and what it lacks with the reason.
    """
    facts = cpuinfo(root)
    found = Environment(
        kernel=platform.release(),
        machine=platform.machine(),
        cpu_model=_cpu_model(facts),
        board=_board(root),
        virtual="hypervisor" in facts.get("flags", "").split(),
        cores=os.cpu_count() or 1,
        affinity=tuple(sorted(os.sched_getaffinity(0))),
        memory_bytes=status_bytes("MemTotal", root, MEMORY_FILE),
        policies=tuple(_policy(folder) for folder in _folders(root / POLICIES, "policy*")),
        versions={"python": platform.python_version(), **versions},
        before=before,
        after=after,
    )
    return found, _missing(found)


def _missing(found: Environment) -> tuple[Unavailable, ...]:
    missing = []
    if not found.policies:
        why = "the kernel offers no cpufreq here, as in most virtual machines"
        missing.append(Unavailable("governor and frequency", why))
    if not found.after.temperature_celsius:
        missing.append(Unavailable("temperature", "the kernel offers no thermal zone here"))
    if found.cpu_model is None:
        missing.append(Unavailable("cpu model", "/proc/cpuinfo names none"))
    return tuple(missing)


def _cpu_model(facts: Mapping[str, str]) -> str | None:
    part = facts.get("cpu part")
    named = facts.get("model name") or (ARM_PARTS.get(part) if part else None)
    return named or (f"CPU part {part}" if part else None)


def _board(root: Path) -> str | None:
    """The board's name: of the device tree on ARM, of the firmware on a PC."""
    tree = _text(root / "proc/device-tree/model")
    return (tree or _text(root / "sys/class/dmi/id/product_name") or "").strip("\0 ") or None


def _policy(folder: Path) -> FrequencyPolicy:
    cpus = (_text(folder / "affected_cpus") or "").split()
    return FrequencyPolicy(
        name=folder.name,
        cpus=tuple(int(cpu) for cpu in cpus),
        governor=_text(folder / "scaling_governor"),
        min_hz=_khz(folder / "scaling_min_freq"),
        max_hz=_khz(folder / "scaling_max_freq"),
    )


def _temperatures(root: Path) -> dict[str, float]:
    """Zone ``N type`` to its temperature; two zones may share a type."""
    found = {}
    for zone in _folders(root / ZONES, "thermal_zone*"):
        value = _text(zone / "temp")
        if value is not None and value.lstrip("-").isdecimal():
            kind = _text(zone / "type") or "unnamed"
            found[f"{zone.name.removeprefix('thermal_zone')} {kind}"] = int(value) / 1000
    return found


def _folders(parent: Path, pattern: str) -> list[Path]:
    return sorted(parent.glob(pattern), key=lambda path: (len(path.name), path.name))


def _khz(path: Path) -> int | None:
    value = _text(path)
    return int(value) * 1000 if value and value.isdecimal() else None


def _text(path: Path) -> str | None:
    """Return a file's text without the newline; None where it cannot be read.

    Sensors answer with an error while their device sleeps, so this is no fault.
    """
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
