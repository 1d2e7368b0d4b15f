"""What can be counted here: hardware cycles, else reference cycles, else time alone.

Under an emulator that counts instructions for us, those.
"""

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgellm.measure import perf_event
from edgellm.measure.clock import NO_COUNTERS, Counters
from edgellm.measure.emulation import emulation, open_emulated
from edgellm.measure.hardware import open_hardware
from edgellm.measure.reference import ReferenceCounter, find_rate
from edgellm.records.samples import CYCLES, Unavailable

NO_CLOCK = (
    "an emulator executes instructions and has no clock of a core; measure on the board itself"
)


@dataclass(frozen=True, slots=True)
class OpenCounters:
    """Counters that run, and what this machine lacks."""

    counters: Counters
    missing: tuple[Unavailable, ...] = ()


@contextlib.contextmanager
def open_counters(
    *, open_event: perf_event.Open = perf_event.open_event, root: Path = Path("/")
) -> Iterator[OpenCounters]:
    """Open the best counters of this machine; see :mod:`edgellm.measure.perf_event` for when.

    Where ``EDGELLM_INSTRUCTIONS`` names a file, its counts are taken instead; see
    :mod:`edgellm.measure.emulation`.

    Args:
        open_event: Opens one hardware event.
        root: Where ``proc`` and ``sys`` are; for tests.

    Yields:
        The counters, with a reason for every step down.
    """
    emulated = open_emulated(root=root)
    if emulated is not None:
        with contextlib.closing(emulated):
            yield OpenCounters(emulated, (Unavailable(CYCLES, NO_CLOCK),))
        return
    hardware, missing = open_hardware(open_event=open_event, root=root)
    if hardware is not None:
        try:
            yield OpenCounters(hardware, missing)
        finally:
            hardware.close()
        return
    rate = find_rate(platform.machine(), root)
    if isinstance(rate, Unavailable):
        yield OpenCounters(NO_COUNTERS, (*missing, rate))
    else:
        yield OpenCounters(ReferenceCounter(rate, emulation(root)), missing)
