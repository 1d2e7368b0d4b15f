"""A thread that writes down what the machine does while something is measured."""

import contextlib
import functools
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from edgellm.measure import environment, memory, power, throttle, vcgencmd
from edgellm.measure.clock import Clock
from edgellm.measure.power import Meter
from edgellm.measure.sysfs import Rereadable, Sensor
from edgellm.records.energy import SECOND_NS, joules_between
from edgellm.records.machine import MachineSample, PowerRail, Timeline
from edgellm.records.samples import Unavailable

T = TypeVar("T")

COST_SHARE = 0.01  # of one core; the time between samples grows until they cost no more
IDLE_S = 1.0
STOP_S = 5.0  # a sensor that does not answer for so long is left to itself


class Sensors:
    """What a sample reads, opened once; a sensor that fails is counted and left out.

    Args:
        root: Where ``proc`` and ``sys`` are.
    """

    def __init__(self, root: Path) -> None:
        self.failures: Counter[str] = Counter()
        self._open = contextlib.ExitStack()
        self._throttle = throttle.sources(root)
        for sensor in self._throttle.values():
            self._open.callback(sensor.close)
        frequencies = {path.name: path for path in environment.policy_folders(root)}
        self._frequency = self._sensors("frequency", frequencies, "scaling_cur_freq")
        zones = environment.zone_folders(root)
        self._temperature = self._sensors("temperature", zones, "temp")
        self._load = self._text(root / "proc/loadavg")
        self._memory = self._text(root / environment.MEMORY_FILE)

    def sample(self, at_ns: int) -> MachineSample:
        """Read everything once."""
        return MachineSample(
            at_ns=at_ns,
            frequency_hz={
                name: khz * 1000 for name, khz in self._all("frequency", self._frequency).items()
            },
            temperature_celsius={
                name: milli / 1000
                for name, milli in self._all("temperature", self._temperature).items()
            },
            throttle=self._all("throttle", self._throttle),
            load_average=environment.load_average(self._load()),
            swap_used_bytes=environment.swap_used(memory.parse(self._memory())),
        )

    def reading(self, name: str, read: Callable[[], T]) -> T | None:
        """Return one sensor's reading; None, and a failure more, where it gives none."""
        try:
            return read()
        except (OSError, ValueError):
            self.failures[name] += 1
            return None

    def close(self) -> None:
        """Close every file."""
        self._open.close()

    def _sensors(self, kind: str, folders: Mapping[str, Path], file: str) -> dict[str, Sensor]:
        found = {}
        for name, folder in folders.items():
            sensor = self.reading(f"{kind} {name}", functools.partial(Sensor, folder / file))
            if sensor is not None:
                self._open.callback(sensor.close)
                found[name] = sensor
        return found

    def _all(self, kind: str, sensors: Mapping[str, Sensor]) -> dict[str, int]:
        readings = {name: self.reading(f"{kind} {name}", read) for name, read in sensors.items()}
        return {name: value for name, value in readings.items() if value is not None}

    def _text(self, path: Path) -> Callable[[], str]:
        file = self.reading(path.name, lambda: Rereadable(path))
        if file is None:
            return lambda: ""
        self._open.callback(file.close)
        return lambda: self.reading(path.name, file.text) or ""


