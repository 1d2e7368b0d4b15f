"""Opens the best group of hardware counters that this machine gives, with every step down said."""

import dataclasses
import errno
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgellm.measure import perf_event
from edgellm.measure.emulation import emulation
from edgellm.measure.events import ARM, FURTHER, GENERIC, Code, find_core
from edgellm.measure.perf_event import NO_GROUP, TYPE_HARDWARE, TYPE_RAW, Event, Open, PerfCounters
from edgellm.measure.pmu import Pmu, find_pmus
from edgellm.records.samples import CounterInfo, Unavailable

BUSY_NS = 1_000_000

NO_ROOM = (
    "the core has too few counters for one group with this event, "
    "or another program (on x86 the NMI watchdog) holds some: sudo sysctl kernel.nmi_watchdog=0"
)
EMULATED = "emulated machines have no caches, branch predictor or pipeline to count"
NOT_ANNOUNCED = "the kernel does not find this event in the core's PMU"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask the kernel for.

    Attributes:
        codes: Name to code, in this order; the first leads the group.
        pmu: Which counts; None where the kernel lists none and may choose.
        one_of_several: There are PMUs of other kinds of core.
        split: Threads may run on those cores too.
        emulator: Who makes the counts up; None on a real machine.
        missing: What is not asked for, and why.
    """

    codes: dict[str, Code]
    pmu: Pmu | None
    one_of_several: bool
    split: bool
    emulator: str | None
    missing: tuple[Unavailable, ...] = ()

    def event(self, code: Code, mode: Event) -> Event:
        """Return the event of ``code`` that is counted as ``mode`` is."""
        kind, config = TYPE_HARDWARE, code.config
        if not code.generic:
            kind = self.pmu.kind if self.pmu else TYPE_RAW
        elif self.pmu and self.one_of_several:
            config |= self.pmu.kind << 32  # a general event of this PMU, since Linux 5.13
        return dataclasses.replace(mode, kind=kind, config=config)


def open_hardware(
    *, open_event: Open = perf_event.open_event, root: Path = Path("/")
) -> tuple[PerfCounters | None, tuple[Unavailable, ...]]:
    """Open cycles, instructions and what else the core counts, in one group.

    With the kernel's share where we may, else user mode only. Further events are left out from the
    end until the group fits.

    Args:
        open_event: Opens one event.
        root: Where ``proc`` and ``sys`` are; for tests.

    Returns:
        The counters, None where there are no cycles, and what is missing with its reason.
    """
    wanted = find_wanted(frozenset(os.sched_getaffinity(0)), root)
    names = iter(wanted.codes)
    leader = next(names)
    try:
        descriptor, mode = _lead(open_event, wanted, wanted.codes[leader])
    except OSError as error:
        return None, tuple(_each(GENERIC, perf_event.why(error, root)))
    descriptors = {_info(leader, wanted, mode): descriptor}
    missing = list(wanted.missing)
    for name in names:
        try:
            member = open_event(wanted.event(wanted.codes[name], mode), descriptor)
        except OSError as error:
            full = error.errno in (errno.EINVAL, errno.ENOSPC)
            missing.append(Unavailable(name, NO_ROOM if full else perf_event.why(error, root)))
        else:
            descriptors[_info(name, wanted, mode)] = member
    counters = PerfCounters(descriptors, grouped=mode.grouped)
    if not wanted.split:  # else it may not run only because we are on a core of the other kind
        missing += _shed(counters)
    return (counters if counters.infos else None), tuple(missing)


def find_wanted(affinity: frozenset[int], root: Path = Path("/")) -> Wanted:
    """Return what to count for work on the cores of ``affinity``.

    Args:
        affinity: The cores on which threads may run.
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    pmus = find_pmus(root)
    pmu = max(pmus, key=lambda one: one.covers(affinity), default=None)
    missing = []
    split = pmu is not None and pmu.covers(affinity) < len(affinity)
    if pmu and split:
        missing.append(Unavailable(f"cores outside {pmu.name}", _split(pmu, affinity)))
    codes, several = dict(GENERIC), len(pmus) > 1
    if pmu and several and pmu.name != "cpu" and ARM.keys() <= _announced(ARM, pmu):
        codes = dict(ARM)
    core, emulator = find_core(pmu.cpus & affinity if pmu else affinity, root), emulation(root)
    if emulator:
        missing += _each(FURTHER, EMULATED)
    elif isinstance(core, str):
        missing += _each(FURTHER, core)
    else:
        known = {name: core.events[name] for name in FURTHER if name in core.events}
        there = _announced(known, pmu)
        codes |= {name: code for name, code in known.items() if name in there}
        missing += _each((n for n in known if n not in there), NOT_ANNOUNCED)
        why = f"{core.name} has no such event of its own ({core.source})"
        missing += _each((name for name in FURTHER if name not in known), why)
    return Wanted(codes, pmu, several, split, emulator, tuple(missing))


def _announced(codes: dict[str, Code], pmu: Pmu | None) -> set[str]:
    """Return the names of those that the kernel found, or of which it says nothing.

    A raw number that the core lacks opens without an error and counts zero.
    """
    listed = pmu.announced if pmu else frozenset()
    return {name for name, code in codes.items() if not code.announced or code.announced in listed}


def _each(names: Iterable[str], why: str) -> list[Unavailable]:
    return [Unavailable(name, why) for name in names]


def _split(pmu: Pmu, affinity: frozenset[int]) -> str:
    inside = ",".join(map(str, sorted(pmu.cpus & affinity)))
    outside = ",".join(map(str, sorted(affinity - pmu.cpus)))
    return (
        f"threads on cores {outside} are not counted, because they have other counters; "
        f"keep to one kind: --cpus {inside}"
    )


def _lead(open_event: Open, wanted: Wanted, code: Code) -> tuple[int, Event]:
    """Open the leader with as much as the kernel grants; return also what that was."""
    event = wanted.event(code, Event(TYPE_HARDWARE, 0, grouped=True))
    while True:
        try:
            return open_event(event, NO_GROUP), event
        except PermissionError:
            if event.exclude_kernel:
                raise
            event = dataclasses.replace(event, exclude_kernel=True)
        except OSError as error:
            if error.errno != errno.EINVAL or not event.grouped:
                raise
            event = dataclasses.replace(event, grouped=False)


def _info(name: str, wanted: Wanted, mode: Event) -> CounterInfo:
    code = wanted.codes[name]
    unit = f" {wanted.pmu.name}" if wanted.pmu else ""
    number = "" if code.generic else f" {code.announced or hex(code.config)}"
    source = f"perf_event_open{unit}{number}"
    source += f", {'user mode only' if mode.exclude_kernel else 'user and kernel'}"
    if wanted.emulator:
        source += f"; {wanted.emulator}, emulated: {name} of no real core"
    return CounterInfo(name, source, mode.exclude_kernel, emulated=wanted.emulator is not None)


def _shed(counters: PerfCounters) -> list[Unavailable]:
    """Close events from the end until the kernel can run the group; say which."""
    missing = []
    while counters.infos and _never_runs(counters):
        missing.append(Unavailable(counters.drop_last().name, NO_ROOM))
    return missing[::-1]


def _never_runs(counters: PerfCounters) -> bool:
    """Work for a moment and see whether the group was scheduled at all."""
    end = time.perf_counter_ns() + BUSY_NS
    while time.perf_counter_ns() < end:
        pass
    sample = counters.read(0)[0]
    return sample.enabled_ns > 0 and sample.running_ns == 0
