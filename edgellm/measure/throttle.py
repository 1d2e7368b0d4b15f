"""Whether the machine slows itself down: the firmware's bits, alarms, and counts of events."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from edgellm.measure import sysfs
from edgellm.measure.sysfs import Sensor
from edgellm.measure.vcgencmd import Ask, has_firmware

FIRMWARE = "firmware"
ALARM = "under-voltage alarm"
FIRMWARE_FILES = (  # by the driver, and where it has always been
    "sys/bus/platform/drivers/raspberrypi-firmware/*/get_throttled",
    "sys/devices/platform/soc*/soc*:firmware/get_throttled",
)
HWMON = "sys/class/hwmon/*"
COUNTS = "sys/devices/system/cpu/cpu*/thermal_throttle/{}_throttle_count"
SCOPES = ("core", "package")  # a package's count stands in the folder of each of its cores

# Raspberry Pi documentation, vcgencmd get_throttled: now, and 16 bits higher since boot.
BITS: Mapping[int, str] = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
SINCE_BOOT = 16


def words(bits: int) -> tuple[str, ...]:
    """Return the firmware's bits in words, what is true now first.

    Example:
        >>> words(0x50004)
        ('throttled now', 'under-voltage since boot', 'throttled since boot')
    """
    return tuple(
        f"{word} {when}"
        for shift, when in ((0, "now"), (SINCE_BOOT, "since boot"))
        for bit, word in BITS.items()
        if bits >> (bit + shift) & 1
    )


def describe(throttle: Mapping[str, int]) -> tuple[str, ...]:
    """Return what is wrong, in words; empty where nothing ever slowed the machine down."""
    found = list(words(throttle.get(FIRMWARE, 0)))
    if throttle.get(ALARM):
        found.append("under-voltage now")
    counts = {_events(scope): throttle.get(_events(scope)) for scope in SCOPES}
    found += [f"{count} {name} since boot" for name, count in counts.items() if count]
    return tuple(dict.fromkeys(found))


def read(root: Path, ask: Ask) -> dict[str, int]:
    """Return the machine's throttle sources and what each says.

    Args:
        root: Where ``proc`` and ``sys`` are.
        ask: Asks a Raspberry Pi's firmware where the kernel does not pass it on.
    """
    found = {}
    for name, sensor in sources(root).items():
        with contextlib.closing(sensor), contextlib.suppress(OSError, ValueError):
            found[name] = sensor()
    if FIRMWARE not in found and has_firmware(root):
        bits = _answer(ask("get_throttled"))
        if bits is not None:
            found[FIRMWARE] = bits
    return found


def sources(root: Path) -> dict[str, Sensor]:
    """Open what tells of throttling without starting a process."""
    volts = [p for p in root.glob(HWMON) if sysfs.text(p / "name") == "rpi_volt"]
    files = {
        FIRMWARE: [path for pattern in FIRMWARE_FILES for path in root.glob(pattern)][:1],
        ALARM: [path / "in0_lcrit_alarm" for path in volts],
        **{_events(scope): sorted(root.glob(COUNTS.format(scope))) for scope in SCOPES},
    }
    found = {}
    for name, paths in files.items():
        with contextlib.suppress(OSError):  # not ours to read
            if paths:
                found[name] = Sensor(*paths, base=16 if name == FIRMWARE else 10)
    return found


def _events(scope: str) -> str:
    return f"{scope} throttle events"


def _answer(answer: str | None) -> int | None:
    """Read ``throttled=0x50000``."""
    try:
        return int((answer or "").removeprefix("throttled="), 16)
    except ValueError:
        return None
