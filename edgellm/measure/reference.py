"""Reference cycles: time x the rate of the machine's constant-rate counter.

They are ticks of a counter that never changes its rate (TSC on x86, the generic timer on ARM), not
cycles of the core: they say how long, in a unit near the core's, and nothing of its clock. The
counter itself is not read, because that takes machine code; its rate is what the kernel says.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgellm.records.samples import REFERENCE_CYCLES, CounterInfo, CounterSample, Unavailable

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A constant rate and how it was found."""

    hz: float
    source: str


def find_rate(machine: str, root: Path = Path("/")) -> Rate | Unavailable:
    """Return the rate of the constant-rate counter.

    Args:
        machine: As ``platform.machine()`` names it.
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    for source in SOURCES.get(machine, ()):
        rate = source(root)
        if rate:
            return rate
    if machine not in SOURCES:
        return Unavailable(REFERENCE_CYCLES, f"no constant-rate counter is known for {machine}")
    return Unavailable(
        REFERENCE_CYCLES,
        f"the kernel does not say the rate of the {machine} counter; time alone is reported",
    )


def _tsc_file(root: Path) -> Rate | None:
    """A file of the ``tsc_freq_khz`` kernel module, where it is loaded."""
    path = root / "sys/devices/system/cpu/cpu0/tsc_freq_khz"
    try:
        return Rate(int(path.read_text()) * 1e3, "TSC, rate from tsc_freq_khz")
    except (OSError, ValueError):
        return None


def _timer_node(root: Path) -> Rate | None:
    """The device tree's timer node; only firmware that does not set CNTFRQ fills it in."""
    try:
        data = (root / "proc/device-tree/timer/clock-frequency").read_bytes()
        return Rate(struct.unpack(">I", data)[0], "CNTVCT, rate from the device tree")
    except (OSError, struct.error):
        return None


def _tsc_bogomips(root: Path) -> Rate | None:
    """Half of BogoMIPS: with a constant TSC the kernel's delay loop waits for TSC ticks."""
    facts = cpuinfo(root)
    if "constant_tsc" not in facts.get("flags", "").split():
        return None
    return _half(facts, "TSC, rate from BogoMIPS / 2 (constant_tsc)")


def _timer_bogomips(root: Path) -> Rate | None:
    """Half of BogoMIPS: an arm64 kernel always derives it from the generic timer (CNTFRQ)."""
    return _half(cpuinfo(root), "CNTVCT, rate from BogoMIPS / 2")


def _half(facts: dict[str, str], source: str) -> Rate | None:
    try:
        hz = float(facts["bogomips"]) * 1e6 / 2
    except (KeyError, ValueError):
        return None
    return Rate(hz, source) if hz > 0 else None


SOURCES: dict[str, tuple[Callable[[Path], Rate | None], ...]] = {
    "x86_64": (_tsc_file, _tsc_bogomips),
    "aarch64": (_timer_node, _timer_bogomips),
}


def cpuinfo(root: Path) -> dict[str, str]:
    """Return ``/proc/cpuinfo``'s lines by lower-case key; of equal keys the first core's."""
    facts: dict[str, str] = {}
    try:
        text = (root / "proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return facts
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip().lower(), value.strip())
    return facts


def cpu_features(said: Mapping[str, str]) -> tuple[str, ...]:
    """Return what :func:`cpuinfo` calls flags on x86-64 and features on Arm."""
    return (*said.get("flags", "").split(), *said.get("features", "").split())


class ReferenceCounter:
    """Counts time in ticks of a constant rate; its enabled time is the clock itself.

    Args:
        rate: Of the ticks.
        emulator: Who makes the time up; None on a real machine.
    """

    def __init__(self, rate: Rate, emulator: str | None = None) -> None:
        self._rate = rate
        source = f"{rate.source}; {emulator}, emulated: no real time" if emulator else rate.source
        made_up = emulator is not None
        self.infos = (CounterInfo(REFERENCE_CYCLES, source, rate_hz=rate.hz, emulated=made_up),)

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:
        """Return the ticks that correspond to ``now_ns`` of the clock."""
        return (CounterSample(round(now_ns * self._rate.hz / SECOND_NS), now_ns, now_ns),)
