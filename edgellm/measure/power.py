"""Sensors of power and energy: what each is called, where it measures, and how it is read."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgellm.measure import sysfs, vcgencmd
from edgellm.measure.sysfs import Sensor
from edgellm.measure.vcgencmd import Ask
from edgellm.records.samples import Unavailable

POWER = "power"
POWERCAP = "sys/class/powercap"
MICRO, MILLI = 1e-6, 1e-3

PMIC_QUESTION = "pmic_read_adc"
PMIC_LINE = re.compile(r"(\w+)_([AV]) (?:current|volt)\(\d+\)=([\d.]+)[AV]")
PMIC_INTERVAL_S = 1.0  # each reading starts a process

INA_CHANNELS = (1, 2, 3)  # of the INA3221; its further "voltages" are those over the shunts


@dataclass(frozen=True, slots=True)
class Meter:
    """One sensor, open.

    Attributes:
        name: The rail as its driver names it.
        source: The driver and where it measures, as a sentence for people.
        read: Returns watts, or joules since the first reading; OSError where the device does not
            answer, ValueError where it says no number.
        close: Ends reading.
        counts_energy: ``read`` returns joules.
        interval_s: Least time between readings.
    """

    name: str
    source: str
    read: Callable[[], float]
    close: Callable[[], None]
    counts_energy: bool = False
    interval_s: float = 0.0


def find_meters(
    root: Path = Path("/"), ask: Ask = vcgencmd.ask
) -> tuple[tuple[Meter, ...], tuple[Unavailable, ...]]:
    """Open every sensor of this machine.

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.
        ask: Asks a Raspberry Pi's firmware; for tests.

    Returns:
        The sensors, and those that could not be opened, with the reason; where there is none at
        all, that as well.
    """
    meters: list[Meter] = []
    missing: list[Unavailable] = []
    for name, opened in _candidates(root, ask):
        try:
            meters.append(opened())
        except PermissionError as error:
            path = Path(error.filename)
            why = f"only root may read {path}: sudo chmod a+r {path.resolve()}"
            missing.append(Unavailable(f"{POWER} {name}", why))
        except (OSError, ValueError) as error:
            missing.append(Unavailable(f"{POWER} {name}", f"its sensor does not answer: {error}"))
    if not meters and not missing:
        why = "this machine has no sensor that the kernel knows; use a meter in the supply"
        missing.append(Unavailable(POWER, why))
    return tuple(meters), tuple(missing)


Candidate = tuple[str, Callable[[], Meter]]


def _candidates(root: Path, ask: Ask) -> Iterator[Candidate]:
    yield from _rapl(root)
    yield from _hwmon(root)
    yield from _jetson(root)
    yield from _batteries(root)
    if vcgencmd.has_firmware(root) and _pmic_watts(ask(PMIC_QUESTION)):
        yield "PMIC", lambda: _pmic(ask)


class EnergyCounter:
    """Joules since the first reading, from a counter of microjoules that wraps around.

    Args:
        path: The counter.
        span: Where it starts at 0 again, in microjoules.

    Raises:
        OSError: It cannot be read.
        ValueError: It says no number.
    """

    def __init__(self, path: Path, span: int) -> None:
        self._sensor = Sensor(path)
        self._span = span
        self._last: int | None = None
        self._total = 0

    def __call__(self) -> float:
        """Return the joules since the first reading.

        Raises:
            OSError: It cannot be read.
            ValueError: It says no number that the counter can hold.
        """
        now = self._sensor()
        if not 0 <= now <= self._span:
            raise ValueError(f"{now} is not between 0 and {self._span}")
        if self._last is not None:
            self._total += (now - self._last) % (self._span + 1)
        self._last = now
        return self._total * MICRO

    def close(self) -> None:
        """Close the counter."""
        self._sensor.close()


def _rapl(root: Path) -> Iterator[Candidate]:
    """Intel's and AMD's own estimate; kernel documentation, power/powercap.

    The memory-mapped twin (``intel-rapl-mmio``) counts the same package and is left out.
    """
    names = {
        zone.name: sysfs.text(zone / "name")
        for zone in sysfs.folders(root / POWERCAP, "intel-rapl:*")
    }
    for zone, name in names.items():
        within = names.get(zone.rpartition(":")[0])
        full = f"{within}/{name}" if within else str(name)
        yield full, lambda zone=zone, full=full: _rapl_meter(root / POWERCAP / zone, full)  # type: ignore[misc]


def _rapl_meter(zone: Path, name: str) -> Meter:
    span = sysfs.integer(zone / "max_energy_range_uj")
    if span is None:
        raise ValueError(f"{zone / 'max_energy_range_uj'} holds no number")
    counter = EnergyCounter(zone / "energy_uj", span)
    source = "RAPL, the processor's own count of energy"
    return Meter(name, source, counter, counter.close, counts_energy=True)


def _hwmon(root: Path) -> Iterator[Candidate]:
    for chip in sysfs.folders(root / "sys/class/hwmon", "hwmon*"):
        driver = sysfs.text(chip / "name") or chip.name
        powers = sorted((*chip.glob("power*_input"), *chip.glob("power*_average")))
        for path in powers:
            channel, _, _ = path.name.partition("_")
            name = f"{driver} {sysfs.text(path.with_name(f'{channel}_label')) or channel}"
            yield name, _opener(name, f"hwmon {driver}, power", MICRO, path)
        if not powers and driver.startswith("ina"):
            yield from _ina(chip, driver)


def _ina(chip: Path, driver: str) -> Iterator[Candidate]:
    for channel in INA_CHANNELS:
        volts, amperes = chip / f"in{channel}_input", chip / f"curr{channel}_input"
        if volts.exists() and amperes.exists():
            name = sysfs.text(chip / f"in{channel}_label") or f"{driver} {channel}"
            source = f"hwmon {driver}, voltage x current"
            yield name, _opener(name, source, MILLI * MILLI, volts, amperes)


def _jetson(root: Path) -> Iterator[Candidate]:
    """NVIDIA's own driver of the INA3221, up to JetPack 4."""
    for path in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input")):
        channel = path.name.removeprefix("in_power").removesuffix("_input")
        name = sysfs.text(path.with_name(f"rail_name_{channel}")) or f"channel {channel}"
        yield name, _opener(name, "INA3221, power", MILLI, path)