class Series:
    """The readings of one meter."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.at_ns: list[int] = []
        self.values: list[float] = []

    def due(self, now_ns: int) -> bool:
        """Return whether the meter may be read again."""
        return not self.at_ns or now_ns - self.at_ns[-1] >= self.meter.interval_s * SECOND_NS

    def rail(self, idle_watts: float | None) -> PowerRail:
        """Return the readings as a record."""
        filled = "joules" if self.meter.counts_energy else "watts"
        return PowerRail(
            self.meter.name,
            self.meter.source,
            idle_watts,
            tuple(self.at_ns),
            **{filled: tuple(self.values)},
        )


class Sampler:
    """Samples the machine while its ``with`` block runs.

    Enter it before hardware counters are opened: they count the threads and processes that are
    started after them, so this thread's work as well. A sensor that fails never ends the run; see
    :attr:`missing`.

    Args:
        clock: Gives the time of the samples.
        start_ns: The clock at the run's start, from which times are counted.
        root: Where ``proc`` and ``sys`` are; for tests.
        interval_s: Time between samples; it grows where samples would cost more than 1 % of a core.
        ask: Asks a Raspberry Pi's firmware; for tests.

    Example:
        >>> from edgellm.measure.clock import monotonic
        >>> with Sampler(monotonic, monotonic()) as sampler:
        ...     sampler.idle()
        >>> sampler.timeline().samples[0].at_ns >= 0
        True
    """

    def __init__(
        self,
        clock: Clock,
        start_ns: int,
        *,
        root: Path = Path("/"),
        interval_s: float = 0.1,
        ask: vcgencmd.Ask = vcgencmd.ask,
    ) -> None:
        self._clock = clock
        self._start_ns = start_ns
        self._interval_s = interval_s
        self._sensors = Sensors(root)
        meters, self._missing = power.find_meters(root, ask)
        self._series = [Series(meter) for meter in meters]
        self._samples: list[MachineSample] = []
        self._idle: tuple[int, int] | None = None
        self._cost_ns = self._duration_ns = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(STOP_S)

    def idle(self, seconds: float = IDLE_S) -> None:
        """Let the machine idle and take its power meanwhile for idle; at once without a sensor."""
        if self._series:
            start = self._now()
            self._stop.wait(seconds)
            self._idle = (start, self._now())

    def timeline(self) -> Timeline:
        """Return what was seen; after the block."""
        return Timeline(
            interval_ns=round(self._interval_s * SECOND_NS),
            cost_ns=self._cost_ns,
            duration_ns=self._duration_ns,
            samples=tuple(self._samples),
            rails=tuple(
                series.rail(self._idle_watts(series)) for series in self._series if series.at_ns
            ),
        )

    @property
    def missing(self) -> tuple[Unavailable, ...]:
        """What could not be sampled, or not always, and why."""
        failed = tuple(
            Unavailable(name, f"its sensor gave no number {count} times during the run")
            for name, count in self._sensors.failures.items()
        )
        hung = Unavailable("timeline", f"a sensor did not answer for {STOP_S:.0f} s at the end")
        return (*self._missing, *failed, *((hung,) if self._thread.is_alive() else ()))

    def _run(self) -> None:
        start_ns, spent_ns = self._clock(), _spent_ns()
        try:
            while True:
                last = self._stop.is_set()
                self._sample(every_meter=last)  # so that rails cover the run to its end
                self._cost_ns = _spent_ns() - spent_ns
                self._duration_ns = self._clock() - start_ns
                if last:
                    break
                mean_s = self._cost_ns / len(self._samples) / SECOND_NS
                self._interval_s = max(self._interval_s, mean_s / COST_SHARE)
                self._stop.wait(self._interval_s)
        finally:
            self._sensors.close()
            for series in self._series:
                series.meter.close()

    def _sample(self, *, every_meter: bool) -> None:
        self._samples.append(self._sensors.sample(self._now()))
        for series in self._series:
            now = self._now()
            if every_meter or series.due(now):
                value = self._sensors.reading(f"power {series.meter.name}", series.meter.read)
                if value is not None:
                    series.at_ns.append(now)
                    series.values.append(value)

    def _now(self) -> int:
        return self._clock() - self._start_ns

    def _idle_watts(self, series: Series) -> float | None:
        if self._idle is None:
            return None
        start, end = max(self._idle[0], series.at_ns[0]), min(self._idle[1], series.at_ns[-1])
        joules = joules_between(series.rail(None), start, end)
        return joules * SECOND_NS / (end - start) if joules is not None and end > start else None


def _spent_ns() -> int:
    """Processor time of this thread and of the processes that were started and ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time_ns() + round((children.ru_utime + children.ru_stime) * SECOND_NS)
