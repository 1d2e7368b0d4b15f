"""The facts of this machine, read from ``/proc`` and ``/sys``."""

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from edgellm.measure import sysfs, throttle, vcgencmd
from edgellm.measure.emulation import emulation
from edgellm.measure.events import processors
from edgellm.measure.memory import fields
from edgellm.measure.reference import cpu_features, cpuinfo
from edgellm.records.machine import CpuTime, Environment, FrequencyPolicy, MachineState
from edgellm.records.samples import Unavailable

MEMORY_FILE = "proc/meminfo"
POLICIES = "sys/devices/system/cpu/cpufreq"
ZONES = "sys/class/thermal"
CPUINFO = "cpuinfo"

# By the kernel's names: what decides which kernel a runtime takes.
FEATURES = (
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
    *("sse4_2", "avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16"),
)
# What the firmware of a virtual machine calls its vendor or product.
HYPERVISORS = (
    *("QEMU", "KVM", "VMware", "VirtualBox", "Virtual Machine", "Xen", "Parallels"),
    *("Apple Virtualization", "Google Compute Engine", "Amazon EC2"),
)

# The boot loader sets up memory: on a Raspberry Pi 5 its version alone made 8 to 16 % of the rate
# (geerlingguy/ai-benchmarks, issue 7). Raspberry Pi's boot loader, and a PC's firmware.
FIRMWARE = {
    "boot loader": "proc/device-tree/chosen/bootloader/version",
    "BIOS": "sys/class/dmi/id/bios_version",
    "BIOS date": "sys/class/dmi/id/bios_date",
}

SECOND_NS = 1_000_000_000
# Fields of the line "cpu" of /proc/stat, proc_stat(5); a guest's time is in user's already.
USER, NICE, SYSTEM, _IDLE, _IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)

ARM = "0x41"  # "CPU implementer"
# "CPU part" of /proc/cpuinfo by implementer; Linux, arch/arm64/include/asm/cputype.h.
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
    "0xd80": "Cortex-A520",
    "0xd81": "Cortex-A720",
}
APPLE = "0x61"
APPLE_PARTS = {
    "0x022": "Icestorm-M1",
    "0x023": "Firestorm-M1",
    "0x024": "Icestorm-M1-Pro",
    "0x025": "Firestorm-M1-Pro",
    "0x032": "Blizzard-M2",
    "0x033": "Avalanche-M2",
}
PARTS: Mapping[str, Mapping[str, str]] = {ARM: ARM_PARTS, APPLE: APPLE_PARTS}


def state(root: Path = Path("/"), ask: vcgencmd.Ask = vcgencmd.ask) -> MachineState:
    """Read what changes while a machine works; for before and after, it may start a process.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.
        ask: Asks a Raspberry Pi's firmware; for tests.
    """
    memory = fields(root / MEMORY_FILE)
    return MachineState(
        load_average=load_average(sysfs.text(root / "proc/loadavg") or ""),
        memory_available_bytes=memory.get("MemAvailable"),
        swap_used_bytes=swap_used(memory),
        frequency_hz=_frequencies(root),
        temperature_celsius=_temperatures(root),
        throttle=throttle.read(root, ask),
        cpu_time=cpu_time(root),
    )


def load_average(text: str) -> float | None:
    """Return the mean number of running tasks over a minute, from ``/proc/loadavg``."""
    try:
        return float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return None


def swap_used(memory: Mapping[str, int]) -> int | None:
    """Return the bytes in swap, from ``/proc/meminfo``'s fields."""
    total, free = memory.get("SwapTotal"), memory.get("SwapFree")
    return None if total is None or free is None else total - free