def _batteries(root: Path) -> Iterator[Candidate]:
    """Batteries that feed the machine; one that is charged says nothing of what it uses."""
    for supply in sysfs.folders(root / "sys/class/power_supply", "*"):
        draws = sysfs.text(supply / "status") == "Discharging"
        if draws and sysfs.text(supply / "type") == "Battery":
            name = f"battery {supply.name}"
            if (supply / "power_now").exists():
                yield name, _opener(name, "battery, power", MICRO, supply / "power_now")
            else:
                paths = (supply / "voltage_now", supply / "current_now")
                yield name, _opener(name, "battery, voltage x current", MICRO * MICRO, *paths)


def _opener(name: str, source: str, unit: float, *paths: Path) -> Callable[[], Meter]:
    """Return what opens a sensor whose power is the product of files, in ``unit`` watts."""

    def opened() -> Meter:
        with contextlib.ExitStack() as stack:
            sensors = [stack.enter_context(contextlib.closing(Sensor(path))) for path in paths]

            def watts() -> float:
                power = unit
                for sensor in sensors:
                    power *= sensor()
                return power

            watts()
            return Meter(name, source, watts, stack.pop_all().close)

    return opened


def _pmic(ask: Ask) -> Meter:
    def watts() -> float:
        power = _pmic_watts(ask(PMIC_QUESTION))
        if power is None:
            raise ValueError(f"vcgencmd {PMIC_QUESTION} gave no volts and amperes")
        return power

    source = (
        f"vcgencmd {PMIC_QUESTION}, the sum of its rails' voltage x current; "
        "what USB devices and losses take is not in it"
    )
    return Meter("PMIC", source, watts, lambda: None, interval_s=PMIC_INTERVAL_S)


def _pmic_watts(answer: str | None) -> float | None:
    """Return the sum of volts times amperes over the rails that have both; None without any."""
    found = {(rail, unit): float(value) for rail, unit, value in PMIC_LINE.findall(answer or "")}
    rails = [rail for rail, unit in found if unit == "A" and (rail, "V") in found]
    return sum(found[rail, "A"] * found[rail, "V"] for rail in rails) if rails else None
