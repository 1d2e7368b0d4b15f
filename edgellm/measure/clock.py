"""The stage timer: one clock reading and one counter reading at each boundary between stages."""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from edgellm.records.samples import CounterInfo, CounterSample

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


class StageTimer:
    """Cuts a stretch of time into stages without gaps, so that their sum is the whole.

    A boundary only notes the clock and the counters; sums are made when the laps are taken. What
    it costs (a system call for each hardware counter) falls into the stage that follows it.

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
        self._marks: list[tuple[str, int, tuple[CounterSample, ...]]] = []

    def start(self) -> None:
        """Begin the first stage now; laps that were not taken are forgotten."""
        self._marks = []
        self.lap("")

    def lap(self, stage: str) -> None:
        """End ``stage`` here; the next one begins at the same instant."""
        now = self._clock()
        self._marks.append((stage, now, self._counters.read(now)))

    def take(self) -> dict[str, Laps]:
        """Return the laps since the start, by stage."""
        laps: defaultdict[str, Laps] = defaultdict(Laps)
        for (_, since, before), (stage, now, after) in itertools.pairwise(self._marks):
            lap = laps[stage]
            lap.step_ns.append(now - since)
            for name, start, end in zip(self._names, before, after, strict=True):
                lap.counts[name] = _with(lap.counts.get(name, NOTHING), start, end)
        return dict(laps)


NOTHING = CounterSample(0, 0, 0)


def _with(total: CounterSample, start: CounterSample, end: CounterSample) -> CounterSample:
    """Return ``total`` plus what was counted between two readings."""
    return CounterSample(
        total.value + end.value - start.value,
        total.enabled_ns + end.enabled_ns - start.enabled_ns,
        total.running_ns + end.running_ns - start.running_ns,
    )


class NoCounters:
    """Time alone, where the machine offers nothing to count."""

    infos: tuple[CounterInfo, ...] = ()

    def read(self, now_ns: int) -> tuple[CounterSample, ...]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return ()


NO_COUNTERS = NoCounters()