def cpu_time(root: Path = Path("/")) -> CpuTime | None:
    """Return what all cores did since boot, and what of it was ours; None where it is not said."""
    name, *rest = (sysfs.text(root / "proc/stat") or "none").partition("\n")[0].split()
    if name != "cpu" or len(rest) <= STEAL or not all(part.isdecimal() for part in rest):
        return None
    tick_ns = SECOND_NS // os.sysconf("SC_CLK_TCK")
    ticks = [int(part) for part in rest]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own_s = children.ru_utime + children.ru_stime
    return CpuTime(
        busy_ns=sum(ticks[i] for i in (USER, NICE, SYSTEM, IRQ, SOFTIRQ)) * tick_ns,
        stolen_ns=ticks[STEAL] * tick_ns,
        own_ns=time.process_time_ns() + round(own_s * SECOND_NS),
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
    emulated = emulation(root)
    found = Environment(
        kernel=platform.release(),
        machine=platform.machine(),
        cpu_model=_cpu_model(facts),
        board=_board(root),
        virtual=emulated is not None or _virtual(facts, root),
        cores=os.cpu_count() or 1,
        affinity=tuple(sorted(os.sched_getaffinity(0))),
        memory_bytes=fields(root / MEMORY_FILE).get("MemTotal"),
        policies=tuple(_policy(folder) for folder in policy_folders(root)),
        versions={"python": platform.python_version(), **versions},
        before=before,
        after=after,
        emulation=emulated,
        features=_features(facts),
        compatible=_compatible(root),
        core_models=_core_models(root),
        firmware=_firmware(root),
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
    """The core's name; what some ARM kernels call the model ("ARMv8 Processor") says less."""
    part = facts.get("cpu part", "")
    named = _part_name(facts) or facts.get("model name")
    return named or (f"CPU part {part}" if part else None)


def _part_name(facts: Mapping[str, str]) -> str | None:
    return PARTS.get(facts.get("cpu implementer", ARM), {}).get(facts.get("cpu part", ""))


def _core_models(root: Path) -> dict[str, int]:
    named = [_part_name(facts) for facts in processors(root).values()]
    return dict(Counter(name for name in named if name)) if all(named) else {}


def _features(facts: Mapping[str, str]) -> tuple[str, ...]:
    named = cpu_features(facts)
    return tuple(feature for feature in FEATURES if feature in named)


def _virtual(facts: Mapping[str, str], root: Path) -> bool:
    if "hypervisor" in facts.get("flags", "").split():
        return True
    dmi = root / "sys/class/dmi/id"
    names = " ".join(sysfs.text(dmi / name) or "" for name in ("sys_vendor", "product_name"))
    return any(name in names for name in HYPERVISORS)


def _firmware(root: Path) -> dict[str, str]:
    """Return what the firmware says of itself, by where it says so."""
    found = {name: sysfs.text(root / place) for name, place in FIRMWARE.items()}
    return {name: text.strip("\0 ") for name, text in found.items() if text}


def _board(root: Path) -> str | None:
    """The board's name: of the device tree on ARM, of the firmware on a PC."""
    tree = sysfs.text(root / "proc/device-tree/model")
    return tree or sysfs.text(root / "sys/class/dmi/id/product_name") or None


def _compatible(root: Path) -> tuple[str, ...]:
    """What the device tree calls the board and its chip; a zero byte after each name."""
    text = sysfs.text(root / "proc/device-tree/compatible") or ""
    return tuple(text.replace("\0", " ").split())


def policy_folders(root: Path) -> list[Path]:
    """Return the folders of the groups of cores that share a clock."""
    return sysfs.folders(root / POLICIES, "policy*")


def zone_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each thermal zone by ``N type``; two zones may share a type."""
    return {
        f"{zone.name.removeprefix('thermal_zone')} {sysfs.text(zone / 'type') or 'unnamed'}": zone
        for zone in sysfs.folders(root / ZONES, "thermal_zone*")
    }


def _policy(folder: Path) -> FrequencyPolicy:
    cpus = (sysfs.text(folder / "affected_cpus") or "").split()
    return FrequencyPolicy(
        name=folder.name,
        cpus=tuple(int(cpu) for cpu in cpus if cpu.isdecimal()),
        governor=sysfs.text(folder / "scaling_governor"),
        min_hz=_khz(folder / "scaling_min_freq"),
        max_hz=_khz(folder / "scaling_max_freq"),
    )


def _frequencies(root: Path) -> dict[str, int]:
    """What cpufreq claims; where there is none, what x86 writes into ``/proc/cpuinfo``."""
    claimed = {
        folder.name: hz
        for folder in policy_folders(root)
        if (hz := _khz(folder / "scaling_cur_freq")) is not None
    }
    if claimed:
        return claimed
    try:
        return {CPUINFO: round(float(cpuinfo(root)["cpu mhz"]) * 1e6)}
    except (KeyError, ValueError):
        return {}


def _temperatures(root: Path) -> dict[str, float]:
    return {
        name: value / 1000
        for name, zone in zone_folders(root).items()
        if (value := sysfs.integer(zone / "temp")) is not None
    }


def _khz(path: Path) -> int | None:
    value = sysfs.integer(path)
    return None if value is None or value < 0 else value * 1000
