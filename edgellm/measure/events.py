"""Which events to count beside cycles and instructions, by kind of core: facts, with their source.

A number stands here only where the core's own manual, or the kernel's table made from it, lists the
event: a core that lacks it would count zero, and zero is no measurement. For that reason Arm's
numbers are also held against what the kernel found in the PMU (its ``events`` folder).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgellm.records.samples import (
    BRANCH_MISSES,
    BUS_ACCESSES,
    CYCLES,
    INSTRUCTIONS,
    L1D_REFILLS,
    LLC_REFILLS,
    STALLED_CYCLES,
)

FURTHER = (STALLED_CYCLES, L1D_REFILLS, LLC_REFILLS, BRANCH_MISSES, BUS_ACCESSES)
"""In the order in which they are wanted: where counters run out, the last goes first."""


@dataclass(frozen=True, slots=True)
class Code:
    """How an event is asked for.

    Attributes:
        config: Its number.
        generic: A number of PERF_TYPE_HARDWARE, which the kernel translates; else the PMU's own.
        announced: Its name in the PMU's ``events`` folder where the kernel lists there what the
            core has; empty where the kernel lists only a selection (x86).
    """

    config: int
    generic: bool = False
    announced: str = ""


@dataclass(frozen=True, slots=True)
class Core:
    """What one kind of core can count.

    Attributes:
        name: For people.
        events: Name of :mod:`edgellm.records.samples` to its code.
        source: Where the numbers were published.
    """

    name: str
    events: Mapping[str, Code]
    source: str


GENERIC = {CYCLES: Code(0, generic=True), INSTRUCTIONS: Code(1, generic=True)}
ARM = {
    CYCLES: Code(0x11, announced="cpu_cycles"),
    INSTRUCTIONS: Code(0x08, announced="inst_retired"),
}
"""Of one PMU among several; every PMUv3 core has them (Arm ARM, common events of the PMU)."""

_STALLED = Code(0x24, announced="stall_backend")
_L1D = Code(0x03, announced="l1d_cache_refill")
_L2 = Code(0x17, announced="l2d_cache_refill")
_LAST_LEVEL = Code(0x37, announced="ll_cache_miss_rd")  # reads only; L3, or L2 where there is none
_BRANCH = Code(0x10, announced="br_mis_pred")
_BUS = Code(0x19, announced="bus_access")

_ARMV8_0 = {L1D_REFILLS: _L1D, LLC_REFILLS: _L2, BRANCH_MISSES: _BRANCH, BUS_ACCESSES: _BUS}
_ARMV8_2 = {**_ARMV8_0, LLC_REFILLS: _LAST_LEVEL, STALLED_CYCLES: _STALLED}

_PERF = "Linux, tools/perf/pmu-events/arch"
ARM_CORES = {  # by "CPU part" of /proc/cpuinfo, implementer 0x41
    0xD03: Core("Cortex-A53", _ARMV8_0, "Arm DDI 0500, 12.9 (L2 is the last level; no stalls)"),
    0xD05: Core("Cortex-A55", _ARMV8_2, f"{_PERF}/arm64/arm/cortex-a55; Arm 100442"),
    0xD08: Core("Cortex-A72", _ARMV8_0, "Arm 100095, 11.8 (L2 is the last level; no stalls)"),
    0xD0B: Core("Cortex-A76", _ARMV8_2, f"{_PERF}/arm64/arm/cortex-a76; Arm 100798, C2.3"),
    0xD0C: Core("Neoverse N1", _ARMV8_2, f"{_PERF}/arm64/arm/neoverse-n1; Arm 100616"),
    0xD40: Core("Neoverse V1", _ARMV8_2, f"{_PERF}/arm64/arm/neoverse-v1; Arm 101427"),
    0xD41: Core("Cortex-A78", _ARMV8_2, "Arm 101430, PMU events"),
    0xD49: Core("Neoverse N2", _ARMV8_2, f"{_PERF}/arm64/arm/neoverse-n2-v2; Arm 102099"),
}

_BRANCH_GENERIC = Code(5, generic=True)
_LLC_GENERIC = Code(3, generic=True)  # LONGEST_LAT_CACHE.MISS on Intel; on AMD it would be L2's
_INTEL_L1D = Code(0x0151)  # L1D.REPLACEMENT
_INTEL_STALLS = Code(0x01A2)  # RESOURCE_STALLS.ANY; later cores count slots, not cycles
_AMD_L1D = Code(0xE060)  # l2_request_g1: reads, stores and shared reads of the data cache

_GRACEMONT = {LLC_REFILLS: _LLC_GENERIC, BRANCH_MISSES: _BRANCH_GENERIC}
_ICE_LAKE = {**_GRACEMONT, L1D_REFILLS: _INTEL_L1D}
_SKYLAKE = {**_ICE_LAKE, STALLED_CYCLES: _INTEL_STALLS}
_ZEN = {L1D_REFILLS: _AMD_L1D, BRANCH_MISSES: _BRANCH_GENERIC}

_X86 = f"{_PERF}/x86"
_INTEL = (  # models of family 6
    ((0x4E, 0x5E, 0x55, 0x8E, 0x9E, 0xA5, 0xA6), Core("Skylake", _SKYLAKE, f"{_X86}/skylake")),
    (
        (0x7E, 0x7D, 0x6A, 0x6C, 0x8C, 0x8D, 0xA7),
        Core("Ice Lake, Tiger Lake, Rocket Lake", _ICE_LAKE, f"{_X86}/icelake, rocketlake"),
    ),
    ((0x8F, 0xCF), Core("Sapphire Rapids", _ICE_LAKE, f"{_X86}/sapphirerapids")),
    ((0xBE,), Core("Gracemont (N100)", _GRACEMONT, f"{_X86}/alderlaken")),
)
_AMD = (  # first model, last model, by family; the L3 has a PMU of its own, which counts all cores
    (0x17, 0x30, 0xFF, Core("Zen 2", _ZEN, f"{_X86}/amdzen2")),
    (0x19, 0x00, 0x0F, Core("Zen 3", _ZEN, f"{_X86}/amdzen3")),
    (0x19, 0x20, 0x5F, Core("Zen 3", _ZEN, f"{_X86}/amdzen3")),
    (0x19, 0x10, 0x1F, Core("Zen 4", _ZEN, f"{_X86}/amdzen4")),
    (0x19, 0x60, 0xAF, Core("Zen 4", _ZEN, f"{_X86}/amdzen4")),
)


def find_core(cpus: frozenset[int], root: Path = Path("/")) -> Core | str:
    """Return the kind of the first of ``cpus``, or a sentence that says why it is unknown.

    Args:
        cpus: Cores of one kind; any where empty.
        root: Where ``proc`` is; for tests.
    """
    listed = processors(root)
    facts = next((listed[cpu] for cpu in sorted(cpus) if cpu in listed), None)
    facts = facts or next(iter(listed.values()), {})
    try:
        if "cpu part" in facts:
            return _arm(facts)
        return _x86(facts["vendor_id"], int(facts["cpu family"]), int(facts["model"]))
    except (KeyError, ValueError):
        return "/proc/cpuinfo does not name the core, so only general events are counted"


def _arm(facts: Mapping[str, str]) -> Core | str:
    implementer, part = (int(facts[key], 16) for key in ("cpu implementer", "cpu part"))
    core = ARM_CORES.get(part) if implementer == 0x41 else None
    return core or _unknown(f"CPU implementer {implementer:#x}, part {part:#x}")


def _x86(vendor: str, family: int, model: int) -> Core | str:
    if vendor == "GenuineIntel" and family == 6:
        for models, core in _INTEL:
            if model in models:
                return core
    if vendor == "AuthenticAMD":
        for known_family, first, last, core in _AMD:
            if family == known_family and first <= model <= last:
                return core
    return _unknown(f"{vendor} family {family} model {model}")


def _unknown(core: str) -> str:
    return f"no event numbers are known for {core}; add them to edgellm/measure/events.py"


def processors(root: Path) -> dict[int, dict[str, str]]:
    """Return the lines of ``/proc/cpuinfo`` by core, keys in lower case."""
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return {}
    cores: dict[int, dict[str, str]] = {}
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdecimal():
            facts = cores.setdefault(int(value), {})
        elif colon:
            facts.setdefault(key.lower(), value)
    return cores
