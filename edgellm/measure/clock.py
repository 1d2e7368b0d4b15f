"""The stage timer: one clock reading and one counter reading at each boundary between stages."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edgellm.records.report import CounterInfo, CounterSample

Clock = Callable[[], int]
"""Monotonic nanoseconds."""

monotonic: Clock = time.perf_counter_ns


class Counters(Protocol):
    """Counters that run from when they were opened."""

    @property
    def infos(self) -> tuple[CounterInfo, ...]:
        """What each counter counts."""

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:
        """Return the totals so far, one per entry of ``infos``; ``now_ns`` is the clock's."""


@dataclass(slots=True)
class Laps:
    """What one stage took in one repetition: each step's time, and the counts of all of them."""

    step_ns: list[int] = field(default_factory=list)
    counts: dict[str, CounterSample] = field(default_factory=dict)

    def add(self, wall_ns: int, counts: dict[str, CounterSample]) -> None:
        """Add one step."""
        self.step_ns.append(wall_ns)
        self.counts = {
            name: _plus(self.counts[name], sample) if name in self.counts else sample
            for name, sample in counts.items()
        }


class StageTimer:
    """Cuts a stretch of time into stages without gaps, so that their sum is the whole.

    The cost of a boundary itself (a clock reading, and a system call for each hardware counter)
    falls into the stage that follows it.

    Example:
        >>> ticks = iter([0, 30, 100])
        >>> timer = StageTimer(lambda: next(ticks), NO_COUNTERS)
        >>> timer.start()
        >>> timer.lap("tokenize"); timer.lap("prefill")
        >>> {stage: laps.step_ns for stage, laps in timer.take().items()}
        {'tokenize': [30], 'prefill': [70]}
    """

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._names = tuple(info.name for info in counters.infos)
        self._laps: defaultdict[str, Laps] = defaultdict(Laps)
        self._since = 0
        self._counts: tuple[CounterSample, ...] = ()

    def start(self) -> None:
        """Begin the first stage now."""
        self._since = self._clock()
        self._counts = self._counters.read(self._since)

    def lap(self, stage: str) -> None:
        """End ``stage`` here; the next one begins at the same instant."""
        now = self._clock()
        counts = self._counters.read(now)
        spent = map(_minus, counts, self._counts)
        self._laps[stage].add(now - self._since, dict(zip(self._names, spent, strict=True)))
        self._since, self._counts = now, counts

    def take(self) -> dict[str, Laps]:
        """Return the laps since the last call, by stage."""
        laps, self._laps = dict(self._laps), defaultdict(Laps)
        return laps


class NoCounters:
    """Time alone, where the machine offers nothing to count."""

    infos: tuple[CounterInfo, ...] = ()

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return ()


NO_COUNTERS = NoCounters()


def _plus(a: CounterSample, b: CounterSample) -> CounterSample:
    return CounterSample(
        a.value + b.value, a.enabled_ns + b.enabled_ns, a.running_ns + b.running_ns
    )


def _minus(a: CounterSample, b: CounterSample) -> CounterSample:
    return CounterSample(
        a.value - b.value, a.enabled_ns - b.enabled_ns, a.running_ns - b.running_ns
    )
